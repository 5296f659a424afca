#include "bench/replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

#include "bench/measure.h"
#include "chain/cut.h"
#include "chain/runner.h"
#include "chain/trace.h"
#include "core/quote.h"

namespace onepass {
namespace {

using Outputs = std::vector<std::optional<std::string>>;

// A measure's samples: of all hand-offs alike where `handoff` is "-", of all stages where `stage`
// is.
class Samples {
 public:
  void Add(const std::string& what, const std::string& stage, const std::string& handoff,
           double value) {
    const auto [place, is_new] = places_.try_emplace({what, stage, handoff}, rows_.size());
    if (is_new) rows_.push_back({{what, stage, handoff}, {}});
    rows_[place->second].second.push_back(value);
  }

  // Measures as they were first seen, the hand-offs of one side by side.
  std::vector<std::vector<BenchCell>> Rows() const {
    std::map<std::pair<std::string, std::string>, size_t> order;  // of measure and stage
    for (const auto& [key, values] : rows_) {
      order.try_emplace({std::get<0>(key), std::get<1>(key)}, order.size());
    }
    std::vector<std::vector<std::vector<BenchCell>>> groups(order.size());
    for (const auto& [key, values] : rows_) {
      const auto& [what, stage, handoff] = key;
      const Summary s = SummaryOf(values);
      groups[order.at({what, stage})].push_back({what, stage, handoff, std::ssize(values), s.mean,
                                                 s.deviation, s.tenth, s.median, s.ninetieth});
    }
    std::vector<std::vector<BenchCell>> rows;
    for (auto& group : groups) std::ranges::move(group, std::back_inserter(rows));
    return rows;
  }

 private:
  using Key = std::tuple<std::string, std::string, std::string>;
  std::map<Key, size_t> places_;
  std::vector<std::pair<Key, std::vector<double>>> rows_;
};

// A chain under one hand-off.
struct Policy {
  std::string name;
  std::unique_ptr<ChainRunner> runner;

  // By planned id.
  Result<std::vector<int64_t>> CountTokens(const Record& record, const Outputs& outputs) const {
    const Plan& plan = runner->plan();
    const Transcript transcript{.record = &record, .texts = outputs};
    ASSIGN_OR_RETURN(const auto tokens, TokensOfPlan(runner->templates(), plan, transcript));
    const std::vector<int64_t> prompts = runner->PromptLengths();
    std::vector<int64_t> counts;
    for (size_t id = 0; id < tokens.size(); ++id) {
      const PlannedSegment& segment = plan.segments[id];
      const bool prompt = segment.kind == SegmentKind::kPrompt &&
                          (segment.step < 0 || transcript.HasRun(segment.step));
      counts.push_back(prompt ? prompts[segment.stage] : std::ssize(tokens[id]));
    }
    return counts;
  }
};

class Replay {
 public:
  Replay(Base& base, const ReplayBenchOptions& options) : base_(base), options_(options) {}

  Status Create(const ChainSpec& spec) {
    for (const Handoff handoff : kHandoffs) {
      RunnerOptions options;
      options.handoff = handoff;
      options.kv_dtype = options_.kv_dtype;
      ASSIGN_OR_RETURN(auto runner, ChainRunner::Create(base_, spec, options));
      policies_.push_back({std::string(NameOf(handoff)), std::move(runner)});
    }
    RETURN_IF_ERROR(CheckTraceFields(plan(), options_.outputs));
    ASSIGN_OR_RETURN(tools_, Tools::Open(spec));
    return Status::Ok();
  }

  Status Run() {
    ASSIGN_OR_RETURN(const auto reader, RecordReader::Open(options_.input));
    while (options_.most_records == 0 || reader->number() < options_.most_records) {
      ASSIGN_OR_RETURN(std::optional<Record> record, reader->Next());
      if (!record) break;
      RETURN_IF_ERROR(RunRecord(*std::move(record)).WithPrefix(options_.input));
    }
    if (done_ > 0) return Status::Ok();
    return InvalidArgument(fmt::format("{}: want a record that fits the context, found none of {}",
                                       options_.input, skipped_));
  }

  BenchReport Report(const ChainSpec& spec) const {
    return {.name = "replay",
            .facts = {{"chain", spec.file},
                      {"base", spec.base},
                      {"input", options_.input},
                      {"kv", std::string(KvTypeName(options_.kv_dtype))},
                      {"threads", int64_t{base_.ops->pool().thread_count()}},
                      {"records", done_},
                      {"cut", cut_},
                      {"skipped", skipped_}},
            .columns = {"what", "stage", "handoff", "n", "mean", "sd", "p10", "median", "p90"},
            .rows = samples_.Rows()};
  }

 private:
  // All plans have the same steps.
  const Plan& plan() const { return policies_.back().runner->plan(); }

  // Positions used under the hand-off that uses most.
  Result<int64_t> PositionsNeeded(const Record& record, const Outputs& outputs) const {
    int64_t end = 0;
    for (const Policy& policy : policies_) {
      ASSIGN_OR_RETURN(const std::vector<int64_t> counts, policy.CountTokens(record, outputs));
      end = std::max(end, EndOfPlan(policy.runner->plan(), counts));
    }
    return end;
  }

