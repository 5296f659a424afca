// How the byte-level vocabularies of GGUF files cut a text into words: what the names under
// "tokenizer.ggml.pre" mean. Pure functions; thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace onepass {

// Patterns are applied in turn; each match is a part, and so is what lies between matches.
struct GgufPreTokenizer {
  std::vector<std::string_view> names;
  std::vector<std::string_view> patterns;
  bool nfc = false;            // the text is normalized first
  bool ignore_merges = false;  // a word that is a token as a whole is that token
  bool add_bos = false;        // where the file does not say
};

// Null: not known.
const GgufPreTokenizer* FindGgufPreTokenizer(std::string_view name);

// All names, with commas between.
std::string GgufPreTokenizerNames();

}  // namespace onepass
