#include "core/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace onepass {
namespace {

// Closes a descriptor when it goes out of scope.
class FdCloser {
 public:
  explicit FdCloser(int fd) : fd_(fd) {}
  ~FdCloser() { ::close(fd_); }
  FdCloser(const FdCloser&) = delete;
  FdCloser& operator=(const FdCloser&) = delete;

 private:
  int fd_;
};

std::string Describe(const std::string& path, const char* action, int error) {
  return path + ": cannot " + action + ": " + std::strerror(error);
}

Status FileError(const std::string& path, const char* action, int error) {
  const bool missing = error == ENOENT || error == ENOTDIR;
  return {missing ? StatusCode::kNotFound : StatusCode::kIoError, Describe(path, action, error)};
}

Result<int> OpenForReading(const std::string& path, int flags, struct stat* info) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags);
  if (fd < 0) return FileError(path, "open", errno);
  if (::fstat(fd, info) != 0) {
    const int error = errno;
    ::close(fd);
    return FileError(path, "stat", error);
  }
  if (S_ISDIR(info->st_mode)) {
    ::close(fd);
    return IoError(path + ": want a file, found a directory");
  }
  return fd;
}

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// What a symbolic link leads to; the path itself where that is nothing.
std::string LinkTarget(const std::string& path) {
  char* real = ::realpath(path.c_str(), nullptr);
  if (real == nullptr) return path;
  std::string target = real;
  std::free(real);
  return target;
}

// `attempt` makes a file under a name beside `path` that no other file has, and returns false, with
// errno EEXIST, where one has it. The name, or empty and errno.
template <class Attempt>
std::string WithTemporaryName(const std::string& path, const Attempt& attempt) {
  static std::atomic<uint64_t> counter{0};
  while (true) {
    std::string name =
        path + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(counter.fetch_add(1));
    if (attempt(name)) return name;
    if (errno != EEXIST) return "";
  }
}

