// Runs a chain over a file of records and writes one JSON line a record.
// The output appears whole when all is done, or not at all: lines go to a temporary file beside it,
// which takes its name at the end.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "chain/record.h"
#include "chain/runner.h"

namespace onepass {

struct RunFileOptions {
  std::string input;
  std::string output;
  int64_t limit = 0;  // records; 0: all
  OnError on_error = OnError::kStop;
};

// Sums over the records that were done.
struct RunSummary {
  int64_t done = 0;
  int64_t faulty = 0;
  std::string first_fault;
  struct Stage {
    int64_t runs = 0;
    double prefill_ms = 0;
    double handoff_ms = 0;
    double first_token_ms = 0;
    double decode_ms = 0;
    int64_t output_tokens = 0;
    int64_t tokens_computed = 0;
    int64_t tokens_reused = 0;
    int64_t tokens_recomputed = 0;
  };
  std::vector<Stage> stages;
  double total_ms = 0;
  int64_t peak_kv_bytes = 0;  // the largest record's
  double wall_seconds = 0;
};

struct RunProgress {
  int64_t records = 0;     // done or faulty so far
  int64_t bytes_read = 0;  // of the input
  int64_t bytes_total = 0;
};

// kStop: the first fault of a record ends the run, and no output is left. kSkip: such a record
// becomes
// {"record": n, "error": "..."}, and the rest is done. `progress` may be empty; it is called after
// each batch.
Result<RunSummary> RunFile(ChainRunner& runner, const RunFileOptions& options,
                           const std::function<void(const RunProgress&)>& progress);

// The summary as a table, one row a stage.
std::string SummaryTable(const ChainSpec& spec, const RunSummary& summary);

}  // namespace onepass
