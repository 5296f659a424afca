// The tokenizer of a GGUF file, which holds it as lists in its metadata: vocabulary in, tokenizer
// out. Knows the lists, not the file's bytes. What the two models and the pre-tokenizers mean is
// written down in docs/formats/gguf.md.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "tokenizer/tokenizer.h"

namespace onepass {

// Plain data; borrows its texts. Keys are those behind "tokenizer.ggml.".
struct GgufVocabulary {
  std::string model;                     // "gpt2": byte-level merges; "llama": scores
  std::string pre;                       // gpt2: how words are cut; empty: "default"
  std::vector<std::string_view> tokens;  // by id
  std::vector<int32_t> types;            // token_type, one a token; empty: all normal
  std::vector<float> scores;             // llama: one a token
  std::vector<std::string_view> merges;  // gpt2: "left right", first rank first
  std::optional<TokenId> bos;            // bos_token_id
  std::optional<TokenId> eos;            // eos_token_id
  std::optional<TokenId> unknown;        // unknown_token_id
  std::optional<bool> add_bos;           // add_bos_token
  std::optional<bool> add_eos;           // add_eos_token
  std::optional<bool> add_space_prefix;
};

// Errors name the key, what was wanted and found, and `name`, which stands for the path.
Result<std::unique_ptr<const Tokenizer>> MakeGgufTokenizer(const GgufVocabulary& vocabulary,
                                                           const std::string& name);

}  // namespace onepass
