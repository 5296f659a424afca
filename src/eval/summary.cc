#include "eval/summary.h"

#include <algorithm>
#include <optional>

#include "core/check.h"

namespace onepass {
namespace {

// The score of a question in percent, by metric.
using ScoreOf = double (*)(const AnsweredQuestion& question);
constexpr ScoreOf kScores[] = {
    [](const AnsweredQuestion& question) { return 100 * question.score.exact_match; },
    [](const AnsweredQuestion& question) { return 100 * question.score.f1; },
    [](const AnsweredQuestion& question) { return 100 * question.accuracy; },
};
constexpr size_t kScoreCount = std::size(kScores);

// One method's runs, with the questions that are not left out.
struct MethodRuns {
  std::vector<uint64_t> seeds;
  std::vector<std::vector<const AnsweredQuestion*>> questions;  // by seed
};

double MeanOf(const std::vector<double>& values) { return MeanAndSpreadOf(values).mean; }

// By question: the mean over the seeds.
std::vector<double> ColumnOf(const MethodRuns& runs, ScoreOf score) {
  std::vector<double> column(runs.questions.front().size());
  for (size_t i = 0; i < column.size(); ++i) {
    for (const auto& of_seed : runs.questions) column[i] += score(*of_seed[i]);
    column[i] /= static_cast<double>(runs.seeds.size());
  }
  return column;
}

// The mean over all questions of all seeds; none where one has none.
template <class Value>
std::optional<double> MeanCost(const MethodRuns& runs,
                               std::optional<Value> AnsweredQuestion::*field) {
  double sum = 0;
  size_t count = 0;
  for (const auto& of_seed : runs.questions) {
    for (const AnsweredQuestion* question : of_seed) {
      if (!(question->*field).has_value()) return std::nullopt;
      sum += static_cast<double>(*(question->*field));
      ++count;
    }
  }
  return RoundResult(sum / static_cast<double>(count));
}

MetricResult MetricOf(const MethodRuns& runs, ScoreOf score) {
  std::vector<double> by_seed;
  for (const auto& of_seed : runs.questions) {
    std::vector<double> scores;
    for (const AnsweredQuestion* question : of_seed) scores.push_back(score(*question));
    by_seed.push_back(MeanOf(scores));
  }
  const MeanAndSpread over_seeds = MeanAndSpreadOf(by_seed);
  MetricResult metric;
  metric.mean = RoundResult(over_seeds.mean);
  if (by_seed.size() > 1) metric.spread = RoundResult(over_seeds.spread);
  for (const double value : by_seed) metric.by_seed.push_back(RoundResult(value));
  return metric;
}

Interval Rounded(const Interval& interval) {
  return {.low = RoundResult(interval.low), .high = RoundResult(interval.high)};
}

MethodResult CostsOf(const MethodRuns& runs) {
  MethodResult result;
  result.seeds = runs.seeds;
  result.n = std::ssize(runs.questions.front());
  result.ms = MeanCost(runs, &AnsweredQuestion::ms);
  result.handoff_ms = MeanCost(runs, &AnsweredQuestion::handoff_ms);
  result.rounds = MeanCost(runs, &AnsweredQuestion::rounds);
  result.tool_runs = MeanCost(runs, &AnsweredQuestion::tool_runs);
  double recomputed = 0;
  for (const auto& of_seed : runs.questions) {
    for (const AnsweredQuestion* question : of_seed) {
      recomputed += static_cast<double>(question->recomputed_tokens);
      result.peak_kv_bytes = std::max(result.peak_kv_bytes, question->peak_kv_bytes);
    }
  }
  result.recomputed_tokens = RoundResult(recomputed / static_cast<double>(runs.seeds.size()) /
                                         static_cast<double>(result.n));
  return result;
}

std::vector<MethodRuns> Gather(size_t methods, std::span<const AnsweredRun> runs,
                               const std::vector<bool>& left_out) {
  std::vector<MethodRuns> gathered(methods);
  for (const AnsweredRun& run : runs) {
    MethodRuns& of_method = gathered[run.method];
    of_method.seeds.push_back(run.seed);
    auto& questions = of_method.questions.emplace_back();
    for (size_t i = 0; i < left_out.size(); ++i) {
      if (!left_out[i]) questions.push_back(&run.questions[i]);
    }
    ONEPASS_CHECK(!questions.empty(), "questions are left");
  }
  return gathered;
}

}  // namespace

TaskResults Summarise(const SuiteSpec& suite, std::span<const DType> kv_types,
                      std::span<const AnsweredRun> runs, const std::vector<bool>& left_out,
                      int64_t skipped) {
  TaskResults results{.task = suite.task,
                      .metric = suite.metric,
                      .reference = suite.reference,
                      .batch = suite.batch,
                      .figure = suite.figure,
                      .paper = suite.paper,
                      .methods = {}};
  const std::vector<MethodRuns> gathered = Gather(suite.methods.size(), runs, left_out);
  const auto reference = std::ranges::find(suite.methods, suite.reference, &MethodSpec::method) -
                         suite.methods.begin();
  const bool has_reference = reference < std::ssize(suite.methods);
  // All columns are resampled together: each method's scores, then its differences.
  std::vector<std::vector<double>> columns;
  for (const MethodRuns& of_method : gathered) {
    for (const ScoreOf score : kScores) columns.push_back(ColumnOf(of_method, score));
  }
  const size_t score_columns = columns.size();
  for (size_t i = 0; has_reference && i < score_columns; ++i) {
    std::vector<double> difference = columns[i];
    const auto& of_reference =
        columns[static_cast<size_t>(reference) * kScoreCount + i % kScoreCount];
    for (size_t q = 0; q < difference.size(); ++q) difference[q] -= of_reference[q];
    columns.push_back(std::move(difference));
  }
  const std::vector<Interval> intervals = BootstrapIntervals(columns);
  for (size_t i = 0; i < gathered.size(); ++i) {
    MethodResult result = CostsOf(gathered[i]);
    result.method = suite.methods[i].method;
    result.kv = KvTypeName(kv_types[i]);
    result.skipped = skipped;
    MetricResult metrics[kScoreCount];
    for (size_t m = 0; m < kScoreCount; ++m) {
      const size_t column = i * kScoreCount + m;
      metrics[m] = MetricOf(gathered[i], kScores[m]);
      metrics[m].interval = Rounded(intervals[column]);
      if (!has_reference || std::cmp_equal(i, reference)) continue;
      metrics[m].minus_reference = RoundResult(MeanOf(columns[score_columns + column]));
      metrics[m].minus_reference_interval = Rounded(intervals[score_columns + column]);
    }
    result.em = metrics[0];
    result.f1 = metrics[1];
    if (suite.metric == Metric::kAccuracy) result.accuracy = metrics[2];
    results.methods.push_back(std::move(result));
  }
  return results;
}

}  // namespace onepass
