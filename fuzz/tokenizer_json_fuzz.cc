// Any bytes as a tokenizer.json: it loads or says why not; what loads encodes and decodes.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/check.h"
#include "tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using onepass::TokenId;
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = onepass::ParseTokenizerJson(json, "fuzz");
  if (!tokenizer.ok()) return 0;
  // A text that the input chooses, and one that it does not.
  for (const std::string_view text :
       {json.substr(size - size / 8),
        std::string_view("The <s> 12\n\t caf\xC3\xA9 \xF0\x9F\x98 x")}) {
    for (const bool special : {false, true}) {
      const std::vector<TokenId> ids =
          (*tokenizer)->Encode(text, {.add_special_tokens = special, .parse_special = special});
      onepass::StreamDecoder stream(**tokenizer, special);
      std::string streamed;
      for (const TokenId id : ids) streamed += stream.Push(id);
      streamed += stream.Finish();
      ONEPASS_CHECK(streamed == (*tokenizer)->Decode(ids, special), "stream and whole differ");
    }
  }
  return 0;
}
