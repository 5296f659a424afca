// Runs a suite: every method over the same records, one question at a time, scored and timed.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "chain/record.h"
#include "core/status.h"
#include "engine/engine.h"
#include "eval/report.h"
#include "eval/suite.h"

namespace onepass {

struct CompareOptions {
  std::string out;  // folder for results.json and samples_<method>.jsonl; empty: no files
  BaseOptions base;
  DType kv_dtype = DType::kF32;  // what KV is stored in, for methods that do not say
  OnError on_error = OnError::kStop;
  // With kSkip: the fault of each record that is left out. May be empty.
  std::function<void(const Status& fault)> on_skipped;
  // After each question; may be empty.
  std::function<void(const std::string& method, uint64_t seed, int64_t done, int64_t total)>
      on_progress;
};

// One result a method, in the suite's order. A method whose prompts do not depend on the seed runs
// once. The first fault (a chain, a prompt, a record without its fields) ends it; with kSkip a
// record's fault leaves it out, of all methods if one could not do it, so that all are compared on
// the same questions. The files are written at the end, each whole or not at all.
Result<std::vector<MethodResult>> Compare(const SuiteSpec& suite, const CompareOptions& options);

// The accepted answers of a record: its gold field, and its aliases where the suite names a field.
Result<std::vector<std::string>> AcceptedAnswers(const SuiteSpec& suite, const Record& record);

// The chain of a method, with the suite's prompts for one seed put in.
Result<ChainSpec> BindMethod(const SuiteSpec& suite, const MethodSpec& method, uint64_t seed);

}  // namespace onepass
