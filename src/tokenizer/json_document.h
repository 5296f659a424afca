// A tokenizer as a document: the vocabulary and the merges, which are nearly all of it, in flat
// tables, the rest as tokenizer.json has it. Read from the bytes of a tokenizer.json, with its form
// checked: what it means is checked by those who build from it. Hostile input ends in an error:
// nesting, sizes and repeated keys are bounded while reading.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/status.h"
#include "tokenizer/tokenizer.h"

namespace onepass {

// Ids are indices of tables here and of embedding rows elsewhere, so they are bounded.
inline constexpr int64_t kMaxTokenId = (int64_t{1} << 23) - 1;

// A list of strings in one buffer. Thread-compatible; movable.
class StringTable {
 public:
  void Add(std::string_view text) {
    bytes_.append(text);
    ends_.push_back(bytes_.size());
  }
  size_t size() const { return ends_.size(); }
  std::string_view operator[](size_t index) const {
    const size_t begin = index == 0 ? 0 : ends_[index - 1];
    return std::string_view(bytes_).substr(begin, ends_[index] - begin);
  }

 private:
  std::string bytes_;
  std::vector<size_t> ends_;
};

struct TokenizerDocument {
  nlohmann::json rest;  // without model.vocab and model.merges
  bool has_vocab = false;
  StringTable vocab_tokens;
  std::vector<TokenId> vocab_ids;  // of vocab_tokens
  bool has_merges = false;
  // Left and right in turn where the file has pairs; one text a merge where it has strings.
  bool merges_are_pairs = false;
  StringTable merges;
  // The rank of each merge; empty: their order. Merges of one rank are done from left to right.
  std::vector<uint32_t> merge_ranks;
  std::string kind = "BPE (tokenizer.json)";  // TokenizerInfo's
};

Result<TokenizerDocument> ReadTokenizerDocument(std::string_view json, const std::string& name);

// The tokenizer that a document describes.
Result<std::unique_ptr<const Tokenizer>> BuildTokenizer(const TokenizerDocument& document,
                                                        const std::string& name);

}  // namespace onepass
