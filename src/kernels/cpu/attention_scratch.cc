#include "kernels/cpu/attention_memory.h"

#include <tuple>

namespace onepass {

bool LargerFirst(const AttentionItem& a, const AttentionItem& b) {
  return std::tuple(-a.cost, a.sequence, a.query_begin, a.kv_head, a.chunk) <
         std::tuple(-b.cost, b.sequence, b.query_begin, b.kv_head, b.chunk);
}

void AttentionScratch::Reserve(int thread_count, int64_t head_dim) {
  const int64_t floats = AttentionMemory::Floats(head_dim);
  if (static_cast<int>(threads.size()) < thread_count) threads.resize(thread_count);
  for (int t = 0; t < thread_count; ++t) {
    if (threads[t].size() < floats) threads[t] = Buffer<float>(1, floats);
  }
}

// Grows by half as much again, so that decoding step by step seldom allocates.
void AttentionScratch::ReserveChunkSums(int64_t floats) {
  if (chunk_sums.size() < floats) chunk_sums = Buffer<float>(1, floats + floats / 2);
}

}  // namespace onepass
