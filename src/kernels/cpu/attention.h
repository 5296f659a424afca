// Attention of the CPU backend: online softmax over blocks of 64 visible keys, all query heads of a
// KV head together; each chunk of 256 keys has sums of its own, which are merged in the order of
// the chunks, so that threads may share a few rows' keys. Blocks and chunks are cut by a key's
// place among the visible keys, never by runs or pages, so how the KV is stored changes no bit of
// the result; nor does the batch.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/ops.h"
#include "tensor/tensor.h"

namespace onepass {

// Keys of one step of the online softmax.
constexpr int64_t kKeyBlock = 64;
// Keys whose sums stand alone until they are merged.
constexpr int64_t kKeyChunk = 4 * kKeyBlock;
// Rows (queries times heads of the group) that share the loaded keys.
constexpr int64_t kQueryRows = 192;
constexpr int64_t kMaxGroup = 256;
constexpr int64_t kMaxHeadDim = 256;

// One piece of an attention call, done by one thread.
struct AttentionItem {
  int32_t sequence = 0;
  int32_t kv_head = 0;
  int64_t query_begin = 0;  // within the sequence
  int64_t query_count = 0;
  int64_t cost = 0;
  int32_t split = -1;  // an AttentionSplit: this item is one chunk of its keys; -1: all keys
  int32_t chunk = 0;
};

// Queries whose chunks of keys are items of their own. Who ends the last one merges them.
struct AttentionSplit {
  int64_t sums_at = 0;  // in AttentionScratch::chunk_sums
  int64_t chunk_floats = 0;
  int32_t chunk_count = 0;
  int32_t chunks_left = 0;  // changed through atomic_ref while threads run
};

// Queries of one block, with all heads of a KV head.
inline int64_t QueriesOfBlock(const AttentionShape& shape) {
  return std::max<int64_t>(1, kQueryRows / (shape.heads / shape.kv_heads));
}

// One piece of a backward call, done by one thread: some blocks of a sequence's queries and one KV
// head. Its gradients of keys and values are sums of its own, which are added to those of the keys
// when all items are done: items may share keys.
struct BackwardItem {
  int32_t sequence = 0;
  int32_t kv_head = 0;
  int64_t query_begin = 0;  // within the sequence
  int64_t query_count = 0;
  int64_t key_end = 0;  // of the keys that its queries see
  int64_t sums_at = 0;  // in AttentionScratch::key_sums
  // Of each key that takes gradients [D] for K, and behind it [D] for V.
  int64_t sum_floats = 0;
  int64_t cost = 0;
};

// Scratch memory; grows to the largest shape met. Thread-compatible.
struct AttentionScratch {
  void Reserve(int thread_count, int64_t head_dim);
  // Fills items and splits for a forward call, largest items first, and reserves chunk_sums.
  // Returns the cost of all: rows times keys times D. How keys are split changes no bit.
  int64_t PlanItems(const AttentionShape& shape,
                    std::span<const AttentionSequence<float>> sequences, int thread_count);

  // Fills backward_items, largest first, and reserves key_sums: up to six times a sequence's K and
  // V. Returns the cost of all. A sequence is cut by its own length alone, so threads change no
  // bit, and the batch none but of keys that sequences share.
  int64_t PlanBackward(const AttentionShape& shape,
                       std::span<const AttentionSequence<float>> sequences);

  std::vector<Buffer<float>> threads;
  std::vector<AttentionItem> items;
  std::vector<AttentionSplit> splits;
  Buffer<float> chunk_sums;  // of a split's chunks in order: sums [rows][width], max, total [rows]
  std::vector<BackwardItem> backward_items;
  Buffer<float> key_sums;  // of the backward's items
  int64_t key_sum_floats = 0;

 private:
  // Adds the items of one block of queries and one KV head.
  void AddItems(AttentionItem item, int64_t rows, int64_t key_count, int64_t head_dim,
                bool split_keys);

  int64_t split_floats_ = 0;  // of the splits so far
};

void Attention(View<const float> q, const AttentionShape& shape,
               std::span<const AttentionSequence<float>> sequences, View<float> out,
               View<float> lse, AttentionScratch& scratch, ThreadPool& pool);
void AttentionBackward(View<const float> q, const AttentionShape& shape,
                       std::span<const AttentionSequence<float>> sequences, View<const float> out,
                       View<const float> lse, View<const float> dout, View<float> dq,
                       AttentionScratch& scratch, ThreadPool& pool);

}  // namespace onepass
