#include "bench/handoff.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "bench/measure.h"
#include "core/file.h"

namespace onepass {
namespace {

enum class Policy { kText, kTextCached, kKv };
constexpr Policy kPolicies[] = {Policy::kText, Policy::kTextCached, Policy::kKv};

const char* NameOf(Policy policy) {
  switch (policy) {
    case Policy::kText:
      return "text";
    case Policy::kTextCached:
      return "text-cached";
    case Policy::kKv:
      return "kv";
  }
  return "?";
}

// What one run of the second stage took.
struct Measure {
  double handoff_ms = 0;  // all prefill, up to the logits of the first token
  double total_ms = 0;    // and the output's tokens
  int64_t tokens_prefilled = 0;
};

// A two-stage chain whose first stage has written its output.
class Scene {
 public:
  Scene(Engine& engine, const HandoffBenchOptions& options, int64_t length)
      : engine_(&engine), options_(&options), rng_(static_cast<uint64_t>(length)) {
    const ModelConfig& config = engine.base().config();
    for (Buffer<float>& vectors : prompts_) {
      vectors = Buffer<float>(options.prompt_length, config.width);
      engine.base().model->Embed(RandomTokens(options.prompt_length, config.vocab_size, rng_),
                                 vectors.view());
    }
    shared_tokens_ = RandomTokens(options.shared_tokens, config.vocab_size, rng_);
    text_tokens_ = RandomTokens(length, config.vocab_size, rng_);
    input_tokens_ = RandomTokens(options.input_tokens, config.vocab_size, rng_);
  }

  // Writes both prompts, the shared input and the first stage's output.
  Status WriteFirstStage() {
    std::vector<PrefillRequest> roots{PromptRequest(0), PromptRequest(1), SharedRequest()};
    RETURN_IF_ERROR(engine_->Prefill(roots));
    prompt_b_ = roots[1].segment;
    shared_ = roots[2].segment;
    PrefillRequest output{.view = KvView({roots[0].segment, shared_}),
                          .tokens = text_tokens_,
                          .vectors = {},
                          .start_position = shared_->end_position(),
                          .provenance = {.kind = SegmentKind::kOutput, .stage = 0}};
    RETURN_IF_ERROR(engine_->Prefill({&output, 1}));
    output_a_ = output.segment;
    return Status::Ok();
  }

  Result<Measure> RunSecondStage(Policy policy) {
    const int64_t computed_before = engine_->counters().tokens_computed;
    const Stopwatch watch;
    SegmentRef prompt = prompt_b_;
    SegmentRef shared = shared_;
    if (policy == Policy::kText) {
      std::vector<PrefillRequest> roots{PromptRequest(1), SharedRequest()};
      RETURN_IF_ERROR(engine_->Prefill(roots));
      prompt = roots[0].segment;
      shared = roots[1].segment;
    }
    PrefillRequest input{.view = KvView({prompt, shared}),
                         .tokens = {},
                         .vectors = {},
                         .start_position = shared->end_position(),
                         .provenance = {.kind = SegmentKind::kOwnInput, .stage = 1},
                         .want_logits = true};
    if (policy == Policy::kKv) {
      input.view.Append(output_a_);
      input.start_position = output_a_->end_position();
    } else {
      input.tokens = text_tokens_;
    }
    input.tokens.insert(input.tokens.end(), input_tokens_.begin(), input_tokens_.end());
    RETURN_IF_ERROR(engine_->Prefill({&input, 1}));
    Measure measure;
    measure.handoff_ms = 1e3 * watch.Seconds();
    measure.tokens_prefilled = engine_->counters().tokens_computed - computed_before;

    DecodeRequest output{.view = input.view,
                         .start_tokens = {},
                         .first_logits = std::move(input.logits),
                         .start_position = input.segment->end_position(),
                         .provenance = {.kind = SegmentKind::kOutput, .stage = 1}};
    output.view.Append(input.segment);
    output.stop.max_tokens = options_->output_tokens;
    RETURN_IF_ERROR(engine_->Decode({&output, 1}));
    measure.total_ms = 1e3 * watch.Seconds();
    return measure;
  }

 private:
  PrefillRequest PromptRequest(int stage) {
    return {.view = {},
            .tokens = {},
            .vectors = std::as_const(prompts_[stage]).view(),
            .start_position = stage * options_->prompt_length,
            .provenance = {.kind = SegmentKind::kPrompt, .stage = stage}};
  }
  PrefillRequest SharedRequest() {
    return {.view = {},
            .tokens = shared_tokens_,
            .vectors = {},
            .start_position = 2 * options_->prompt_length,
            .provenance = {.kind = SegmentKind::kSharedInput}};
  }

