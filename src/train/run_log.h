// What a training run writes as it goes: metrics.jsonl, one JSON object a line, and a TensorBoard
// event file. Both only grow, line by line and event by event, and can be cut back to what a
// checkpoint had seen, so that a resumed run continues them as if it had never stopped.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace onepass {

// A file that only grows. Every Append is one write(2) of all its bytes: a killed process leaves
// whole appends and at most one torn one at the end. Thread-compatible.
class AppendFile {
 public:
  // Opens or makes the file; appends go behind what it holds. kIoError, also where another process
  // has it open the same way.
  static Result<std::unique_ptr<AppendFile>> Open(const std::string& path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  Status Append(std::string_view bytes);
  // Forgets everything behind the first `bytes` bytes. kIoError: it has fewer.
  Status CutTo(int64_t bytes);
  // Makes what was appended durable.
  Status Sync();
  int64_t size() const { return size_; }

 private:
  AppendFile(std::string path, int fd, int64_t size)
      : path_(std::move(path)), fd_(fd), size_(size) {}
  std::string path_;
  int fd_;
  int64_t size_;
};

struct ScalarEvent {
  std::string tag;
  float value = 0;
};

// One TFRecord: length, masked CRC-32C of the length, data, masked CRC-32C of the data.
std::string FrameRecord(std::string_view data);
// CRC-32C (Castagnoli).
uint32_t Crc32c(std::string_view data);

// The framed events of a TensorBoard file: its first one, and the scalars of a step.
std::string VersionRecord(double wall_time);
std::string ScalarsRecord(double wall_time, int64_t step, const std::vector<ScalarEvent>& scalars);

}  // namespace onepass
