// Files: read-only mappings, whole reads, and writes that appear whole or not at all.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/status.h"

namespace onepass {

// A read-only private mapping of a whole file. Immutable; safe to share between threads.
class MappedFile {
 public:
  // kNotFound, kIoError. An empty file maps to an empty span. Directories are refused.
  static Result<std::shared_ptr<const MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }
  std::string_view text() const {
    return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
  }
  const std::string& path() const { return path_; }

 private:
  MappedFile(std::string path, std::span<const std::byte> bytes)
      : path_(std::move(path)), bytes_(bytes) {}
  std::string path_;
  std::span<const std::byte> bytes_;
};

// Reads a whole file of at most max_bytes.
Result<std::string> ReadFile(const std::string& path, int64_t max_bytes = int64_t{1} << 31);

// Writes a file so that readers see the old content or all of the new: a file without a name in the
// same folder, fsync, a temporary name, rename. Until Commit() nothing is visible; neither
// destruction without Commit() nor a killed process leaves anything behind. (File systems that know
// no files without a name have the temporary one from the beginning, and keep it when the process
// is killed.) Thread-compatible.
class AtomicFileWriter {
 public:
  static Result<std::unique_ptr<AtomicFileWriter>> Create(const std::string& path);
  ~AtomicFileWriter();
  AtomicFileWriter(const AtomicFileWriter&) = delete;
  AtomicFileWriter& operator=(const AtomicFileWriter&) = delete;

  Status Write(std::span<const std::byte> bytes);
  Status Write(std::string_view text);
  Status Commit();

 private:
  AtomicFileWriter(std::string path, int fd, bool atomic);
  std::string path_;
  int fd_;
  bool atomic_;                 // false: a device or a pipe, written through
  std::string temporary_path_;  // empty: the file has no name
};

// AtomicFileWriter in one call.
Status WriteFileAtomically(const std::string& path, std::string_view text);

// Removes a file, that which a symbolic link leads to; ok where there is none. kIoError.
Status RemoveFile(const std::string& path);

// mkdir -p. kIoError if a component is a file or cannot be made.
Status MakeDirectories(const std::string& path);

}  // namespace onepass
