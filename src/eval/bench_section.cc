#include "eval/bench_section.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/quote.h"
#include "eval/json_fields.h"
#include "format/strict_json.h"

namespace onepass {
namespace {

using nlohmann::json;

constexpr const char* kHandoffNames[] = {"text", "text-cached", "kv"};

// docs/method.md, the paper's figures: seconds of model B by the tokens handed over (L20, bf16, 16
// output tokens).
struct PaperLatency {
  int64_t tokens;
  double chain, fthss;
};
constexpr PaperLatency kPaperLatency[] = {
    {250, 0.45, 0.41}, {500, 0.52, 0.42}, {1000, 0.66, 0.43}, {3000, 1.44, 0.46}};
// Megabytes of one model's cache, several rounds of 1000 tokens: the chain has one a model.
constexpr int64_t kPaperMemoryTokens = 1000;
constexpr double kPaperMemory = 137.5;

// A row of any of the benches; what one does not have stays empty.
struct Row {
  int64_t length = 0;
  int64_t models = 0;
  std::string handoff, what, stage;
  double mean = 0, low = 0, high = 0;
  int64_t n = 0;
  bool as_predicted = false;
};

const Row* Find(const std::vector<Row>& rows, auto&& matches) {
  const auto found = std::ranges::find_if(rows, matches);
  return found == rows.end() ? nullptr : &*found;
}

std::vector<int64_t> Distinct(const std::vector<Row>& rows, int64_t Row::*member) {
  std::vector<int64_t> values;
  for (const Row& row : rows) values.push_back(row.*member);
  std::ranges::sort(values);
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

std::string Cell(const Row* row, int digits) {
  return row == nullptr ? "-" : fmt::format("{:.{}f}", row->mean, digits);
}

ReportSection HandoffSection(const std::string& settings, const std::vector<Row>& rows) {
  ReportSection section{
      .title = "Latency of the second stage", .notes = {}, .tables = {}, .charts = {}};
  section.notes = {
      settings,
      "Seconds from the end of the first stage's output to the end of the second's, median "
      "[lowest, highest]. The paper's figures are of Llama-3-8B on a GPU: compare how they grow."};
  ReportTable table{.caption = "By the length of the text handed over",
                    .header = {"tokens", "text", "text-cached", "kv", "text / kv", "paper: chain",
                               "paper: FTHSS", "paper: chain / FTHSS"},
                    .rows = {}};
  BarChart chart{.title = "second stage, s",
                 .axis = "by the tokens handed over",
                 .series = {kHandoffNames, std::end(kHandoffNames)},
                 .rows = {}};
  for (const int64_t length : Distinct(rows, &Row::length)) {
    std::vector<std::string> cells = {std::to_string(length)};
    BarChart::Row bars{.label = std::to_string(length), .bars = {}};
    std::vector<const Row*> found;
    for (const char* handoff : kHandoffNames) {
      const Row* row =
          Find(rows, [&](const Row& r) { return r.length == length && r.handoff == handoff; });
      found.push_back(row);
      if (row == nullptr) {
        cells.emplace_back("-");
        bars.bars.emplace_back();
        continue;
      }
      const double s = 1e-3;
      cells.push_back(
          fmt::format("{:.3f} [{:.3f}, {:.3f}]", row->mean * s, row->low * s, row->high * s));
      bars.bars.push_back(BarChart::Bar{.value = row->mean * s,
                                        .whisker = Interval{row->low * s, row->high * s},
                                        .text = fmt::format("{:.3f}", row->mean * s)});
    }
    const bool ratio = found[0] != nullptr && found[2] != nullptr && found[2]->mean > 0;
    cells.push_back(ratio ? fmt::format("{:.2f}", found[0]->mean / found[2]->mean) : "-");
    const auto* paper = std::ranges::find(kPaperLatency, length, &PaperLatency::tokens);
    const bool known = paper != std::end(kPaperLatency);
    cells.push_back(known ? fmt::format("{:.2f}", paper->chain) : "-");
    cells.push_back(known ? fmt::format("{:.2f}", paper->fthss) : "-");
    cells.push_back(known ? fmt::format("{:.2f}", paper->chain / paper->fthss) : "-");
    table.rows.push_back(std::move(cells));
    chart.rows.push_back(std::move(bars));
  }
  section.tables.push_back(std::move(table));
  section.charts.push_back(std::move(chart));
  return section;
}

std::string Predicted(const std::vector<Row>& rows) {
  const auto wrong = std::ranges::count_if(rows, [](const Row& row) { return !row.as_predicted; });
  if (wrong == 0) return "each was what the plan predicts, to the byte";
  return fmt::format("{} of {} were not what the plan predicts", wrong, rows.size());
}

ReportSection MemorySection(const std::string& settings, const std::vector<Row>& rows) {
  ReportSection section{
      .title = "KV memory of models that take turns", .notes = {}, .tables = {}, .charts = {}};
  section.notes = {
      settings,
      "Peak of KV pages, MB; " + Predicted(rows) +
          ". Pages are taken and given back as a run of the plan does, without computing. Text "
          "holds one model's at a time and reads everything again; the paper's chain keeps them "
          "all, as text-cached does. Under kv a model adds its prompt and outputs, and a page of "
          "each that is not full."};
  ReportTable table{
      .caption = "By the number of models",
      .header = {"tokens", "models", "text", "text-cached", "kv", "paper: chain", "paper: FTHSS"},
      .rows = {}};
  BarChart chart{.title = "peak of KV pages, MB",
                 .axis = "by the tokens of each output and the number of models",
                 .series = {kHandoffNames, std::end(kHandoffNames)},
                 .rows = {}};
  for (const int64_t length : Distinct(rows, &Row::length)) {
    for (const int64_t models : Distinct(rows, &Row::models)) {
      std::vector<std::string> cells = {std::to_string(length), std::to_string(models)};
      BarChart::Row& bars = chart.rows.emplace_back();
      bars.label = fmt::format("{}, {} model{}", length, models, models == 1 ? "" : "s");
      for (const char* handoff : kHandoffNames) {
        const Row* row = Find(rows, [&](const Row& r) {
          return r.length == length && r.models == models && r.handoff == handoff;
        });
        cells.push_back(Cell(row, 1));
        auto& bar = bars.bars.emplace_back();
        if (row == nullptr) continue;
        bar = BarChart::Bar{.value = row->mean, .whisker = {}, .text = cells.back()};
      }
      const bool known = length == kPaperMemoryTokens && models <= 3;
      cells.push_back(known ? fmt::format("{:.1f}", static_cast<double>(models) * kPaperMemory)
                            : "-");
      cells.push_back(known ? fmt::format("{:.1f}", kPaperMemory) : "-");
      table.rows.push_back(std::move(cells));
    }
  }
  section.tables.push_back(std::move(table));
  section.charts.push_back(std::move(chart));
  return section;
}

ReportSection ReplaySection(const std::string& settings, const std::string& chain,
                            const std::vector<Row>& rows) {
  ReportSection section{.title = "Records with their own outputs: " + chain,
                        .notes = {settings,
                                  "Teacher-forced; mean [10th percentile, 90th]. Losses of a "
                                  "small base, or of one without prompts, say nothing of quality."},
                        .tables = {},
                        .charts = {}};
  ReportTable table{.caption = "By hand-off",
                    .header = {"measure", "stage", "samples", "text", "text-cached", "kv"},
                    .rows = {}};
  for (const Row& first : rows) {
    const bool alike = first.handoff == "-";  // the same for all hand-offs
    if (!alike && first.handoff != kHandoffNames[0]) continue;
    std::vector<std::string> cells = {first.what, first.stage, std::to_string(first.n)};
    for (const char* handoff : kHandoffNames) {
      const Row* row = alike ? &first : Find(rows, [&](const Row& r) {
        return r.what == first.what && r.stage == first.stage && r.handoff == handoff;
      });
      cells.push_back(row == nullptr
                          ? "-"
                          : fmt::format("{:.4g} [{:.4g}, {:.4g}]", row->mean, row->low, row->high));
    }
    table.rows.push_back(std::move(cells));
  }
  section.tables.push_back(std::move(table));
  return section;
}

}  // namespace

Result<ReportSection> BenchSectionOf(std::string_view text, const std::string& name) {
  ASSIGN_OR_RETURN(const json document, ParseStrictJson(text, name));
  JsonFields top(document, name + ": ");
  const std::string bench = top.Text("bench");
  const bool handoff = bench == "handoff";
  const bool memory = bench == "kv-memory";
  if (top.fault().ok() && !handoff && !memory && bench != "replay") {
    return InvalidArgument(name + ": bench: want handoff, kv-memory or replay, found " +
                           Quote(bench));
  }
  std::string settings = "Base " + top.Text("base");
  settings += ", KV in " + top.Text("kv");
  std::string chain;
  if (handoff) {
    settings += fmt::format(
        ", weights in {}, {}, {} threads; prompts of {}, shared input of {}, own input of {}, "
        "output of {} tokens; {} runs.",
        top.Text("weights"), top.Text("instruction_set"), top.Whole("threads", 0),
        top.Whole("prompt_length", 0), top.Whole("shared_tokens", 0), top.Whole("input_tokens", 0),
        top.Whole("output_tokens", 0), top.Whole("runs", 0));
  } else if (memory) {
    settings += fmt::format("; prompts of {}, shared input of {} tokens; {} rounds.",
                            top.Whole("prompt_length", 0), top.Whole("shared_tokens", 0),
                            top.Whole("rounds", 0));
  } else {
    chain = top.Text("chain");
    settings +=
        fmt::format("; {} records, {} of them cut to the base's context, {} left out; {} threads.",
                    top.Whole("records", 0), top.Whole("cut", 0), top.Whole("skipped", 0),
                    top.Whole("threads", 0));
  }
  const json& list = top.List("rows");
  RETURN_IF_ERROR(top.fault());
  std::vector<Row> rows;
  for (size_t i = 0; i < list.size(); ++i) {
    JsonFields fields(list[i], fmt::format("{}: rows[{}].", name, i));
    Row row{.handoff = fields.Text("handoff"), .what = {}, .stage = {}};
    if (handoff) {
      row.length = fields.Whole("length", 0);
      row.mean = fields.Real("total_ms", 0, kMostNumber);
      row.low = fields.Real("total_ms_low", 0, kMostNumber);
      row.high = fields.Real("total_ms_high", 0, kMostNumber);
    } else if (memory) {
      row.length = fields.Whole("length", 0);
      row.models = fields.Whole("models", 0);
      const int64_t bytes = fields.Whole("peak_bytes", 0);
      row.mean = static_cast<double>(bytes) * 1e-6;
      row.as_predicted = bytes == fields.Whole("predicted_bytes", 0);
    } else {
      row.what = fields.Text("what");
      row.stage = fields.Text("stage");
      row.mean = fields.Real("mean", -kMostNumber, kMostNumber);
      row.low = fields.Real("p10", -kMostNumber, kMostNumber);
      row.high = fields.Real("p90", -kMostNumber, kMostNumber);
      row.n = fields.Whole("n", 0);
    }
    RETURN_IF_ERROR(fields.fault());
    rows.push_back(std::move(row));
  }
  if (handoff) return HandoffSection(settings, rows);
  if (memory) return MemorySection(settings, rows);
  return ReplaySection(settings, chain, rows);
}

}  // namespace onepass
