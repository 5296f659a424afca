// The buffers of one thread of attention, carved from one allocation, and the walk over runs.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/blocking.h"

namespace onepass {

// Rows of packed operands: a query block with its heads, padded to whole vectors of 16.
constexpr int64_t kMaxRows = kMaxGroup;

struct AttentionMemory {
  int64_t width = 0;  // D rounded up to 16: columns of values
  float* keys;        // [kKeyBlock][kStride]: a left operand
  float* values;      // [kKeyBlock][kStride]
  float* keys_t;      // [D][kKeyBlock]: the keys' transpose (few rows)
  float* scores;      // [kKeyBlock][kStride], lanes over rows: S^T, then P^T; of few rows S, then P
  float* gradients;   // [kKeyBlock][kStride]: dP^T, then dS^T (backward)
  float* queries_t;   // [D][kStride]: Q^T, times the scale
  float* douts_t;     // [D][kStride]: dO^T (backward)
  float* queries;     // [kMaxRows][width]: Q, times the scale
  float* douts;       // [kMaxRows][width] (backward)
  float* sums;        // [kMaxRows][width]: O of a chunk, or dQ
  float* merged;      // [kMaxRows][width]: O of the chunks so far
  float* key_sums;    // [kKeyBlock][width]: dK of a block (backward)
  float* value_sums;  // [kKeyBlock][width]: dV of a block (backward)
  float* max;         // [kMaxRows]; in the backward: lse
  float* total;       // [kMaxRows]; in the backward: delta
  float* merged_max;  // [kMaxRows]
  float* merged_total;  // [kMaxRows]
  float* correction;    // [kMaxRows]
  float* visible;       // [kMaxRows]: keys that a row sees (a whole number)

  static int64_t Floats(int64_t head_dim) {
    const int64_t width = RoundUp(head_dim, 16);
    return 4 * kKeyBlock * kStride + head_dim * kKeyBlock + 2 * head_dim * kStride +
           4 * kMaxRows * width + 2 * kKeyBlock * width + 6 * kMaxRows;
  }

  AttentionMemory(float* at, int64_t head_dim) : width(RoundUp(head_dim, 16)) {
    auto take = [&](int64_t floats) {
      float* taken = at;
      at += floats;
      return taken;
    };
    keys = take(kKeyBlock * kStride);
    values = take(kKeyBlock * kStride);
    keys_t = take(head_dim * kKeyBlock);
    scores = take(kKeyBlock * kStride);
    gradients = take(kKeyBlock * kStride);
    queries_t = take(head_dim * kStride);
    douts_t = take(head_dim * kStride);
    queries = take(kMaxRows * width);
    douts = take(kMaxRows * width);
    sums = take(kMaxRows * width);
    merged = take(kMaxRows * width);
    key_sums = take(kKeyBlock * width);
    value_sums = take(kKeyBlock * width);
    max = take(kMaxRows);
    total = take(kMaxRows);
    merged_max = take(kMaxRows);
    merged_total = take(kMaxRows);
    correction = take(kMaxRows);
    visible = take(kMaxRows);
  }
};

// Walks a sequence's runs in order, block by block.
class RunCursor {
 public:
  explicit RunCursor(std::span<const KvRun<float>> runs) : runs_(runs) {}

  // Passes over the next `count` keys.
  void Skip(int64_t count) {
    Next(count, [](const KvRun<float>&, int64_t, int64_t, int64_t) {});
  }

  // Calls body(run, first row in the run, row in the block, rows) for the pieces of the next
  // `count` keys.
  template <class Body>
  void Next(int64_t count, const Body& body) {
    int64_t done = 0;
    while (done < count) {
      const KvRun<float>& run = runs_[index_];
      const int64_t take = std::min(count - done, run.count - offset_);
      if (take > 0) body(run, offset_, done, take);
      done += take;
      offset_ += take;
      if (offset_ == run.count) {
        ++index_;
        offset_ = 0;
      }
    }
  }

 private:
  std::span<const KvRun<float>> runs_;
  size_t index_ = 0;
  int64_t offset_ = 0;
};

}  // namespace onepass
