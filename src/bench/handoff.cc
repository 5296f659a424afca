#include "bench/handoff.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "bench/measure.h"
#include "chain/guard.h"
#include "chain/plan.h"
#include "chain/transcript.h"
#include "core/stopwatch.h"

namespace onepass {
namespace {

// What one run of the second stage took.
struct Measure {
  double handoff_ms = 0;  // all prefill, up to the logits of the first token
  double total_ms = 0;    // and the output's tokens
  int64_t tokens_prefilled = 0;
};

// The second stage of a two-stage chain with front prompts, under one hand-off and on random
// tokens.
class SecondStage {
 public:
  static Result<SecondStage> Create(Engine& engine, const HandoffBenchOptions& options,
                                    Handoff handoff, int64_t length) {
    ChainSpec spec;
    spec.name = "bench";
    spec.base = options.base.Name();
    spec.handoff = handoff;
    spec.shared = "S";
    spec.stages.resize(2);
    spec.stages[0].name = "a";
    spec.stages[0].start = "start";
    spec.stages[1].name = "b";
    spec.stages[1].input = "I";
    SecondStage stage(engine, options, length);
    ASSIGN_OR_RETURN(stage.plan_,
                     CompilePlan(spec, {options.prompt_length, options.prompt_length}));
    std::vector<int64_t> counts;
    for (size_t id = 0; id < stage.plan_.segments.size(); ++id) {
      const PlannedSegment& segment = stage.plan_.segments[id];
      counts.push_back(segment.kind == SegmentKind::kPrompt ? options.prompt_length
                                                            : std::ssize(stage.TokensOf(segment)));
    }
    stage.starts_ = PositionsOfPlan(stage.plan_, counts);
    RETURN_IF_ERROR(stage.WriteWhatItFinds());
    return stage;
  }

  Result<Measure> Run() {
    const int64_t computed_before = engine_->counters().tokens_computed;
    const Stopwatch watch;
    std::vector<WrittenSegment> written = found_;
    const std::vector<int>& writes = plan_.steps[1].writes;
    ASSIGN_OR_RETURN(std::vector<float> logits,
                     Write(std::span(writes).first(writes.size() - 1), written));
    Measure measure;
    measure.handoff_ms = 1e3 * watch.Seconds();
    measure.tokens_prefilled = engine_->counters().tokens_computed - computed_before;

    const int output = writes.back();
    DecodeRequest request{.view = AttachView(plan_, output, written),
                          .start_tokens = {},
                          .first_logits = std::move(logits),
                          .start_position = starts_[output],
                          .provenance = {.kind = SegmentKind::kOutput, .stage = 1}};
    RETURN_IF_ERROR(GuardRead(plan_, output, written, request.view));
    request.stop.max_tokens = options_->output_tokens;
    RETURN_IF_ERROR(engine_->Decode({&request, 1}));
    measure.total_ms = 1e3 * watch.Seconds();
    return measure;
  }

 private:
  SecondStage(Engine& engine, const HandoffBenchOptions& options, int64_t length)
      : engine_(&engine), options_(&options) {
    const ModelConfig& config = engine.base().config();
    Rng rng(static_cast<uint64_t>(length));  // equal lengths, equal work
    for (Buffer<float>& vectors : prompts_) {
      vectors = Buffer<float>(options.prompt_length, config.width);
      engine.base().model->Embed(RandomTokens(options.prompt_length, config.vocab_size, rng),
                                 vectors.view());
    }
    shared_tokens_ = RandomTokens(options.shared_tokens, config.vocab_size, rng);
    text_tokens_ = RandomTokens(length, config.vocab_size, rng);
    input_tokens_ = RandomTokens(options.input_tokens, config.vocab_size, rng);
  }

  // Of a prompt and of the second stage's output: none.
  std::vector<int32_t> TokensOf(const PlannedSegment& segment) const {
    if (segment.kind == SegmentKind::kSharedInput) return shared_tokens_;
    std::vector<int32_t> tokens;
    const bool first_output = segment.kind == SegmentKind::kOutput && segment.stage == 0;
    if (first_output || !segment.text_of.empty()) tokens = text_tokens_;
    if (segment.has_input())
      tokens.insert(tokens.end(), input_tokens_.begin(), input_tokens_.end());
    return tokens;
  }

  // What the first stage, or an earlier record, has left in the cache.
  Status WriteWhatItFinds() {
    found_.resize(plan_.segments.size());
    std::vector<int> ids;
    for (int id = 0; id < std::ssize(plan_.segments); ++id) {
      const bool own = std::ranges::count(plan_.steps[1].writes, id) > 0;
      if (!own && plan_.segments[id].dies_after >= 1) ids.push_back(id);
    }
    return Write(ids, found_).status();
  }