  // Cuts a record to the context where it must be; false: it does not fit.
  Result<bool> Fit(Record* record, const Outputs& outputs) {
    const int64_t context = base_.config().max_positions;
    ASSIGN_OR_RETURN(const int64_t needed, PositionsNeeded(*record, outputs));
    if (needed <= context) return true;
    const ChainSpec& spec = policies_.back().runner->spec();
    if (spec.overlong != Overlong::kCut) return false;
    const auto field = std::ranges::find(record->fields, spec.cut_field, &RecordField::name);
    ONEPASS_CHECK(field != record->fields.end(), "the templates were rendered with it");
    const std::string whole = field->text;
    const auto fits = [&](std::string_view prefix) -> Result<bool> {
      field->text = prefix;
      ASSIGN_OR_RETURN(const int64_t of_prefix, PositionsNeeded(*record, outputs));
      return of_prefix <= context;
    };
    ASSIGN_OR_RETURN(const std::optional<size_t> kept,
                     CutToFit(whole, static_cast<size_t>(context) * 4, fits));
    if (!kept) return false;
    field->text = whole.substr(0, *kept);
    ++cut_;
    return true;
  }

  Status RunRecord(Record record) {
    if (options_.on_progress) options_.on_progress(record.Where());
    ASSIGN_OR_RETURN(const Outputs outputs,
                     TraceOf(plan(), options_.outputs, tools_.get(), record));
    ASSIGN_OR_RETURN(const bool fits, Fit(&record, outputs));
    if (!fits) {
      ++skipped_;
      return Status::Ok();
    }
    if (done_++ == 0) {  // warms caches and scratch memory
      for (const Policy& policy : policies_) {
        RETURN_IF_ERROR(policy.runner->Replay(record, outputs).status());
      }
    }
    RETURN_IF_ERROR(AddCounts(record, outputs));
    for (const Policy& policy : policies_) {
      ASSIGN_OR_RETURN(const ReplayResult result, policy.runner->Replay(record, outputs));
      RETURN_IF_ERROR(CheckAgainstPlan(policy, record, outputs, result.record)
                          .WithPrefix(record.Where() + ": hand-off " + policy.name));
      AddResult(policy, result);
    }
    return Status::Ok();
  }

  // What is the same for all hand-offs.
  Status AddCounts(const Record& record, const Outputs& outputs) {
    const Policy& kv = policies_.back();
    ASSIGN_OR_RETURN(const std::vector<int64_t> counts, kv.CountTokens(record, outputs));
    std::map<SegmentKind, int64_t> tokens;
    int rounds = 0;
    for (size_t id = 0; id < counts.size(); ++id) {
      const PlannedSegment& segment = plan().segments[id];
      tokens[segment.kind] += counts[id];
      if (segment.kind != SegmentKind::kOutput || counts[id] == 0) continue;
      tokens[segment.kind] -= std::ssize(kv.runner->templates().StartTokens(segment.stage));
      rounds = std::max(rounds, plan().steps[segment.step].round + 1);
    }
    const auto add = [&](const char* what, int64_t count) {
      samples_.Add(what, "-", "-", static_cast<double>(count));
    };
    add("shared_tokens", tokens[SegmentKind::kSharedInput]);
    add("own_input_tokens", tokens[SegmentKind::kOwnInput]);
    add("output_tokens", tokens[SegmentKind::kOutput]);
    add("rounds", rounds);
    return Status::Ok();
  }

  static Status CheckAgainstPlan(const Policy& policy, const Record& record, const Outputs& outputs,
                                 const RecordResult& result) {
    const Plan& plan = policy.runner->plan();
    ASSIGN_OR_RETURN(const std::vector<int64_t> counts, policy.CountTokens(record, outputs));
    const int64_t bytes = PeakKvBytes(plan, counts, policy.runner->pool().layout());
    if (result.peak_kv_bytes != bytes) {
      return InvalidArgument(fmt::format("want a peak of {} bytes of KV, as planned, found {}",
                                         bytes, result.peak_kv_bytes));
    }
    int64_t rows = 0;
    for (size_t id = 0; id < counts.size(); ++id) {
      if (!plan.OutlivesRecords(static_cast<int>(id))) rows += counts[id];
    }
    if (result.TokensComputed() == rows) return Status::Ok();
    return InvalidArgument(fmt::format("want {} tokens computed, as planned, found {}", rows,
                                       result.TokensComputed()));
  }

  void AddResult(const Policy& policy, const ReplayResult& result) {
    const auto add = [&](const char* what, const std::string& stage, double value) {
      samples_.Add(what, stage, policy.name, value);
    };
    const std::vector<StageResult>& runs = result.record.stages;
    for (size_t i = 0; i < runs.size(); ++i) {
      double sum = 0;
      for (const float loss : result.losses[i]) sum += loss;
      add("loss", plan().stages[runs[i].stage], sum / static_cast<double>(result.losses[i].size()));
      if (i > 0) add("handoff_ms", "-", runs[i].handoff_ms);
    }
    add("tokens_recomputed", "-", static_cast<double>(result.record.TokensRecomputed()));
    add("tokens_reused", "-", static_cast<double>(result.record.TokensReused()));
    add("peak_kv_bytes", "-", static_cast<double>(result.record.peak_kv_bytes));
  }

  Base& base_;
  const ReplayBenchOptions& options_;
  std::vector<Policy> policies_;  // as kHandoffs
  std::unique_ptr<Tools> tools_;
  Samples samples_;
  int64_t done_ = 0;
  int64_t cut_ = 0;
  int64_t skipped_ = 0;
};

}  // namespace

Result<BenchReport> BenchReplay(Base& base, const ChainSpec& spec,
                                const ReplayBenchOptions& options) {
  Replay replay(base, options);
  RETURN_IF_ERROR(replay.Create(spec));
  RETURN_IF_ERROR(replay.Run());
  return replay.Report(spec);
}

}  // namespace onepass
