// Any bytes as a GGUF file: refused in one line, or tensors that lie inside it and share no byte,
// weights whose values can be read, and a tokenizer that encodes and decodes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/check.h"
#include "engine/base_tokenizer.h"
#include "format/gguf.h"
#include "model/checkpoint.h"
#include "tokenizer/tokenizer.h"

namespace {

using onepass::BlockFormat;
using onepass::BlockTensor;

void WantOneLine(const onepass::Status& status) {
  ONEPASS_CHECK(status.message().find('\n') == std::string::npos, "want one line");
}

void CheckTensors(const onepass::GgufFile& file, std::span<const std::byte> bytes) {
  int64_t total = 0;
  for (const auto& [name, tensor] : file.tensors()) {
    const BlockFormat& format = onepass::FormatOf(tensor.type);
    const int64_t size = tensor.element_count() / format.elements * format.bytes;
    ONEPASS_CHECK(std::ssize(tensor.bytes) == size, "bytes do not fit the shape");
    ONEPASS_CHECK(size == 0 || (tensor.bytes.data() >= bytes.data() &&
                                tensor.bytes.data() + size <= bytes.data() + bytes.size()),
                  "tensor outside the file");
    total += size;
    if (size > 0 && onepass::CanDequantise(tensor.type)) {
      std::vector<float> last(static_cast<size_t>(format.elements));
      onepass::Dequantise(tensor.type, tensor.bytes.last(static_cast<size_t>(format.bytes)), last);
    }
  }
  ONEPASS_CHECK(total <= std::ssize(bytes), "tensors share bytes");
}

void CheckTokenizer(const onepass::Tokenizer& tokenizer) {
  for (const bool special : {false, true}) {
    const std::vector<onepass::TokenId> ids =
        tokenizer.Encode("The <s> 12\n\t caf\xC3\xA9 \xF0\x9F\x98 x",
                         {.add_special_tokens = special, .parse_special = special});
    onepass::StreamDecoder stream(tokenizer, special);
    std::string streamed;
    for (const onepass::TokenId id : ids) streamed += stream.Push(id);
    streamed += stream.Finish();
    ONEPASS_CHECK(streamed == tokenizer.Decode(ids, special), "stream and whole differ");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
  const auto file = onepass::GgufFile::Parse(bytes, "fuzz");
  if (!file.ok()) return WantOneLine(file.status()), 0;
  CheckTensors(**file, bytes);
  if (const auto base = onepass::Checkpoint::FromGguf(*file); base.ok()) {
    (*base)->Fingerprint();
    for (const onepass::TensorSpec& spec : onepass::ExpectedTensors((*base)->config())) {
      ONEPASS_CHECK((*base)->tensor(spec.name).shape == spec.shape, "another shape");
    }
  } else {
    WantOneLine(base.status());
  }
  if (const auto tokenizer = onepass::GgufTokenizer(**file); tokenizer.ok()) {
    CheckTokenizer(**tokenizer);
  } else {
    WantOneLine(tokenizer.status());
  }
  return 0;
}
