// What one method, with one seed's prompts, did with every question: the lines of its run file and
// of samples_<method>.jsonl (docs/formats/results.md). Plain data and its text; opens no file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "eval/metrics.h"

namespace onepass {

// What a method did with one record.
struct AnsweredQuestion {
  std::string fault;  // why it could not do it; empty: it could, and the rest is set
  AnswerScore score;
  double accuracy = 0;       // 0 or 1
  std::optional<double> ms;  // none: it was one of several in lockstep
  std::optional<double> handoff_ms;
  int64_t recomputed_tokens = 0;
  int64_t peak_kv_bytes = 0;
  std::optional<int64_t> rounds;     // of all loops; none: the chain has none
  std::optional<int64_t> tool_runs;  // none: the chain has no tool
  std::string line;                  // all of this with the outputs, as JSON and a newline
};

struct AnsweredRun {
  size_t method = 0;  // in the suite
  uint64_t seed = 0;
  bool taken = false;  // from a run file
  std::vector<AnsweredQuestion> questions;
};

// The line of a question that was not done.
std::string FaultLine(int64_t number, const std::string& fault);

// A run file: a line with the identity, by which it is known what was run, then the questions'.
std::string RunToText(const std::string& identity, const AnsweredRun& run);
// The questions of a run file; none where it is another run's, of another number of questions, or
// damaged.
std::optional<std::vector<AnsweredQuestion>> ParseRun(std::string_view text,
                                                      const std::string& identity,
                                                      size_t question_count);

}  // namespace onepass
