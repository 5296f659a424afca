#include "tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <queue>

#include "core/check.h"

namespace onepass {
namespace {

// Up to this many symbols a scan for the lowest rank beats a queue.
constexpr size_t kShortWord = 24;
constexpr uint32_t kNoRank = ~uint32_t{0};

uint64_t PairKey(TokenId left, TokenId right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

uint64_t Mix(uint64_t x) {
  x *= 0x9e3779b97f4a7c15ULL;
  return x ^ x >> 29;
}

}  // namespace

MergeTable::MergeTable(size_t count)
    : slots_(std::bit_ceil(std::max<size_t>(2 * count, 2))), mask_(slots_.size() - 1) {}

void MergeTable::Set(TokenId left, TokenId right, Merge merge) {
  const uint64_t key = PairKey(left, right);
  uint64_t at = Mix(key) & mask_;
  while (slots_[at].pair != kEmpty && slots_[at].pair != key) at = (at + 1) & mask_;
  if (slots_[at].pair == kEmpty) {
    ++size_;
    ONEPASS_CHECK(2 * size_ <= slots_.size(), "more merges than reserved");
  }
  slots_[at] = {key, merge};
}

const MergeTable::Merge* MergeTable::Find(TokenId left, TokenId right) const {
  const uint64_t key = PairKey(left, right);
  uint64_t at = Mix(key) & mask_;
  while (slots_[at].pair != key) {
    if (slots_[at].pair == kEmpty) return nullptr;
    at = (at + 1) & mask_;
  }
  return &slots_[at].merge;
}

void MergeTable::MergeAll(std::vector<TokenId>* symbols) const {
  if (symbols->size() < 2) return;
  if (symbols->size() <= kShortWord) {
    MergeShort(symbols);
  } else {
    MergeLong(symbols);
  }
}

void MergeTable::MergeShort(std::vector<TokenId>* symbols) const {
  std::vector<TokenId>& s = *symbols;
  // The merge of each symbol with the next one.
  Merge pairs[kShortWord];
  const auto pair_at = [&](size_t i) {
    const Merge* merge = Find(s[i], s[i + 1]);
    return merge == nullptr ? Merge{kNoRank, 0} : *merge;
  };
  size_t count = s.size();
  for (size_t i = 0; i + 1 < count; ++i) pairs[i] = pair_at(i);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (pairs[i].rank < pairs[best].rank) best = i;
    }
    if (pairs[best].rank == kNoRank) break;
    s[best] = pairs[best].merged;
    s.erase(s.begin() + static_cast<ptrdiff_t>(best) + 1);
    --count;
    for (size_t i = best + 1; i + 1 < count; ++i) pairs[i] = pairs[i + 1];
    if (best + 1 < count) pairs[best] = pair_at(best);
    if (best > 0) pairs[best - 1] = pair_at(best - 1);
  }
}

void MergeTable::MergeLong(std::vector<TokenId>* symbols) const {
  struct Node {
    TokenId id;
    bool alive;
    int64_t previous;
    int64_t next;
  };
  struct Candidate {
    uint32_t rank;
    TokenId merged;
    int64_t at;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  const auto count = static_cast<int64_t>(symbols->size());
  std::vector<Node> nodes(symbols->size());
  for (int64_t i = 0; i < count; ++i) {
    nodes[static_cast<size_t>(i)] = {(*symbols)[static_cast<size_t>(i)], true, i - 1,
                                     i + 1 < count ? i + 1 : -1};
  }
  const auto node = [&nodes](int64_t i) -> Node& { return nodes[static_cast<size_t>(i)]; };
  std::vector<Candidate> heap;
  for (int64_t i = 0; i + 1 < count; ++i) {
    if (const Merge* m = Find(node(i).id, node(i + 1).id)) heap.push_back({m->rank, m->merged, i});
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(std::greater<>{},
                                                                               std::move(heap));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Node& left = node(top.at);
    if (!left.alive || left.next < 0) continue;
    const Node right = node(left.next);
    // Not what it was when it was queued, if the pair merges into something else now.
    const Merge* merge = Find(left.id, right.id);
    if (merge == nullptr || merge->merged != top.merged) continue;
    node(left.next).alive = false;
    left.id = top.merged;
    left.next = right.next;
    if (right.next >= 0) {
      node(right.next).previous = top.at;
      if (const Merge* m = Find(left.id, node(right.next).id)) {
        queue.push({m->rank, m->merged, top.at});
      }
    }
    if (left.previous >= 0) {
      if (const Merge* m = Find(node(left.previous).id, left.id)) {
        queue.push({m->rank, m->merged, left.previous});
      }
    }
  }
  symbols->clear();
  for (int64_t i = 0; i >= 0; i = node(i).next) symbols->push_back(node(i).id);
}

bool Vocabulary::Add(std::string_view text, TokenId id) {
  const auto index = static_cast<size_t>(id);
  if (index < by_id_.size() && by_id_[index] != nullptr) return false;
  const auto [entry, is_new] = ids_.emplace(std::string(text), id);
  if (!is_new) return false;
  if (index >= by_id_.size()) by_id_.resize(index + 1, nullptr);
  by_id_[index] = &entry->first;
  return true;
}

std::optional<TokenId> Vocabulary::IdOf(std::string_view text) const {
  const auto found = ids_.find(text);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* Vocabulary::TextOf(TokenId id) const {
  if (id < 0 || static_cast<size_t>(id) >= by_id_.size()) return nullptr;
  return by_id_[static_cast<size_t>(id)];
}

}  // namespace onepass
