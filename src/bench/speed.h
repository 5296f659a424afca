// How fast the base reads (prefill) and writes (decode), beside what the machine could do.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/bench_base.h"
#include "bench/report.h"
#include "core/status.h"
#include "model/config.h"

namespace onepass {

// The machine's own limits: peak f32 GFLOP/s of one and of all threads, memory bandwidth.
Result<BenchReport> BenchMachine(int thread_count);

struct PrefillBenchOptions {
  BenchBaseOptions base;
  std::vector<int64_t> token_counts = {512};
  int repeats = 5;  // timed, after one that is not
};
// tokens/s, GFLOP/s and share of the measured peak, a row for each token count.
Result<BenchReport> BenchPrefill(const PrefillBenchOptions& options);

struct DecodeBenchOptions {
  BenchBaseOptions base;
  int64_t context_tokens = 512;  // in the cache before the first step
  int64_t token_count = 32;      // steps a run
  std::vector<int64_t> batch_sizes = {1, 8};
  int repeats = 3;
};
// tokens/s of each sequence and of all, and the share of the memory bandwidth that reading the
// weights once a step takes; a row for each batch size.
Result<BenchReport> BenchDecode(const DecodeBenchOptions& options);

// Floating-point operations (a multiply-add is two) of a prefill of T tokens that attend to each
// other and of one row of logits.
double PrefillFlops(const ModelConfig& config, int64_t token_count);

}  // namespace onepass
