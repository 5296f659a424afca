// The "model" of a tokenizer.json, type BPE: one word in, ids out.
// Immutable; thread-safe.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "tokenizer/bpe.h"
#include "tokenizer/json_document.h"
#include "tokenizer/json_node.h"

namespace onepass {

class BpeModel {
 public:
  // root: the document's "rest". `special` decides which token texts may never come out of plain
  // text by merging (the texts of special added tokens); single characters are not concerned.
  static Result<std::unique_ptr<BpeModel>> Parse(const TokenizerDocument& document,
                                                 const JsonNode& root,
                                                 const std::vector<std::string>& special);

  const Vocabulary& vocabulary() const { return vocabulary_; }
  int64_t merge_count() const { return static_cast<int64_t>(merges_.size()); }

  // Appends the ids of one word. Characters that are not in the vocabulary become their bytes'
  // tokens, the unknown token or, where the file has neither, nothing.
  // REQUIRES: word is valid UTF-8.
  void EncodeWord(std::string_view word, std::vector<TokenId>* ids) const;

 private:
  Status ParseOptions(const JsonNode& model);
  Status FillVocabulary(const TokenizerDocument& document, const JsonNode& model);
  Status FillMerges(const TokenizerDocument& document, const JsonNode& model);
  // Whether no text can be without a token.
  bool CoversEveryByte() const;
  void AppendSymbols(std::string_view word, std::vector<TokenId>* symbols) const;
  std::optional<TokenId> CharId(std::string_view character, uint32_t code_point) const;

  Vocabulary vocabulary_;
  MergeTable merges_;
  std::vector<bool> never_merged_into_;  // by id
  std::vector<TokenId> char_ids_;        // by code point, for the first few; -1: none
  std::array<TokenId, 256> byte_ids_;    // of <0x00> to <0xFF>; -1: none
  std::optional<TokenId> unknown_;
  bool fuse_unknown_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
  std::string continuing_prefix_;
  std::string end_suffix_;
};

}  // namespace onepass
