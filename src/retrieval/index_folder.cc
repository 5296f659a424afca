#include "retrieval/index_folder.h"

#include <fcntl.h>
#include <stdio.h>  // renameat2
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "core/file.h"
#include "core/quote.h"
#include "retrieval/manifest.h"

namespace onepass {
namespace {

namespace fs = std::filesystem;

constexpr char kMark[] = ".tmp-";

Status OsError(const std::string& path, const char* action, int error) {
  return IoError(path + ": cannot " + action + ": " + std::strerror(error));
}

// Where links lead to; without a slash at the end.
std::string Resolve(std::string path) {
  std::error_code error;
  const fs::path real = fs::canonical(path, error);
  if (!error) return real;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

std::string FolderOf(const std::string& path) {
  const std::string folder = fs::path(path).parent_path();
  return folder.empty() ? "." : folder;
}

std::string NewName(const std::string& target) {
  static std::atomic<uint64_t> counter{0};
  return target + kMark + std::to_string(::getpid()) + "-" + std::to_string(counter.fetch_add(1));
}

// Whether `name` is one that NewName(target) gives: "index.tmp-123-4" beside "index".
bool IsTemporaryOf(std::string_view name, const std::string& target) {
  const std::string front = fs::path(target).filename().string() + kMark;
  if (!name.starts_with(front)) return false;
  name.remove_prefix(front.size());
  const size_t dash = name.find('-');
  const auto is_number = [](std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
  };
  return dash != std::string_view::npos && is_number(name.substr(0, dash)) &&
         is_number(name.substr(dash + 1));
}

OwnedFd OpenFolder(const std::string& path) {
  return OwnedFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

// Removes the folders of dead processes. What cannot be locked or removed stays.
void RemoveLeftovers(const std::string& target) {
  std::error_code error;
  for (fs::directory_iterator it(FolderOf(target), error), end; !error && it != end;
       it.increment(error)) {
    if (!IsTemporaryOf(it->path().filename().string(), target)) continue;
    const OwnedFd folder = OpenFolder(it->path());
    if (folder.get() < 0 || ::flock(folder.get(), LOCK_EX | LOCK_NB) != 0) continue;
    std::error_code ignored;
    fs::remove_all(it->path(), ignored);
  }
}

// Whether the folder that `fd` holds still has the name `path`.
bool IsStillAt(int fd, const std::string& path) {
  struct stat held;
  struct stat named;
  return ::fstat(fd, &held) == 0 && ::lstat(path.c_str(), &named) == 0 &&
         held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

Status NotAnIndex(const std::string& target, const std::string& found) {
  return InvalidArgument(target + ": want an index to replace, an empty folder or nothing, found " +
                         found);
}

}  // namespace

OwnedFd::~OwnedFd() {
  if (fd_ >= 0) ::close(fd_);
}

OwnedFd& OwnedFd::operator=(OwnedFd&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

int OwnedFd::Release() { return std::exchange(fd_, -1); }

Status CheckIndexTarget(const std::string& target) {
  struct stat info;
  if (::lstat(target.c_str(), &info) != 0) {
    return errno == ENOENT ? Status::Ok() : OsError(target, "stat", errno);
  }
  if (::stat(target.c_str(), &info) != 0) return OsError(target, "follow the link", errno);
  if (!S_ISDIR(info.st_mode)) return NotAnIndex(target, "a file");
  std::error_code error;
  bool is_empty = true;
  bool has_manifest = false;
  for (fs::directory_iterator it(target, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename();
    is_empty = false;
    if (name == kManifestFile) {
      has_manifest = true;
    } else if (name != kIndexDataFile) {
      return NotAnIndex(target, "a folder with " + Quote(name));
    }
  }
  if (error) return IoError(target + ": cannot list: " + error.message());
  if (is_empty) return Status::Ok();
  if (!has_manifest) return NotAnIndex(target, std::string("a folder without ") + kManifestFile);
  const Result<std::string> json = ReadFile(target + "/" + kManifestFile, kMaxManifestBytes);
  if (!json.ok() || !IsManifest(*json)) {
    return NotAnIndex(target, std::string("a folder whose ") + kManifestFile + " is not ours");
  }
  return Status::Ok();
}

Result<std::unique_ptr<IndexTemporary>> IndexTemporary::Create(const std::string& target) {
  if (target.empty()) return InvalidArgument("index: want a folder's name, found an empty one");
  const std::string real = Resolve(target);
  RETURN_IF_ERROR(CheckIndexTarget(real));
  RETURN_IF_ERROR(MakeDirectories(FolderOf(real)));
  RemoveLeftovers(real);
  while (true) {
    std::string path = NewName(real);
    if (::mkdir(path.c_str(), 0777) != 0) {
      if (errno == EEXIST) continue;
      return OsError(path, "make folder", errno);
    }
    // Until the lock is ours another build may take the folder for a leftover: then it is gone
    // after waiting for that one's lock. File systems without locks have no leftovers removed.
    OwnedFd lock = OpenFolder(path);
    if (lock.get() < 0 && errno != ENOENT) return OsError(path, "open", errno);
    if (lock.get() >= 0) (void)::flock(lock.get(), LOCK_SH);
    if (lock.get() < 0 || !IsStillAt(lock.get(), path)) continue;
    return std::unique_ptr<IndexTemporary>(new IndexTemporary(real, path, std::move(lock)));
  }
}

IndexTemporary::IndexTemporary(std::string target, std::string path, OwnedFd lock)
    : target_(std::move(target)), path_(std::move(path)), lock_(std::move(lock)) {}

IndexTemporary::~IndexTemporary() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

Status IndexTemporary::PutInPlace(bool may_exchange) {
  RETURN_IF_ERROR(SyncPath(path_));
  RETURN_IF_ERROR(CheckIndexTarget(target_));
  struct stat info;
  const bool exists = ::lstat(target_.c_str(), &info) == 0;
  if (!exists) {
    if (::rename(path_.c_str(), target_.c_str()) != 0) return OsError(target_, "make", errno);
    path_.clear();
  } else if (!may_exchange || ::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, target_.c_str(),
                                          RENAME_EXCHANGE) != 0) {
    if (may_exchange && errno != EINVAL && errno != ENOSYS) {
      return OsError(target_, "replace", errno);
    }
    const std::string old = NewName(target_);
    if (::rename(target_.c_str(), old.c_str()) != 0) return OsError(target_, "replace", errno);
    if (::rename(path_.c_str(), target_.c_str()) != 0) {
      const int fault = errno;
      (void)::rename(old.c_str(), target_.c_str());
      return OsError(target_, "replace", fault);
    }
    path_ = old;
  }
  // path_ is the old index now, which the destructor removes.
  return SyncPath(FolderOf(target_));
}

Status SyncPath(const std::string& path) {
  const OwnedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return OsError(path, "open", errno);
  // File systems that cannot sync a folder say EINVAL.
  if (::fsync(fd.get()) != 0 && errno != EINVAL) return OsError(path, "sync", errno);
  return Status::Ok();
}

}  // namespace onepass
