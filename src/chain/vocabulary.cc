#include "chain/vocabulary.h"

#include <algorithm>

#include "core/quote.h"

namespace onepass {

Result<ChainVocabulary> ChainVocabulary::Create(const ChainSpec& spec, const Tokenizer& tokenizer,
                                                int64_t vocab_size) {
  ChainVocabulary vocabulary(tokenizer);
  // An id of the tokenizer that the base has no row for must not be taken for an added one.
  vocabulary.base_size_ = std::max(vocab_size, tokenizer.Info().vocab_size);
  for (const StageSpec& stage : spec.stages) {
    vocabulary.first_.push_back(vocabulary.added_count());
    for (const std::string& token : stage.added_tokens) {
      if (tokenizer.IdOf(token)) {
        return InvalidArgument(spec.file + ": stage " + Quote(stage.name) +
                               ": added_tokens: want tokens that the base does not have, found " +
                               Quote(token));
      }
      vocabulary.added_.push_back(token);
    }
  }
  vocabulary.first_.push_back(vocabulary.added_count());
  return vocabulary;
}

int ChainVocabulary::StageOf(TokenId id) const {
  const auto behind = std::ranges::upper_bound(first_, id - base_size_);
  return static_cast<int>(behind - first_.begin()) - 1;
}

std::optional<TokenId> ChainVocabulary::IdOf(int stage, std::string_view text) const {
  for (int64_t i = first_[stage]; i < first_[stage + 1]; ++i) {
    if (added_[i] == text) return static_cast<TokenId>(base_size_ + i);
  }
  return tokenizer_->IdOf(text);
}

std::vector<std::pair<std::string, TokenId>> ChainVocabulary::TextsFor(int stage) const {
  std::vector<std::pair<std::string, TokenId>> texts;
  const auto add = [&](int of) {
    for (int64_t i = first_[of]; i < first_[of + 1]; ++i) {
      texts.emplace_back(added_[i], static_cast<TokenId>(base_size_ + i));
    }
  };
  if (stage >= 0) add(stage);
  for (int other = 0; other + 1 < std::ssize(first_); ++other) {
    if (other != stage) add(other);
  }
  return texts;
}

}  // namespace onepass
