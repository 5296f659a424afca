// What KV memory a multi-round chain of several models holds, by hand-off.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/bench_base.h"
#include "bench/report.h"
#include "core/status.h"

namespace onepass {

struct KvMemoryOptions {
  BenchBaseOptions base;                                  // its shape alone; no weight is read
  DType kv_dtype = DType::kF32;                           // what KV is stored in: F32, BF16 or I8
  std::vector<int64_t> lengths = {250, 500, 1000, 3000};  // tokens of all outputs together
  int64_t prompt_length = 100;                            // P of each model
  int64_t shared_tokens = 32;                             // S
  int64_t rounds = 4;                                     // in which the models take turns

  Status Validate() const;
};

// 1, 2 and 3 models with front prompts take turns, and the outputs of all rounds together have each
// length. The plan of that chain is walked as a run walks it: pages are taken where a step writes
// and freed where the plan lets a segment die; nothing is computed. A row a length, hand-off and
// number of models: the pool's peak and the plan's prediction in bytes, and how many tokens are
// computed again. kv keeps one copy; text-cached one a model; text one that it makes anew in every
// step.
Result<BenchReport> BenchKvMemory(const KvMemoryOptions& options);

}  // namespace onepass
