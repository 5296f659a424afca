#include "kernels/cpu/attention_memory.h"

#include <tuple>

namespace onepass {

bool LargerFirst(const AttentionItem& a, const AttentionItem& b) {
  return std::tuple(-a.cost, a.sequence, a.query_begin, a.kv_head) <
         std::tuple(-b.cost, b.sequence, b.query_begin, b.kv_head);
}

void AttentionScratch::Reserve(int thread_count, int64_t head_dim) {
  const int64_t floats = AttentionMemory::Floats(head_dim);
  if (static_cast<int>(threads.size()) < thread_count) threads.resize(thread_count);
  for (int t = 0; t < thread_count; ++t) {
    if (threads[t].size() < floats) threads[t] = Buffer<float>(1, floats);
  }
}

}  // namespace onepass
