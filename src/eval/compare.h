// Runs a suite: every method over the same records, scored and timed, and written as it goes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "chain/record.h"
#include "core/status.h"
#include "engine/engine.h"
#include "eval/results.h"
#include "eval/suite.h"

namespace onepass {

struct CompareOptions {
  std::string out;       // folder for everything that is written; empty: no files
  bool restart = false;  // run everything anew, whatever runs `out` holds
  BaseOptions base;
  DType kv_dtype = DType::kF32;  // what KV is stored in, for methods that do not say
  OnError on_error = OnError::kStop;
  // With kSkip: the fault of each record that is left out, once. May be empty.
  std::function<void(const Status& fault)> on_skipped;
  // After each question or batch; may be empty.
  std::function<void(const std::string& method, uint64_t seed, int64_t done, int64_t total)>
      on_progress;
};

struct Comparison {
  TaskResults results;     // methods in the suite's order
  int64_t runs = 0;        // of a method with one seed's prompts
  int64_t runs_taken = 0;  // of these, from an earlier comparison's files
};

// A method whose prompts do not depend on the seed runs once. The first fault (a chain, a prompt, a
// record without its fields) ends it; with kSkip a record's fault leaves it out, of all methods if
// one could not do it, so that all are compared on the same questions.
// With `out` each run is kept as soon as it is done (out/runs), and a later comparison takes it in
// place of running it where all that decides its answers is the same. The other files are written
// at the end: all, or none.
Result<Comparison> Compare(const SuiteSpec& suite, const CompareOptions& options);

}  // namespace onepass
