// The folder of an index while it is built and put in its place: whole folders appear and are
// replaced, never files within them. Knows their names, not their contents.
#pragma once

#include <memory>
#include <string>

#include "core/status.h"

namespace onepass {

// An open folder or file, closed at the end. Move-only.
class OwnedFd {
 public:
  explicit OwnedFd(int fd = -1) : fd_(fd) {}
  ~OwnedFd();
  OwnedFd(OwnedFd&& other) noexcept : fd_(other.Release()) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept;

  int get() const { return fd_; }
  // Hands it over to the caller.
  int Release();

 private:
  int fd_;
};

// Ok where an index may be put: an index, an empty folder, or nothing stands there.
// kInvalidArgument says what does: a file, or a folder with other files than an index has.
Status CheckIndexTarget(const std::string& target);

// A folder "TARGET.tmp-PID-N" beside the target, locked (flock) while this process holds it, so
// that it can be told from one that a killed process left. Thread-compatible.
class IndexTemporary {
 public:
  // Makes the folders that lead to the target, removes what killed processes left beside it, and
  // makes the folder. CheckIndexTarget()'s faults; kIoError.
  static Result<std::unique_ptr<IndexTemporary>> Create(const std::string& target);
  // Removes the folder, or after PutInPlace() the one that it replaced.
  ~IndexTemporary();
  IndexTemporary(const IndexTemporary&) = delete;
  IndexTemporary& operator=(const IndexTemporary&) = delete;

  const std::string& path() const { return path_; }

  // Gives the folder the target's name, durably. An index there is replaced in one step
  // (RENAME_EXCHANGE); on file systems without that, or with may_exchange false, in two renames: a
  // process killed between them leaves nothing at the target. CheckIndexTarget()'s faults;
  // kIoError.
  Status PutInPlace(bool may_exchange = true);

 private:
  IndexTemporary(std::string target, std::string path, OwnedFd lock);
  std::string target_;  // without links
  std::string path_;
  OwnedFd lock_;
};

// Makes a file's or a folder's content durable. kIoError.
Status SyncPath(const std::string& path);

}  // namespace onepass
