// Byte-pair encoding of one word: symbols are merged by rank, leftmost first. Knows symbol ids and
// merge ranks; not how text becomes words.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/status.h"
#include "tokenizer/tokenizer.h"

namespace onepass {

// Which pairs merge, at which rank, into what. Built once, then immutable and thread-safe.
class MergeTable {
 public:
  struct Merge {
    uint32_t rank;
    TokenId merged;
  };

  // Room for this many pairs.
  explicit MergeTable(size_t count = 0);
  // A pair that is set again takes the new rank. REQUIRES: no more pairs than reserved.
  void Set(TokenId left, TokenId right, Merge merge);
  // Null if the pair does not merge.
  const Merge* Find(TokenId left, TokenId right) const;
  size_t size() const { return size_; }

  // Merges symbols until nothing merges, in place. O(n log n).
  void MergeAll(std::vector<TokenId>* symbols) const;

 private:
  struct Slot {
    uint64_t pair = kEmpty;
    Merge merge{};
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};

  void MergeShort(std::vector<TokenId>* symbols) const;
  void MergeLong(std::vector<TokenId>* symbols) const;

  std::vector<Slot> slots_;  // open addressing, at most half full
  uint64_t mask_ = 0;
  size_t size_ = 0;
};

// Token texts and ids. Immutable once filled; thread-safe. Not copyable: it points into itself.
class Vocabulary {
 public:
  Vocabulary() = default;
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  // False, and nothing is added, if the text or the id is there already.
  bool Add(std::string_view text, TokenId id);
  std::optional<TokenId> IdOf(std::string_view text) const;
  // Null if there is no such id.
  const std::string* TextOf(TokenId id) const;
  size_t size() const { return ids_.size(); }
  TokenId end_id() const { return static_cast<TokenId>(by_id_.size()); }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  std::unordered_map<std::string, TokenId, Hash, std::equal_to<>> ids_;
  std::vector<const std::string*> by_id_;
};

}  // namespace onepass
