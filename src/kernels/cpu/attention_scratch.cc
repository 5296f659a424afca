#include "kernels/cpu/attention_memory.h"

#include <algorithm>
#include <tuple>

#include "kernels/shape_checks.h"

namespace onepass {
namespace {

// Where there are fewer items a thread, chunks of keys become items: not of many rows, and not of
// so many that their sums would take much memory (16 MB).
constexpr int64_t kItemsPerThread = 4;
constexpr int64_t kMaxSplitRows = 64;
constexpr int64_t kMaxChunkFloats = int64_t{4} << 20;

// Items of a sequence and a KV head in the backward, at most: each has sums for all keys, but there
// must be enough for threads to end together.
constexpr int64_t kBackwardItems = 6;

// Of a sequence's first `count` keys those that take gradients.
int64_t GradientKeys(const AttentionSequence<float>& sequence, int64_t count) {
  int64_t taking = 0;
  for (const KvRun<float>& run : sequence.runs) {
    if (run.dk != nullptr || run.dv != nullptr) taking += std::min(run.count, count);
    count -= std::min(run.count, count);
  }
  return taking;
}

// The largest first, so that threads end together. Who computes an item changes nothing.
bool LargerFirst(const AttentionItem& a, const AttentionItem& b) {
  return std::tuple(-a.cost, a.sequence, a.query_begin, a.kv_head, a.chunk) <
         std::tuple(-b.cost, b.sequence, b.query_begin, b.kv_head, b.chunk);
}

}  // namespace

void AttentionScratch::Reserve(int thread_count, int64_t head_dim) {
  const int64_t floats = AttentionMemory::Floats(head_dim);
  if (static_cast<int>(threads.size()) < thread_count) threads.resize(thread_count);
  for (int t = 0; t < thread_count; ++t) {
    if (threads[t].size() < floats) threads[t] = Buffer<float>(1, floats);
  }
}

void AttentionScratch::AddItems(AttentionItem item, int64_t rows, int64_t key_count,
                                int64_t head_dim, bool split_keys) {
  const int64_t cost_per_key = RoundUp(rows, 16) * head_dim;
  const int64_t chunks = CeilDiv(key_count, kKeyChunk);
  const int64_t chunk_floats = rows * (RoundUp(head_dim, 16) + 2);
  if (!split_keys || chunks < 2 || rows > kMaxSplitRows ||
      split_floats_ + chunks * chunk_floats > kMaxChunkFloats) {
    item.cost = cost_per_key * key_count;
    items.push_back(item);
    return;
  }
  item.split = static_cast<int32_t>(splits.size());
  splits.push_back({.sums_at = split_floats_,
                    .chunk_floats = chunk_floats,
                    .chunk_count = static_cast<int32_t>(chunks),
                    .chunks_left = static_cast<int32_t>(chunks)});
  split_floats_ += chunks * chunk_floats;
  for (item.chunk = 0; item.chunk < chunks; ++item.chunk) {
    item.cost = cost_per_key * std::min(kKeyChunk, key_count - item.chunk * kKeyChunk);
    items.push_back(item);
  }
}

int64_t AttentionScratch::PlanItems(const AttentionShape& shape,
                                    std::span<const AttentionSequence<float>> sequences,
                                    int thread_count) {
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t block = QueriesOfBlock(shape);
  items.clear();
  splits.clear();
  split_floats_ = 0;
  int64_t whole_items = 0;
  for (const AttentionSequence<float>& sequence : sequences) {
    whole_items += CeilDiv(sequence.query_count, block) * shape.kv_heads;
  }
  const bool split_keys = thread_count > 1 && whole_items < kItemsPerThread * thread_count;
  for (size_t s = 0; s < sequences.size(); ++s) {
    const int64_t before = KeyCount(sequences[s]) - sequences[s].query_count;
    for (int64_t begin = 0; begin < sequences[s].query_count; begin += block) {
      const int64_t count = std::min(block, sequences[s].query_count - begin);
      for (int64_t g = 0; g < shape.kv_heads; ++g) {
        AttentionItem item;
        item.sequence = static_cast<int32_t>(s);
        item.kv_head = static_cast<int32_t>(g);
        item.query_begin = begin;
        item.query_count = count;
        AddItems(item, count * group, before + begin + count, shape.head_dim, split_keys);
      }
    }
  }
  std::sort(items.begin(), items.end(), LargerFirst);
  // Half as much again, so that decoding step by step seldom allocates.
  if (chunk_sums.size() < split_floats_) {
    chunk_sums = Buffer<float>(1, split_floats_ + split_floats_ / 2);
  }
  int64_t cost = 0;
  for (const AttentionItem& item : items) cost += item.cost;
  return cost;
}

int64_t AttentionScratch::PlanBackward(const AttentionShape& shape,
                                       std::span<const AttentionSequence<float>> sequences) {
  const int64_t block = QueriesOfBlock(shape);
  backward_items.clear();
  key_sum_floats = 0;
  int64_t cost = 0;
  for (size_t s = 0; s < sequences.size(); ++s) {
    const int64_t count = sequences[s].query_count;
    if (count == 0) continue;
    const int64_t before = KeyCount(sequences[s]) - count;
    const int64_t blocks = CeilDiv(count, block);
    const Parts parts(blocks, CeilDiv(blocks, kBackwardItems));
    for (int64_t p = 0; p < parts.count(); ++p) {
      BackwardItem item;
      item.sequence = static_cast<int32_t>(s);
      item.query_begin = parts.begin(p) * block;
      item.query_count = std::min(parts.size(p) * block, count - item.query_begin);
      item.key_end = before + item.query_begin + item.query_count;
      item.sum_floats = 2 * GradientKeys(sequences[s], item.key_end) * shape.head_dim;
      item.cost = item.query_count * (shape.heads / shape.kv_heads) * item.key_end * shape.head_dim;
      for (int64_t g = 0; g < shape.kv_heads; ++g) {
        item.kv_head = static_cast<int32_t>(g);
        item.sums_at = key_sum_floats;
        key_sum_floats += item.sum_floats;
        cost += item.cost;
        backward_items.push_back(item);
      }
    }
  }
  std::sort(backward_items.begin(), backward_items.end(),
            [](const BackwardItem& a, const BackwardItem& b) {
              return std::tuple(-a.cost, a.sums_at) < std::tuple(-b.cost, b.sums_at);
            });
  if (key_sums.size() < key_sum_floats) {
    key_sums = {};
    key_sums = Buffer<float>::ForOverwrite(1, key_sum_floats);
  }
  return cost;
}

}  // namespace onepass
