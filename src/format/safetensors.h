// Safetensors files: hostile bytes become named tensors over a mapped file, and tensors become
// files. The reader keeps the reference validator's promises: header size within the file and 100
// MB, UTF-8, no duplicate keys, known dtypes, offsets in order and contiguous from 0 to the end of
// the file, shape times dtype = bytes without overflow. Stricter than it in three points: a
// repeated tensor name is refused, the header begins with "{" as the format's text says, and dtypes
// of less than a byte are not supported.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/status.h"
#include "tensor/tensor.h"

namespace onepass {

// Immutable; thread-safe. The tensors borrow from the mapping, which this keeps alive.
class SafetensorsFile {
 public:
  static Result<std::shared_ptr<const SafetensorsFile>> Open(const std::string& path);
  // Checks `bytes` (borrowed) as a file called `name`; for tests and fuzzing.
  static Result<std::shared_ptr<const SafetensorsFile>> Parse(std::span<const std::byte> bytes,
                                                              const std::string& name);

  const std::map<std::string, RawTensor>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::string& name() const { return name_; }

 private:
  SafetensorsFile() = default;
  static Result<std::shared_ptr<const SafetensorsFile>> Read(
      std::span<const std::byte> bytes, const std::string& name,
      std::shared_ptr<const MappedFile> mapping);

  std::string name_;
  std::shared_ptr<const MappedFile> file_;  // null for Parse
  std::map<std::string, RawTensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

// What a file to be written says of a tensor.
struct TensorHeader {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
};

// Writes a file piece by piece, so that no more than a piece is ever in memory. The file appears
// at Commit(), whole; destruction without it leaves nothing. Thread-compatible.
class SafetensorsWriter {
 public:
  // The header gives __metadata__ {"format": "pt", ...metadata} and the tensors in this order.
  // kInvalidArgument: a name twice or not UTF-8.
  static Result<std::unique_ptr<SafetensorsWriter>> Create(
      const std::string& path, std::span<const TensorHeader> tensors,
      const std::map<std::string, std::string>& metadata);

  // The next bytes of the tensors, one after the other.
  Status Append(std::span<const std::byte> bytes);
  // REQUIRES: exactly the bytes that the header promises were appended.
  Status Commit();

 private:
  SafetensorsWriter(std::unique_ptr<AtomicFileWriter> file, int64_t bytes_left)
      : file_(std::move(file)), bytes_left_(bytes_left) {}
  std::unique_ptr<AtomicFileWriter> file_;
  int64_t bytes_left_;
};

struct NamedTensor {
  std::string name;
  RawTensor tensor;
};
// SafetensorsWriter in one call.
Status WriteSafetensors(const std::string& path, std::span<const NamedTensor> tensors,
                        const std::map<std::string, std::string>& metadata);

}  // namespace onepass
