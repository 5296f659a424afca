#include "train/run_log.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "events.pb.h"

namespace onepass {
namespace {

Status Fault(const std::string& path, const char* what, int error) {
  return IoError(path + ": cannot " + what + ": " + std::strerror(error));
}

void AppendLittleEndian(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>((value >> (8 * i)) & 0xFF));
}

// TFRecord's masking, so that a CRC over data that holds CRCs stays a good one.
uint32_t Masked(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8U; }

}  // namespace

Result<std::unique_ptr<AppendFile>> AppendFile::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return Fault(path, "open", errno);
  std::unique_ptr<AppendFile> file(new AppendFile(path, fd, 0));
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return Fault(path, "lock", errno);
    return IoError(path + ": want a file of this process alone, found another process writing it");
  }
  file->size_ = ::lseek(fd, 0, SEEK_END);
  if (file->size_ < 0) return Fault(path, "seek", errno);
  return file;
}

Status AppendFile::CutTo(int64_t bytes) {
  if (size_ < bytes) {
    return IoError(path_ + ": want at least " + std::to_string(bytes) + " bytes, found " +
                   std::to_string(size_));
  }
  if (::ftruncate(fd_, bytes) != 0) return Fault(path_, "truncate", errno);
  if (::lseek(fd_, bytes, SEEK_SET) < 0) return Fault(path_, "seek", errno);
  size_ = bytes;
  return Status::Ok();
}

AppendFile::~AppendFile() { ::close(fd_); }

Status AppendFile::Append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Fault(path_, "write", errno);
    bytes.remove_prefix(static_cast<size_t>(written));
    size_ += written;
  }
  return Status::Ok();
}

Status AppendFile::Sync() { return ::fsync(fd_) == 0 ? Status::Ok() : Fault(path_, "sync", errno); }

uint32_t Crc32c(std::string_view data) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> t{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t crc = i;
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? 0x82f63b78U : 0);
      t[i] = crc;
    }
    return t;
  }();
  uint32_t crc = 0xFFFFFFFFU;
  for (char c : data) crc = table[(crc ^ static_cast<uint8_t>(c)) & 0xFF] ^ (crc >> 8);
  return crc ^ 0xFFFFFFFFU;
}

std::string FrameRecord(std::string_view data) {
  std::string out;
  AppendLittleEndian(out, data.size(), 8);
  AppendLittleEndian(out, Masked(Crc32c(std::string_view(out.data(), 8))), 4);
  out.append(data);
  AppendLittleEndian(out, Masked(Crc32c(data)), 4);
  return out;
}

std::string VersionRecord(double wall_time) {
  events::Event event;
  event.set_wall_time(wall_time);
  event.set_file_version("brain.Event:2");
  return FrameRecord(event.SerializeAsString());
}

std::string ScalarsRecord(double wall_time, int64_t step, const std::vector<ScalarEvent>& scalars) {
  events::Event event;
  event.set_wall_time(wall_time);
  event.set_step(step);
  for (const ScalarEvent& scalar : scalars) {
    events::Scalar* value = event.mutable_summary()->add_value();
    value->set_tag(scalar.tag);
    value->set_simple_value(scalar.value);
  }
  return FrameRecord(event.SerializeAsString());
}

}  // namespace onepass
