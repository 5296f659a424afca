// What hand-offs cost on records that have their own outputs: the same inputs and outputs under
// each hand-off, so that nothing depends on what a base would write. Quality is not judged.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bench/report.h"
#include "chain/spec.h"
#include "core/status.h"
#include "engine/engine.h"

namespace onepass {

struct ReplayBenchOptions {
  std::string input;                 // records
  std::vector<std::string> outputs;  // record field of each stage's output (trace.h)
  int64_t most_records = 0;          // the first of the file; 0: all
  DType kv_dtype = DType::kF32;      // what KV is stored in: F32, BF16 or I8

  // Told which record is next; may be empty. Never called while time is taken.
  std::function<void(const std::string&)> on_progress;
};

// Every record under text, text-cached and kv in turn, after one round of the first record that is
// not counted. A row a measure, stage and hand-off, over all samples: tokens and rounds of a
// record, loss of an output (mean cross entropy of its tokens), milliseconds of a hand-off, tokens
// recomputed and reused of a record, its peak of KV.
//
// A record that does not fit the context under every hand-off is cut where the chain says so, alike
// for all, else left out; both are counted. kInvalidArgument: a faulty record; none that fits; a
// record whose peak of KV, or whose rows computed, are not what the plan predicts.
Result<BenchReport> BenchReplay(Base& base, const ChainSpec& spec,
                                const ReplayBenchOptions& options);

}  // namespace onepass