  Engine* engine_;
  const HandoffBenchOptions* options_;
  Rng rng_;
  Buffer<float> prompts_[2];
  std::vector<int32_t> shared_tokens_, text_tokens_, input_tokens_;
  SegmentRef prompt_b_, shared_, output_a_;
};

// Tokens of the longest sequence of positions.
int64_t PositionsNeeded(const HandoffBenchOptions& options) {
  const int64_t longest = *std::max_element(options.lengths.begin(), options.lengths.end());
  return 2 * options.prompt_length + options.shared_tokens + longest + options.input_tokens +
         options.output_tokens;
}

Result<ModelConfig> ConfigOf(const BenchBaseOptions& options) {
  if (options.model.empty()) return NamedShape(options.shape);
  const std::string path = options.model + "/config.json";
  ASSIGN_OR_RETURN(const std::string json, ReadFile(path));
  return ParseConfig(json, path);
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
  if (needed > base->config().max_positions) {
    return InvalidArgument(fmt::format("bench: want at most {} positions, found {} ({})",
                                       base->config().max_positions, needed, folder.path()));
  }
  const KvLayout layout = base->config().Layout(32, DType::kF32);
  PagePool pool(layout, 2 * (needed / layout.page_tokens) + 64);
  Engine engine(*base, pool);

  BenchReport report{
      .name = "handoff",
      .facts = {{"base", options.base.Name()},
                {"backend", std::string(base->ops->name())},
                {"threads", int64_t{base->ops->pool().thread_count()}},
                {"prompt_length", options.prompt_length},
                {"shared_tokens", options.shared_tokens},
                {"input_tokens", options.input_tokens},
                {"output_tokens", options.output_tokens},
                {"runs", int64_t{options.runs}}},
      .columns = {"length", "handoff", "handoff_ms", "handoff_ms_low", "handoff_ms_high",
                  "total_ms", "total_ms_low", "total_ms_high", "tokens_prefilled"},
      .rows = {}};
  for (const int64_t length : options.lengths) {
    Scene scene(engine, options, length);
    RETURN_IF_ERROR(scene.WriteFirstStage());
    std::vector<double> handoff_ms[std::size(kPolicies)], total_ms[std::size(kPolicies)];
    int64_t prefilled[std::size(kPolicies)] = {};
    for (int run = 0; run <= options.runs; ++run) {
      for (const Policy policy : kPolicies) {
        ASSIGN_OR_RETURN(const Measure measure, scene.RunSecondStage(policy));
        const size_t i = static_cast<size_t>(policy);
        prefilled[i] = measure.tokens_prefilled;
        if (run == 0) continue;  // warms caches and scratch memory
        handoff_ms[i].push_back(measure.handoff_ms);
        total_ms[i].push_back(measure.total_ms);
      }
    }
    for (const Policy policy : kPolicies) {
      const size_t i = static_cast<size_t>(policy);
      const Spread handoff = SpreadOf(handoff_ms[i]);
      const Spread total = SpreadOf(total_ms[i]);
      report.rows.push_back({length, std::string(NameOf(policy)), handoff.median, handoff.low,
                             handoff.high, total.median, total.low, total.high, prefilled[i]});
    }
  }
  return report;
}

Result<BenchReport> BenchKvMemory(const HandoffBenchOptions& options) {
  RETURN_IF_ERROR(options.Validate());
  ASSIGN_OR_RETURN(const ModelConfig config, ConfigOf(options.base));
  const KvLayout layout = config.Layout(32, DType::kF32);
  constexpr int kMostModels = 3;
  BenchReport report{
      .name = "kv-memory",
      .facts = {{"base", options.base.Name()},
                {"kv_dtype", std::string(NameOf(layout.dtype))},
                {"kv_bytes_per_token", layout.TokenBytes()},
                {"prompt_length", options.prompt_length},
                {"shared_tokens", options.shared_tokens}},
      .columns = {"length", "handoff", "bytes_1_model", "bytes_2_models", "bytes_3_models"},
      .rows = {}};
  for (const int64_t length : options.lengths) {
    const int64_t tokens_most =
        kMostModels * (options.prompt_length + options.shared_tokens + length);
    for (const Policy policy : kPolicies) {
      std::vector<BenchCell> row{length, std::string(NameOf(policy))};
      for (int models = 1; models <= kMostModels; ++models) {
        // Pages are taken as the chain's segments would take them, whole ones each.
        PagePool pool(layout, tokens_most / layout.page_tokens + 16);
        std::vector<PageList> held;
        const auto take = [&](int64_t token_count) -> Status {
          ASSIGN_OR_RETURN(PageList pages, pool.Allocate(token_count));
          held.push_back(std::move(pages));
          return Status::Ok();
        };
        const int shared_copies = policy == Policy::kText ? models : 1;
        const int text_copies = policy == Policy::kKv ? 1 : models;
        for (int i = 0; i < models; ++i) RETURN_IF_ERROR(take(options.prompt_length));
        for (int i = 0; i < shared_copies; ++i) RETURN_IF_ERROR(take(options.shared_tokens));
        for (int i = 0; i < text_copies; ++i) RETURN_IF_ERROR(take(length));
        row.emplace_back(pool.bytes_peak());
      }
      report.rows.push_back(std::move(row));
    }
  }
  return report;
}

}  // namespace onepass
