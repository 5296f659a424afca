// The tokens that the stages of a chain add to its base's vocabulary (docs/method.md, section 4).
// Their ids stand behind the base's, stage after stage; a text that two stages add is two tokens.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chain/spec.h"
#include "core/status.h"
#include "tokenizer/tokenizer.h"

namespace onepass {

// Immutable; thread-safe. Keeps a reference to the tokenizer.
class ChainVocabulary {
 public:
  // vocab_size: rows of the base's embedding. kInvalidArgument: a token that the base has already.
  static Result<ChainVocabulary> Create(const ChainSpec& spec, const Tokenizer& tokenizer,
                                        int64_t vocab_size);

  const Tokenizer& tokenizer() const { return *tokenizer_; }
  int64_t base_size() const { return base_size_; }
  int64_t added_count() const { return std::ssize(added_); }
  // A stage's own added tokens: their place among all the added ones.
  int64_t first_of(int stage) const { return first_[stage]; }
  int64_t count_of(int stage) const { return first_[stage + 1] - first_[stage]; }
  bool IsAdded(TokenId id) const { return id >= base_size_; }
  // The stage that adds the token. REQUIRES: IsAdded(id).
  int StageOf(TokenId id) const;

  // What a stage can write: its own token of that text, or the base's.
  std::optional<TokenId> IdOf(int stage, std::string_view text) const;
  // All added tokens as texts of stage's templates: its own first, then those of the others in
  // order.
  std::vector<std::pair<std::string, TokenId>> TextsFor(int stage) const;

 private:
  explicit ChainVocabulary(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}
  const Tokenizer* tokenizer_;
  int64_t base_size_ = 0;
  std::vector<std::string> added_;
  std::vector<int64_t> first_;  // by stage, and the end
};

}  // namespace onepass