std::string LinkTo(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

// A file without a name in `folder`, which can be given one later; -1: not here.
int OpenWithoutName(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
  if (fd < 0 || ::access(LinkTo(fd).c_str(), F_OK) == 0) return fd;
  ::close(fd);
  return -1;
}

// Makes a rename durable. File systems without directory fsync lose nothing but durability.
void SyncFolder(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

}  // namespace

Result<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& path) {
  struct stat info;
  ASSIGN_OR_RETURN(const int fd, OpenForReading(path, O_NONBLOCK, &info));
  const FdCloser closer(fd);
  if (!S_ISREG(info.st_mode))
    return IoError(path + ": want a regular file, found a device or pipe");
  std::span<const std::byte> bytes;
  if (info.st_size > 0) {
    const size_t size = static_cast<size_t>(info.st_size);
    void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (address == MAP_FAILED) return FileError(path, "map", errno);
    bytes = {static_cast<const std::byte*>(address), size};
  }
  return std::shared_ptr<const MappedFile>(new MappedFile(path, bytes));
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

Result<std::string> ReadFile(const std::string& path, int64_t max_bytes) {
  struct stat info;
  ASSIGN_OR_RETURN(const int fd, OpenForReading(path, 0, &info));
  const FdCloser closer(fd);
  std::string text;
  if (S_ISREG(info.st_mode) && info.st_size <= max_bytes) {
    text.reserve(static_cast<size_t>(info.st_size) + 1);
  }
  char block[1 << 16];
  while (true) {
    const ssize_t count = ::read(fd, block, sizeof(block));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return FileError(path, "read", errno);
    if (count == 0) return text;
    if (static_cast<int64_t>(text.size()) + count > max_bytes) {
      return InvalidArgument(path + ": want at most " + std::to_string(max_bytes) +
                             " bytes, found more");
    }
    text.append(block, static_cast<size_t>(count));
  }
}

AtomicFileWriter::AtomicFileWriter(std::string path, int fd, bool atomic)
    : path_(std::move(path)), fd_(fd), atomic_(atomic) {}

Result<std::unique_ptr<AtomicFileWriter>> AtomicFileWriter::Create(const std::string& path) {
  // A symbolic link stays one: the file it points to is replaced.
  const std::string target = LinkTarget(path);
  struct stat info;
  const bool exists = ::stat(target.c_str(), &info) == 0;
  if (exists && S_ISDIR(info.st_mode)) {
    return IoError(path + ": want a file to write, found a directory");
  }
  if (exists && !S_ISREG(info.st_mode)) {
    // A device or pipe must not be replaced by a file: it is written through, without a temporary.
    const int fd = ::open(target.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) return FileError(path, "open for writing", errno);
    return std::unique_ptr<AtomicFileWriter>(new AtomicFileWriter(path, fd, false));
  }
  std::string temporary;
  int fd = OpenWithoutName(FolderOf(target));
  if (fd < 0) {
    temporary = WithTemporaryName(target, [&fd](const std::string& name) {
      fd = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      return fd >= 0;
    });
    if (fd < 0) return FileError(path, "create", errno);
  }
  if (exists) (void)!::fchmod(fd, info.st_mode & 07777);
  std::unique_ptr<AtomicFileWriter> writer(new AtomicFileWriter(target, fd, true));
  writer->temporary_path_ = std::move(temporary);
  return writer;
}

AtomicFileWriter::~AtomicFileWriter() {
  if (fd_ < 0) return;
  ::close(fd_);
  if (!temporary_path_.empty()) ::unlink(temporary_path_.c_str());
}

Status AtomicFileWriter::Write(std::span<const std::byte> bytes) {
  ONEPASS_CHECK(fd_ >= 0, "Write after Commit");
  while (!bytes.empty()) {
    const size_t size = std::min(bytes.size(), size_t{1} << 30);
    const ssize_t count = ::write(fd_, bytes.data(), size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return IoError(Describe(path_, "write", errno));
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
  return Status::Ok();
}

Status AtomicFileWriter::Write(std::string_view text) {
  return Write(std::as_bytes(std::span(text.data(), text.size())));
}

Status AtomicFileWriter::Commit() {
  ONEPASS_CHECK(fd_ >= 0, "Commit twice");
  if (!atomic_) {
    const int result = ::close(std::exchange(fd_, -1));
    return result == 0 ? Status::Ok() : IoError(Describe(path_, "close", errno));
  }
  // Until the rename every fault leaves fd_ open, so that the destructor removes the temporary.
  if (::fsync(fd_) != 0) return IoError(Describe(path_, "sync", errno));
  if (temporary_path_.empty()) {
    temporary_path_ = WithTemporaryName(path_, [this](const std::string& name) {
      return ::linkat(AT_FDCWD, LinkTo(fd_).c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) ==
             0;
    });
    if (temporary_path_.empty()) return IoError(Describe(path_, "name", errno));
  }
  if (::rename(temporary_path_.c_str(), path_.c_str()) != 0) {
    return IoError(Describe(path_, "replace", errno));
  }
  ::close(std::exchange(fd_, -1));
  SyncFolder(FolderOf(path_));
  return Status::Ok();
}

Status WriteFileAtomically(const std::string& path, std::string_view text) {
  ASSIGN_OR_RETURN(auto writer, AtomicFileWriter::Create(path));
  RETURN_IF_ERROR(writer->Write(text));
  return writer->Commit();
}

Status RemoveFile(const std::string& path) {
  if (::unlink(LinkTarget(path).c_str()) == 0 || errno == ENOENT) return Status::Ok();
  return IoError(Describe(path, "remove", errno));
}

Status MakeDirectories(const std::string& path) {
  for (size_t end = 1; end <= path.size(); ++end) {
    if (end != path.size() && path[end] != '/') continue;
    const std::string prefix = path.substr(0, end);
    if (::mkdir(prefix.c_str(), 0777) == 0) continue;
    const int error = errno;
    struct stat info;
    if (::stat(prefix.c_str(), &info) != 0) return IoError(Describe(prefix, "make folder", error));
    if (!S_ISDIR(info.st_mode)) return IoError(prefix + ": want a folder, found a file");
  }
  return Status::Ok();
}

}  // namespace onepass
