// How fast the base reads (prefill) and writes (decode), beside what the machine could do.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/bench_base.h"
#include "bench/measure.h"
#include "bench/report.h"
#include "bench/work.h"
#include "core/status.h"

namespace onepass {

// The machine's own limits: peak f32 GFLOP/s and int8 Gop/s of one and of all threads, memory
// bandwidth.
Result<BenchReport> BenchMachine(int thread_count);

struct PrefillBenchOptions {
  BenchBaseOptions base;
  DType kv_dtype = DType::kF32;  // what KV is stored in: F32, BF16 or I8
  std::vector<int64_t> token_counts = {512};
  int repeats = 5;  // timed, after one that is not
};
// tokens/s, Gop/s and share of the measured peaks, a row for each token count. peak_share is the
// time that the operations take at the peaks (f32 ones at f32's, products of quantised weights at
// int8's) over the time that they took.
Result<BenchReport> BenchPrefill(const PrefillBenchOptions& options);

struct DecodeBenchOptions {
  BenchBaseOptions base;
  DType kv_dtype = DType::kF32;  // what KV is stored in: F32, BF16 or I8
  int64_t context_tokens = 512;  // in the cache before the first step
  int64_t step_count = 32;       // of a run
  std::vector<int64_t> batch_sizes = {1, 8};
  int repeats = 3;
};
// tokens/s of all sequences, and the share of the memory bandwidth that reading the weights and the
// visible KV once a step takes; a row for each batch size.
Result<BenchReport> BenchDecode(const DecodeBenchOptions& options);

// One measured kind of work.
struct TimedWork {
  Work work;
  Spread seconds;
};
// One text of random tokens.
struct PrefillRun {
  int64_t token_count = 512;
  int repeats = 5;  // timed, after one that is not
  DType kv_dtype = DType::kF32;
};
// Prefills. kInvalidArgument: more positions than the base has, or KV than the machine's memory
// holds. REQUIRES: counts of at least 1.
Result<TimedWork> TimePrefill(Base& base, const PrefillRun& run);

// Sequences of which none shares another's KV.
struct DecodeRun {
  int64_t batch_size = 1;
  int64_t context_tokens = 512;  // of each, in the cache before the first step
  int64_t step_count = 32;
  int repeats = 3;  // timed, after one that is not
  DType kv_dtype = DType::kF32;
};
// Decode steps: the mean one of each run. kInvalidArgument and REQUIRES: as TimePrefill.
Result<TimedWork> TimeDecode(Base& base, const DecodeRun& run);

}  // namespace onepass
