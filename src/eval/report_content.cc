#include "eval/report_content.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

namespace onepass {
namespace {

std::string Number(double value, int digits) { return fmt::format("{:.{}f}", value, digits); }

std::string NumberOrDash(const std::optional<double>& value, int digits) {
  return value.has_value() ? Number(*value, digits) : "-";
}

// "+1.7", "-0.3", "0.0"
std::string Signed(double value) {
  const std::string text = fmt::format("{:+.1f}", value);
  return text == "+0.0" || text == "-0.0" ? "0.0" : text;
}

// "91.3 [88.6, 93.8] ± 1.7"
std::string ScoreText(const MetricResult* metric) {
  if (metric == nullptr) return "-";
  std::string text = fmt::format("{:.1f} [{:.1f}, {:.1f}]", metric->mean, metric->interval.low,
                                 metric->interval.high);
  if (metric->spread.has_value()) text += " ± " + Number(*metric->spread, 1);
  return text;
}

std::string DifferenceText(const MetricResult* metric) {
  if (metric == nullptr || !metric->minus_reference.has_value()) return "-";
  std::string text = Signed(*metric->minus_reference);
  if (const auto& interval = metric->minus_reference_interval; interval.has_value()) {
    text += fmt::format(" [{}, {}]", Signed(interval->low), Signed(interval->high));
  }
  return text;
}

std::string Joined(const std::vector<std::string>& texts) {
  std::string joined;
  for (const std::string& text : texts) joined += (joined.empty() ? "" : " / ") + text;
  return joined;
}

std::string PaperText(const PaperColumn& column, const std::string& method) {
  const auto values = column.values.find(method);
  if (values == column.values.end()) return "-";
  std::vector<std::string> texts;
  for (const double value : values->second) texts.push_back(Number(value, 1));
  return Joined(texts);
}

ReportTable ScoreTable(const TaskResults& results) {
  ReportTable table{.caption = "Answers, in percent", .header = {"method"}, .rows = {}};
  const std::vector<MetricView> metrics = MetricsOf(results);
  for (const MetricView& view : metrics) table.header.emplace_back(view.name);
  if (!results.reference.empty()) {
    for (const MetricView& view : metrics) {
      table.header.push_back(std::string(view.name) + " minus " + results.reference);
    }
  }
  for (const PaperColumn& column : results.paper) {
    table.header.push_back("paper, " + column.name + ": " + Joined(column.metrics));
  }
  for (const MethodResult& method : results.methods) {
    std::vector<std::string>& row = table.rows.emplace_back();
    row.push_back(method.method);
    for (const MetricView& view : metrics) row.push_back(ScoreText(view.of(method)));
    if (!results.reference.empty()) {
      for (const MetricView& view : metrics) row.push_back(DifferenceText(view.of(method)));
    }
    for (const PaperColumn& column : results.paper) {
      row.push_back(PaperText(column, method.method));
    }
  }
  return table;
}

bool HasRounds(const TaskResults& results) {
  return std::ranges::any_of(results.methods,
                             [](const MethodResult& method) { return method.rounds.has_value(); });
}

bool HasTools(const TaskResults& results) {
  return std::ranges::any_of(
      results.methods, [](const MethodResult& method) { return method.tool_runs.has_value(); });
}

// Of 1024 bytes, as in the table for the terminal.
double Kilobytes(int64_t bytes) { return static_cast<double>(bytes) / 1024; }

ReportTable CostTable(const TaskResults& results) {
  ReportTable table{.caption = "Costs of a question; peak KV: the largest of any",
                    .header = {"method", "ms", "hand-off ms", "recomputed tokens", "peak KV, kB"},
                    .rows = {}};
  if (HasRounds(results)) table.header.emplace_back("rounds");
  if (HasTools(results)) table.header.emplace_back("tool runs");
  table.header.insert(table.header.end(), {"KV in", "seeds"});
  for (const MethodResult& method : results.methods) {
    std::vector<std::string>& row = table.rows.emplace_back();
    row = {method.method, NumberOrDash(method.ms, 1), NumberOrDash(method.handoff_ms, 2),
           Number(method.recomputed_tokens, 1), Number(Kilobytes(method.peak_kv_bytes), 0)};
    if (HasRounds(results)) row.push_back(NumberOrDash(method.rounds, 2));
    if (HasTools(results)) row.push_back(NumberOrDash(method.tool_runs, 2));
    row.push_back(method.kv);
    row.push_back(std::to_string(method.seeds.size()));
  }
  return table;
}

BarChart ScoreChart(const TaskResults& results) {
  std::vector<MetricView> metrics = MetricsOf(results);
  BarChart chart;
  if (results.figure != 0) {
    // The paper's figures show all that its tables do.
    chart.title = fmt::format("Figure {}: {}", results.figure, results.task);
    chart.axis = "percent";
    if (results.metric == Metric::kAccuracy) metrics.resize(1);
  } else {
    metrics.resize(1);
    chart.title = fmt::format("{}: {}", results.task, metrics[0].name);
    chart.axis = fmt::format("{}, %, with 95% intervals", metrics[0].name);
  }
  for (const MetricView& view : metrics) chart.series.emplace_back(view.name);
  for (const MethodResult& method : results.methods) {
    BarChart::Row& row = chart.rows.emplace_back();
    row.label = method.method;
    for (const MetricView& view : metrics) {
      const MetricResult* metric = view.of(method);
      row.bars.emplace_back();
      if (metric == nullptr) continue;
      row.bars.back() = {metric->mean, metric->interval, Number(metric->mean, 1)};
    }
  }
  return chart;
}

template <class ValueOf>
void AddCostChart(const TaskResults& results, const char* title, const char* axis, int digits,
                  ValueOf value_of, std::vector<BarChart>* charts) {
  BarChart chart{.title = title, .axis = axis, .series = {title}, .rows = {}};
  bool any = false;
  for (const MethodResult& method : results.methods) {
    const std::optional<double> value = value_of(method);
    BarChart::Row& row = chart.rows.emplace_back();
    row.label = method.method;
    row.bars.emplace_back();
    if (!value.has_value()) continue;
    any = true;
    row.bars.back() = {*value, std::nullopt, Number(*value, digits)};
  }
  if (any) charts->push_back(std::move(chart));
}

std::vector<std::string> Notes(const TaskResults& results) {
  const MethodResult& first = results.methods.front();
  std::vector<std::string> notes;
  std::string questions = fmt::format("{} questions, the same for every method", first.n);
  if (first.skipped > 0) questions += fmt::format("; {} records were left out", first.skipped);
  notes.push_back(questions + ".");
  std::string reading = "In brackets: 95% bootstrap intervals over the questions.";
  if (std::ranges::any_of(results.methods,
                          [](const MethodResult& method) { return method.seeds.size() > 1; })) {
    reading += " ±: sample standard deviation over the seeds.";
  }
  if (!results.reference.empty()) {
    reading += " Differences are paired: the same questions were drawn for both.";
  }
  notes.push_back(reading);
  if (results.batch > 1) {
    notes.push_back(fmt::format("Answered {} at a time: no times were measured.", results.batch));
  }
  if (!results.paper.empty()) {
    notes.push_back(
        "The paper's figures are of its own base and data; they are not measured here.");
  }
  return notes;
}

}  // namespace

ReportSection SectionOf(const TaskResults& results) {
  ReportSection section{.title = results.task,
                        .notes = Notes(results),
                        .tables = {ScoreTable(results), CostTable(results)},
                        .charts = {ScoreChart(results)}};
  AddCostChart(
      results, "hand-off, ms", "a question", 2,
      [](const MethodResult& method) { return method.handoff_ms; }, &section.charts);
  AddCostChart(
      results, "recomputed tokens", "a question", 1,
      [](const MethodResult& method) { return std::optional(method.recomputed_tokens); },
      &section.charts);
  AddCostChart(
      results, "peak KV, kB", "largest of any question", 0,
      [](const MethodResult& method) { return std::optional(Kilobytes(method.peak_kv_bytes)); },
      &section.charts);
  return section;
}

}  // namespace onepass
