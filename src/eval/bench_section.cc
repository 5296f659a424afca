#include "eval/bench_section.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "core/quote.h"

namespace onepass {
namespace {

using nlohmann::json;

constexpr const char* kHandoffs[] = {"text", "text-cached", "kv"};

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

// Reads members of one object; the first fault stays.
class Members {
 public:
  Members(const json& object, std::string place) : object_(object), place_(std::move(place)) {}

  double Number(const char* key) {
    const auto found = object_.find(key);
    if (found != object_.end() && found->is_number()) return found->get<double>();
    Fail(key, "a number");
    return 0;
  }
  std::string Text(const char* key) {
    const auto found = object_.find(key);
    if (found != object_.end() && found->is_string()) return found->get<std::string>();
    Fail(key, "a text");
    return "";
  }
  const Status& fault() const { return fault_; }

 private:
  void Fail(const char* key, const char* wanted) {
    if (!fault_.ok()) return;
    fault_ = InvalidArgument(place_ + ": " + key + ": want " + wanted + ", found " +
                             (object_.contains(key) ? "another kind" : "none"));
  }

  const json& object_;
  std::string place_;
  Status fault_;
};

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
                 .series = {kHandoffs, std::end(kHandoffs)},
                 .rows = {}};
  for (const int64_t length : Distinct(rows, &Row::length)) {
    std::vector<std::string> cells = {std::to_string(length)};
    BarChart::Row bars{.label = std::to_string(length), .bars = {}};
    std::vector<const Row*> found;
    for (const char* handoff : kHandoffs) {
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
          ". Text anew holds one model's at a time "
          "and reads everything again; the paper's chain keeps them all, as text-cached does."};
  ReportTable table{
      .caption = "By the number of models",
      .header = {"tokens", "models", "text", "text-cached", "kv", "paper: chain", "paper: FTHSS"},
      .rows = {}};
  for (const int64_t length : Distinct(rows, &Row::length)) {
    for (const int64_t models : Distinct(rows, &Row::models)) {
      std::vector<std::string> cells = {std::to_string(length), std::to_string(models)};
      for (const char* handoff : kHandoffs) {
        cells.push_back(Cell(Find(rows,
                                  [&](const Row& r) {
                                    return r.length == length && r.models == models &&
                                           r.handoff == handoff;
                                  }),
                             1));
      }
      const bool known = length == kPaperMemoryTokens && models <= 3;
      cells.push_back(known ? fmt::format("{:.1f}", static_cast<double>(models) * kPaperMemory)
                            : "-");
      cells.push_back(known ? fmt::format("{:.1f}", kPaperMemory) : "-");
      table.rows.push_back(std::move(cells));
    }
  }
  section.tables.push_back(std::move(table));
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
    if (!alike && first.handoff != kHandoffs[0]) continue;
    std::vector<std::string> cells = {first.what, first.stage, std::to_string(first.n)};
    for (const char* handoff : kHandoffs) {
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
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object()) {
    return InvalidArgument(name + ": want one object of JSON, found none");
  }
  Members top(document, name);
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
        ", weights in {}, {}, {:.0f} threads; prompts of {:.0f}, shared input of "
        "{:.0f}, own input of {:.0f}, output of {:.0f} tokens; {:.0f} runs.",
        top.Text("weights"), top.Text("instruction_set"), top.Number("threads"),
        top.Number("prompt_length"), top.Number("shared_tokens"), top.Number("input_tokens"),
        top.Number("output_tokens"), top.Number("runs"));
  } else if (memory) {
    settings +=
        fmt::format("; prompts of {:.0f}, shared input of {:.0f} tokens; {:.0f} rounds.",
                    top.Number("prompt_length"), top.Number("shared_tokens"), top.Number("rounds"));
  } else {
    chain = top.Text("chain");
    settings += fmt::format(
        "; {:.0f} records, {:.0f} of them cut to the base's context, {:.0f} left "
        "out; {:.0f} threads.",
        top.Number("records"), top.Number("cut"), top.Number("skipped"), top.Number("threads"));
  }
  RETURN_IF_ERROR(top.fault());
  const auto list = document.find("rows");
  if (list == document.end() || !list->is_array()) {
    return InvalidArgument(name + ": rows: want a list, found none");
  }
  std::vector<Row> rows;
  for (size_t i = 0; i < list->size(); ++i) {
    const json& object = (*list)[i];
    const std::string place = name + ": rows[" + std::to_string(i) + "]";
    if (!object.is_object()) return InvalidArgument(place + ": want an object, found none");
    Members members(object, place);
    Row row{.handoff = members.Text("handoff"), .what = {}, .stage = {}};
    if (handoff) {
      row.length = static_cast<int64_t>(members.Number("length"));
      row.mean = members.Number("total_ms");
      row.low = members.Number("total_ms_low");
      row.high = members.Number("total_ms_high");
    } else if (memory) {
      row.length = static_cast<int64_t>(members.Number("length"));
      row.models = static_cast<int64_t>(members.Number("models"));
      const double bytes = members.Number("peak_bytes");
      row.mean = bytes * 1e-6;
      row.as_predicted = bytes == members.Number("predicted_bytes");
    } else {
      row.what = members.Text("what");
      row.stage = members.Text("stage");
      row.mean = members.Number("mean");
      row.low = members.Number("p10");
      row.high = members.Number("p90");
      row.n = static_cast<int64_t>(members.Number("n"));
    }
    RETURN_IF_ERROR(members.fault());
    rows.push_back(std::move(row));
  }
  if (handoff) return HandoffSection(settings, rows);
  if (memory) return MemorySection(settings, rows);
  return ReplaySection(settings, chain, rows);
}

}  // namespace onepass
