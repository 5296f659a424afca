// What the arithmetic of a forward pass must do and read at least, counted from shapes and stored
// types: what shares of the machine's peaks are taken of. Counts nothing that a kernel adds
// (packing, quantising rows, exponentials).
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "kv/layout.h"
#include "model/checkpoint.h"

namespace onepass {

// The limits of one machine, measured at one time, all threads together.
struct Peaks {
  double gflops = 0;     // f32
  double int8_gops = 0;  // bytes, as quantised products multiply them
  double gb_per_s = 0;   // read from memory
};
// About a second. memory_bytes: how much the bandwidth is measured on; 0: it is not, and stays 0.
Peaks MeasurePeaks(ThreadPool& pool, int64_t memory_bytes);
// Of two measurements, since a shared machine's clock moves.
Peaks LargerOf(const Peaks& a, const Peaks& b);

// A multiply-add is two operations.
struct Work {
  double flops = 0;        // f32: attention, and products with weights that are not in blocks
  double integer_ops = 0;  // products with weights in Q8_0, Q4_0, Q4_K or Q6_K
  double bytes = 0;        // weights as the CPU backend holds them, once; visible KV

  double ops() const { return flops + integer_ops; }
  // The least time that the operations take at the peaks.
  double ComputeSeconds(const Peaks& peaks) const;
  // The least time that the bytes take. REQUIRES: peaks.gb_per_s above 0.
  double MemorySeconds(const Peaks& peaks) const;
  // Of a run that took `seconds`, the share of the limit that binds it: the larger of the two.
  double ShareOfLimit(const Peaks& peaks, double seconds) const;
};

// T tokens that attend to each other, and one row of logits. KV is counted once.
Work PrefillWork(const Checkpoint& checkpoint, int64_t token_count, const KvLayout& layout);

// One token, and a row of logits, of each of `batch` sequences that see `visible` tokens on
// average, the new one with them. Sequences share no KV.
Work DecodeWork(const Checkpoint& checkpoint, int64_t batch, double visible,
                const KvLayout& layout);

}  // namespace onepass
