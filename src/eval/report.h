// What a comparison measured, and how it is told: results.json and a table.
// Pure functions over plain data; runs nothing and writes no file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kv/layout.h"

namespace onepass {

// One method on one set of questions with one seed's prompts.
struct MethodRun {
  uint64_t seed = 1;
  int64_t n = 0;                 // questions
  int64_t skipped = 0;           // records that were left out
  double em = 0;                 // percent
  double f1 = 0;                 // percent
  double ms = 0;                 // a question, all stages
  double handoff_ms = 0;         // a question: from one stage's last token to the next one's first
                                 // forward pass that is not about what was handed over
  double recomputed_tokens = 0;  // a question: tokens whose KV existed and was computed again
  int64_t peak_kv_bytes = 0;     // the largest of any question
};

struct MethodResult {
  std::string method;
  std::string task;
  std::vector<MethodRun> runs;   // one a seed, at least one
  DType kv_dtype = DType::kF32;  // what KV was stored in
};

// A list of {method, task, kv, n, skipped, em, f1, ms, handoff_ms, recomputed_tokens,
// peak_kv_bytes}: means over the seeds (the peak: the largest), with {seeds, em_spread, f1_spread,
// em_by_seed, f1_by_seed} beside them. Spread is the sample standard deviation.
std::string ResultsToJson(const std::vector<MethodResult>& results);

// A plain-text table, one line a method; spreads where there are several seeds.
std::string ResultsToTable(const std::vector<MethodResult>& results);

}  // namespace onepass