  // Prefills these segments, those that see nothing in one call, and returns the last one's logits.
  Result<std::vector<float>> Write(std::span<const int> ids, std::vector<WrittenSegment>& written) {
    std::vector<PrefillRequest> requests;
    std::vector<int> request_ids;
    std::vector<float> logits;
    const auto flush = [&]() -> Status {
      if (requests.empty()) return Status::Ok();
      RETURN_IF_ERROR(engine_->Prefill(requests));
      for (size_t i = 0; i < requests.size(); ++i) {
        const SegmentRef& segment = requests[i].segment;
        written[request_ids[i]] = {segment, segment->provenance().content_hash,
                                   segment->token_count()};
        logits = std::move(requests[i].logits);
      }
      requests.clear();
      request_ids.clear();
      return Status::Ok();
    };
    for (const int id : ids) {
      const PlannedSegment& segment = plan_.segments[id];
      if (!segment.view.empty()) RETURN_IF_ERROR(flush());
      PrefillRequest& request = requests.emplace_back();
      request_ids.push_back(id);
      request.view = AttachView(plan_, id, written);
      RETURN_IF_ERROR(GuardRead(plan_, id, written, request.view));
      request.start_position = starts_[id];
      request.provenance = {.kind = segment.kind, .stage = segment.stage};
      request.want_logits = segment.kind == SegmentKind::kOwnInput;
      if (segment.kind == SegmentKind::kPrompt) {
        request.vectors = std::as_const(prompts_[segment.stage]).view();
        continue;
      }
      request.tokens = TokensOf(segment);
    }
    RETURN_IF_ERROR(flush());
    return logits;
  }

  Engine* engine_;
  const HandoffBenchOptions* options_;
  Plan plan_;
  std::vector<int64_t> starts_;  // by plan id
  Buffer<float> prompts_[2];
  std::vector<int32_t> shared_tokens_, text_tokens_, input_tokens_;
  std::vector<WrittenSegment> found_;  // by plan id
};

// Tokens of the longest sequence of positions.
int64_t PositionsNeeded(const HandoffBenchOptions& options) {
  const int64_t longest = *std::max_element(options.lengths.begin(), options.lengths.end());
  return 2 * options.prompt_length + options.shared_tokens + longest + options.input_tokens +
         options.output_tokens;
}

}  // namespace

Status HandoffBenchOptions::Validate() const {
  if (lengths.empty()) return InvalidArgument("bench: want at least one length, found none");
  std::vector<std::pair<const char*, int64_t>> counts{{"prompt length", prompt_length},
                                                      {"shared tokens", shared_tokens},
                                                      {"input tokens", input_tokens},
                                                      {"output tokens", output_tokens},
                                                      {"runs", runs}};
  for (const int64_t length : lengths) counts.emplace_back("length", length);
  for (const auto& [name, count] : counts) {
    if (count < 1 || count > 1'000'000) {
      return InvalidArgument(fmt::format("bench: {}: want 1 to 1000000, found {}", name, count));
    }
  }
  return Status::Ok();
}

Result<BenchReport> BenchHandoff(const HandoffBenchOptions& options) {
  RETURN_IF_ERROR(options.Validate());
  ASSIGN_OR_RETURN(const BenchFolder folder, BenchFolder::Create(options.base));
  ASSIGN_OR_RETURN(const auto base, LoadBenchBase(folder.path(), options.base));
  const int64_t needed = PositionsNeeded(options);
  RETURN_IF_ERROR(WantPositions(base->config(), needed));
  const KvLayout layout = base->config().Layout(32, options.kv_dtype);
  const int64_t page_count = 2 * (needed / layout.page_tokens) + 64;
  RETURN_IF_ERROR(WantPages(layout, page_count));
  PagePool pool(layout, page_count);
  Engine engine(*base, pool);

  const BenchFacts chain = {
      {"kv", std::string(KvTypeName(layout.dtype))}, {"prompt_length", options.prompt_length},
      {"shared_tokens", options.shared_tokens},      {"input_tokens", options.input_tokens},
      {"output_tokens", options.output_tokens},      {"runs", int64_t{options.runs}}};
  BenchReport report{
      .name = "handoff",
      .facts = FactsOf(*base, options.base, chain),
      .columns = {"length", "handoff", "handoff_ms", "handoff_ms_low", "handoff_ms_high",
                  "total_ms", "total_ms_low", "total_ms_high", "tokens_prefilled"},
      .rows = {}};
  for (const int64_t length : options.lengths) {
    std::vector<SecondStage> stages;
    for (const Handoff handoff : kHandoffs) {
      ASSIGN_OR_RETURN(SecondStage stage, SecondStage::Create(engine, options, handoff, length));
      stages.push_back(std::move(stage));
    }
    std::vector<double> handoff_ms[std::size(kHandoffs)], total_ms[std::size(kHandoffs)];
    int64_t prefilled[std::size(kHandoffs)] = {};
    for (int run = 0; run <= options.runs; ++run) {
      options.base.Tell(fmt::format(
          "{} tokens handed over, {}", length,
          run == 0 ? std::string("warm-up") : fmt::format("run {} of {}", run, options.runs)));
      for (size_t i = 0; i < stages.size(); ++i) {
        ASSIGN_OR_RETURN(const Measure measure, stages[i].Run());
        prefilled[i] = measure.tokens_prefilled;
        if (run == 0) continue;  // warms caches and scratch memory
        handoff_ms[i].push_back(measure.handoff_ms);
        total_ms[i].push_back(measure.total_ms);
      }
    }
    for (size_t i = 0; i < stages.size(); ++i) {
      const Spread until_first = SpreadOf(handoff_ms[i]);
      const Spread total = SpreadOf(total_ms[i]);
      report.rows.push_back({length, std::string(NameOf(kHandoffs[i])), until_first.median,
                             until_first.low, until_first.high, total.median, total.low, total.high,
                             prefilled[i]});
    }
  }
  return report;
}

}  // namespace onepass
