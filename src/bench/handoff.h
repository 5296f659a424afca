// What a hand-off costs the stage that receives it, by policy and by length of the text handed
// over.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/bench_base.h"
#include "bench/report.h"
#include "core/status.h"

namespace onepass {

struct HandoffBenchOptions {
  BenchBaseOptions base;
  DType kv_dtype = DType::kF32;                           // what KV is stored in: F32, BF16 or I8
  std::vector<int64_t> lengths = {250, 500, 1000, 3000};  // tokens of the intermediate output
  int64_t prompt_length = 100;                            // P of each stage
  int64_t shared_tokens = 32;                             // S
  int64_t input_tokens = 16;                              // I_B
  int64_t output_tokens = 16;                             // O_B
  int runs = 10;  // of each policy and length, after one that is not counted

  Status Validate() const;
};

// Latency of the second stage of a two-stage chain with front prompts: from the end of the first
// stage's output to the first token (the hand-off) and to the last. text: the prompt, the shared
// input and the text are prefilled; text-cached: the prompt's and the shared input's KV are kept;
// kv: nothing but the stage's own input is prefilled. The policies run in turn, so that a slow
// moment hits all.
Result<BenchReport> BenchHandoff(const HandoffBenchOptions& options);

}  // namespace onepass
