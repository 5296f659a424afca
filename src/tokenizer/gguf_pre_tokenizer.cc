#include "tokenizer/gguf_pre_tokenizer.h"

#include <algorithm>

#include "tokenizer/word_patterns.h"

namespace onepass {
namespace {

constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

const std::vector<GgufPreTokenizer>& Known() {
  static const std::vector<GgufPreTokenizer> kinds = {
      {{"default"}, {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Pattern, R"(\p{N}+)", "[0-9][0-9][0-9]"}},
      {{"llama-bpe", "llama3", "llama-v3", "falcon3"}, {kLlama3Pattern}, false, true, true},
      {{"smaug-bpe"}, {kLlama3Pattern}},
      {{"qwen2"}, {kQwen2}, true},
      {{"deepseek-r1-qwen"}, {kQwen2}},
      {{"smollm", "starcoder", "refact", "command-r"}, {R"(\p{N})", kGpt2Pattern}},
      {{"gpt-2", "phi-2", "olmo", "jais"}, {kGpt2Pattern}},
      {{"tekken"}, {kTekken}, false, true, true},
  };
  return kinds;
}

}  // namespace

const GgufPreTokenizer* FindGgufPreTokenizer(std::string_view name) {
  for (const GgufPreTokenizer& known : Known()) {
    if (std::ranges::find(known.names, name) != known.names.end()) return &known;
  }
  return nullptr;
}

std::string GgufPreTokenizerNames() {
  std::string all;
  for (const GgufPreTokenizer& known : Known()) {
    for (const std::string_view name : known.names) {
      all += (all.empty() ? "" : ", ") + std::string(name);
    }
  }
  return all;
}

}  // namespace onepass
