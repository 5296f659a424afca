// Any bytes as a safetensors file: refused, or tensors that lie inside them and fit their shapes.
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/check.h"
#include "format/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
  const auto file = onepass::SafetensorsFile::Parse(bytes, "fuzz");
  if (!file.ok()) {
    ONEPASS_CHECK(file.status().message().find('\n') == std::string::npos, "want one line");
    return 0;
  }
  int64_t total = 0;
  for (const auto& [name, tensor] : (*file)->tensors()) {
    const int64_t tensor_bytes = tensor.element_count() * onepass::SizeOf(tensor.dtype);
    ONEPASS_CHECK(std::ssize(tensor.bytes) == tensor_bytes, "bytes do not fit the shape");
    ONEPASS_CHECK(
        tensor_bytes == 0 || (tensor.bytes.data() >= bytes.data() &&
                              tensor.bytes.data() + tensor_bytes <= bytes.data() + bytes.size()),
        "tensor outside the file");
    total += tensor_bytes;
    if (onepass::IsFloat(tensor.dtype) && tensor_bytes > 0) {
      float first;
      onepass::ConvertTo(tensor, tensor.element_count() - 1, 1, &first);
    }
  }
  ONEPASS_CHECK(total <= static_cast<int64_t>(size), "tensors share bytes");
  return 0;
}
