// What a comparison measured: the content of results.json (docs/formats/results.md), written and
// read. Plain data; runs nothing and opens no file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "eval/bootstrap.h"
#include "eval/suite.h"

namespace onepass {

// One metric of one method, in percent; means over seeds and questions.
struct MetricResult {
  double mean = 0;
  Interval interval;             // bootstrap.h, over the questions
  std::optional<double> spread;  // sample standard deviation over the seeds; none: one seed
  std::vector<double> by_seed;
  // The method minus the suite's reference, on the same questions; none: there is no reference, or
  // this is it.
  std::optional<double> minus_reference;
  std::optional<Interval> minus_reference_interval;

  bool operator==(const MetricResult&) const = default;
};

struct MethodResult {
  std::string method;
  std::string kv;       // what KV was stored in
  int64_t n = 0;        // questions
  int64_t skipped = 0;  // records that were left out
  std::vector<uint64_t> seeds;
  MetricResult em;
  MetricResult f1;
  std::optional<MetricResult> accuracy;  // where it is the suite's metric
  // Means a question. Times: none where questions were answered in lockstep.
  std::optional<double> ms;          // all stages
  std::optional<double> handoff_ms;  // from one stage's last token until the next can decode
  double recomputed_tokens = 0;      // tokens whose KV existed and was computed again
  int64_t peak_kv_bytes = 0;         // the largest of any question
  std::optional<double> rounds;      // of loops; none: the chain has no loop
  std::optional<double> tool_runs;   // none: the chain has no tool

  bool operator==(const MethodResult&) const = default;
};

struct TaskResults {
  std::string task;
  Metric metric = Metric::kSquad;
  std::string reference;  // a method's name, or empty
  int64_t batch = 1;
  int64_t figure = 0;  // 0: none
  std::vector<PaperColumn> paper;
  std::vector<MethodResult> methods;

  bool operator==(const TaskResults&) const = default;
};

// One metric as a reader sees it: its key in results.json, its name in reports.
struct MetricView {
  const char* key = "";
  const char* name = "";
  const MetricResult* (*of)(const MethodResult& method) = nullptr;  // null where it is not measured
};
// Those that were measured, the suite's own first.
std::vector<MetricView> MetricsOf(const TaskResults& results);

// Numbers are rounded to four digits behind the point: what is written is what is read again.
double RoundResult(double value);

std::string ResultsToJson(const TaskResults& results);
// Strict: version 3, every key with its type and range, no other keys. `name` stands for the file
// in messages. kInvalidArgument; kUnsupported: another version.
Result<TaskResults> ParseResults(std::string_view json, const std::string& name);

}  // namespace onepass
