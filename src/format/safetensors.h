// Safetensors files: hostile bytes become named tensors over a mapped file, and tensors become files.
// The reader keeps the reference validator's promises: header size within the file and 100 MB,
// UTF-8, no duplicate keys, known dtypes, offsets in order and contiguous from 0 to the end of the
// file, shape times dtype = bytes without overflow.
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
  std::string name_;
  std::shared_ptr<const MappedFile> file_;  // null for Parse
  std::map<std::string, RawTensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

struct NamedTensor {
  std::string name;
  RawTensor tensor;
};
// Writes atomically, tensors in the given order, with __metadata__ {"format": "pt", ...metadata}.
Status WriteSafetensors(const std::string& path, std::span<const NamedTensor> tensors,
                        const std::map<std::string, std::string>& metadata);

}  // namespace onepass
