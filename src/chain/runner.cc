#include "chain/runner.h"

#include <algorithm>

#include "chain/cut.h"
#include "chain/runner_job.h"
#include "core/quote.h"

namespace onepass {
namespace {

// Some 17 million tokens in pages of 16. Page ids are 32 bits, and the pool's table is made at
// once.
constexpr int64_t kMaxPages = int64_t{1} << 20;

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

Status RunnerOptions::Validate() const {
  if (batch < 1 || batch > 4096) {
    return InvalidArgument("batch: want 1 to 4096, found " + std::to_string(batch));
  }
  if (max_kv_bytes < 0) {
    return InvalidArgument("max_kv_bytes: want 0 or more, found " + std::to_string(max_kv_bytes));
  }
  if (page_tokens < 1 || page_tokens > 4096) {
    return InvalidArgument("page_tokens: want 1 to 4096, found " + std::to_string(page_tokens));
  }
  return CheckKvType(kv_dtype);
}

int64_t RecordResult::TokensComputed() const {
  int64_t sum = 0;
  for (const StageResult& stage : stages) sum += stage.tokens_computed;
  return sum;
}

int64_t RecordResult::TokensReused() const {
  int64_t sum = 0;
  for (const StageResult& stage : stages) sum += stage.tokens_reused;
  return sum;
}

int64_t RecordResult::TokensRecomputed() const {
  int64_t sum = 0;
  for (const StageResult& stage : stages) sum += stage.tokens_recomputed;
  return sum;
}

ChainRunner::ChainRunner(Base& base, const ChainSpec& spec, const RunnerOptions& options)
    : base_(base), spec_(spec), options_(options) {
  if (options_.handoff) {
    spec_.handoff = *options_.handoff;
    for (StageSpec& stage : spec_.stages) stage.handoff.reset();
  }
}

ChainRunner::~ChainRunner() = default;

Result<std::unique_ptr<ChainRunner>> ChainRunner::Create(Base& base, const ChainSpec& spec,
                                                         const RunnerOptions& options) {
  std::vector<SoftPrompt> prompts;
  for (const StageSpec& stage : spec.stages) {
    SoftPrompt prompt;
    if (!stage.prompt.empty()) {
      const std::string where = spec.file + ": stage " + Quote(stage.name);
      Result<SoftPrompt> loaded = LoadSoftPrompt(stage.prompt);
      RETURN_IF_ERROR(loaded.status().WithPrefix(where + ": prompt"));
      prompt = *std::move(loaded);
      const Status fits = CheckPromptFits(prompt, stage.prompt, PlaceOnBase(base, spec.placement));
      RETURN_IF_ERROR(fits.WithPrefix(where));
    }
    prompts.push_back(std::move(prompt));
  }
  return Create(base, spec, std::move(prompts), options);
}

Result<std::unique_ptr<ChainRunner>> ChainRunner::Create(Base& base, const ChainSpec& spec,
                                                         std::vector<SoftPrompt> prompts,
                                                         const RunnerOptions& options) {
  RETURN_IF_ERROR(options.Validate());
  std::unique_ptr<ChainRunner> runner(new ChainRunner(base, spec, options));
  RETURN_IF_ERROR(runner->Init(std::move(prompts)));
  return runner;
}

Status ChainRunner::Init(std::vector<SoftPrompt> prompts) {
  RETURN_IF_ERROR(spec_.Validate());
  ONEPASS_CHECK(prompts.size() == spec_.stages.size(), "one prompt a stage");
  prompts_ = std::move(prompts);
  const ModelConfig& config = base_.config();
  for (size_t i = 0; i < prompts_.size(); ++i) {
    if (prompts_[i].length() == 0 || prompts_[i].width() == config.width) continue;
    return InvalidArgument(spec_.file + ": stage " + Quote(spec_.stages[i].name) +
                           ": prompt: want width " + std::to_string(config.width) + ", found " +
                           std::to_string(prompts_[i].width()));
  }
  ASSIGN_OR_RETURN(templates_, ChainTemplates::Create(spec_, *base_.tokenizer));
  ASSIGN_OR_RETURN(plan_, CompilePlan(spec_, PromptLengths()));
  fit_plans_.push_back(plan_);
  for (const Handoff handoff : {Handoff::kText, Handoff::kTextCached, Handoff::kKv}) {
    ChainSpec other = spec_;
    other.handoff = handoff;
    for (StageSpec& stage : other.stages) stage.handoff.reset();
    Result<Plan> plan = CompilePlan(other, PromptLengths());
    if (plan.ok()) fit_plans_.push_back(*std::move(plan));
  }

  // A record holds at most its line of positions and, at a text hand-off, once more what is read
  // again.
  const KvLayout layout = config.Layout(options_.page_tokens, options_.kv_dtype);
  const int64_t segment_count = static_cast<int64_t>(plan_.segments.size());
  int64_t prompt_tokens = 0;
  for (const SoftPrompt& prompt : prompts_) {
    prompt_tokens += RoundUp(prompt.length(), options_.page_tokens);
  }
  const int64_t pages_a_record =
      2 * (config.max_positions / options_.page_tokens + 1) + segment_count;
  int64_t page_count = options_.batch * pages_a_record + prompt_tokens / options_.page_tokens;
  // Both a base's context and a batch may be large: what a batch then cannot have is a record's
  // own fault, "kv pages".
  page_count = std::min(page_count, kMaxPages);
  if (options_.max_kv_bytes > 0) {
    page_count = std::min(page_count, options_.max_kv_bytes / layout.PageBytes());
  }
  pool_ = std::make_unique<PagePool>(layout, page_count);
  engine_ = std::make_unique<Engine>(base_, *pool_);

  front_prompts_.resize(plan_.segments.size());
  for (int id = 0; id < segment_count; ++id) {
    const PlannedSegment& segment = plan_.segments[id];
    if (segment.dies_after < std::ssize(plan_.stages) || options_.cold) continue;
    RETURN_IF_ERROR(WriteFrontPrompt(id, &front_prompts_));
  }
  return Status::Ok();
}

std::vector<int64_t> ChainRunner::PromptLengths() const {
  std::vector<int64_t> lengths;
  for (const SoftPrompt& prompt : prompts_) lengths.push_back(prompt.length());
  return lengths;
}

Status ChainRunner::WriteFrontPrompt(int id, std::vector<WrittenSegment>* written) {
  const PlannedSegment& planned = plan_.segments[id];
  PrefillRequest request;
  request.vectors = prompts_[planned.stage].vectors.view();
  request.start_position = planned.offset;
  request.provenance = {.kind = planned.kind, .stage = planned.stage};
  RETURN_IF_ERROR(engine_->Prefill({&request, 1})
                      .WithPrefix("prompt of stage " + Quote(spec_.stages[planned.stage].name)));
  (*written)[id] = {request.segment, request.segment->provenance().content_hash,
                    request.segment->token_count()};
  return Status::Ok();
}

Status ChainRunner::RenderInputs(const Record& record,
                                 std::vector<std::vector<TokenId>>* tokens) const {
  tokens->assign(plan_.segments.size(), {});
  int shared_input = -1;
  for (size_t id = 0; id < plan_.segments.size(); ++id) {
    const PlannedSegment& segment = plan_.segments[id];
    if (segment.kind == SegmentKind::kSharedInput) {
      if (shared_input < 0) {
        ASSIGN_OR_RETURN((*tokens)[id], templates_->SharedInput(record));
        shared_input = static_cast<int>(id);
      } else {
        (*tokens)[id] = (*tokens)[shared_input];
      }
    } else if (segment.kind == SegmentKind::kOwnInput && segment.text_of.empty()) {
      ASSIGN_OR_RETURN((*tokens)[id], templates_->OwnInput(segment.stage, record));
    }
  }
  return Status::Ok();
}

// The position behind the last one that a plan could use, were every output as long as it may be.
// `tokens` are the inputs by id of the plan in use.
int64_t ChainRunner::WorstCaseEnd(const Plan& plan,
                                  const std::vector<std::vector<TokenId>>& tokens) const {
  int64_t shared_input = 0;
  std::vector<int64_t> own_inputs(spec_.stages.size());
  for (size_t id = 0; id < plan_.segments.size(); ++id) {
    const PlannedSegment& segment = plan_.segments[id];
    if (segment.kind == SegmentKind::kSharedInput) shared_input = std::ssize(tokens[id]);
    if (segment.kind == SegmentKind::kOwnInput && segment.text_of.empty()) {
      own_inputs[segment.stage] = std::ssize(tokens[id]);
    }
  }
  std::vector<int64_t> counts;
  for (const PlannedSegment& segment : plan.segments) {
    int64_t count = 0;
    if (segment.kind == SegmentKind::kSharedInput) {
      count = shared_input;
    } else if (segment.kind == SegmentKind::kPrompt) {
      count = prompts_[segment.stage].length();
    } else if (segment.kind == SegmentKind::kOutput) {
      count = std::ssize(templates_->StartTokens(segment.stage)) +
              spec_.stages[segment.stage].max_tokens;
    } else if (segment.text_of.empty()) {
      count = own_inputs[segment.stage];
    } else {
      count = std::ssize(templates_->ReadAgain(segment.text_of, {}));
      for (const int stage : segment.text_of) count += spec_.stages[stage].max_tokens;
    }
    counts.push_back(count);
  }
  const std::vector<int64_t> starts = PositionsOfPlan(plan, counts);
  int64_t end = 0;
  for (size_t id = 0; id < counts.size(); ++id) end = std::max(end, starts[id] + counts[id]);
  return end;
}

Status ChainRunner::FitContext(Job* job) const {
  const int64_t context = base_.config().max_positions;
  // A cut is the same whatever the hand-off, so that policies are compared on the same inputs.
  const bool cut = spec_.overlong == Overlong::kCut;
  std::span<const Plan> plans(fit_plans_.data(), cut ? fit_plans_.size() : 1);
  const auto end_of_any = [&](const std::vector<std::vector<TokenId>>& tokens) {
    int64_t end = 0;
    for (const Plan& plan : plans) end = std::max(end, WorstCaseEnd(plan, tokens));
    return end;
  };
  if (end_of_any(job->tokens) <= context) return Status::Ok();
  const int64_t end = WorstCaseEnd(plan_, job->tokens);
  int64_t input_tokens = 0;
  for (const std::vector<TokenId>& tokens : job->tokens) input_tokens += std::ssize(tokens);
  const std::string need =
      job->record->Where() + ": want at most " + std::to_string(context) + " positions (" +
      std::string(base_.config().LimitOfPositions()) + "), found " + std::to_string(end) +
      " with " + std::to_string(input_tokens) + " input tokens and outputs as long as they may be";
  if (!cut) {
    return InvalidArgument(need + " (a chain with `overlong: cut` shortens its cut_field)");
  }

  Record record = *job->record;
  const auto field = std::ranges::find_if(
      record.fields, [&](const RecordField& f) { return f.name == spec_.cut_field; });
  ONEPASS_CHECK(field != record.fields.end(), "the templates were rendered with it");
  const std::string whole = field->text;
  const auto fits = [&](std::string_view prefix) -> Result<bool> {
    field->text = prefix;
    std::vector<std::vector<TokenId>> tokens;
    RETURN_IF_ERROR(RenderInputs(record, &tokens));
    if (end_of_any(tokens) > context) return false;
    job->tokens = std::move(tokens);
    return true;
  };
  // A token is a few bytes.
  const size_t guess = static_cast<size_t>(context) * 4;
  ASSIGN_OR_RETURN(std::optional<size_t> kept, CutToFit(whole, guess, fits));
  if (!kept && plans.size() > 1) {
    // What no cut makes fit another hand-off must still fit this one.
    plans = plans.first(1);
    if (end <= context) return Status::Ok();
    ASSIGN_OR_RETURN(kept, CutToFit(whole, guess, fits));
  }
  if (!kept) {
    return InvalidArgument(need + "; cutting all of field " + Quote(spec_.cut_field) +
                           " is not enough");
  }
  job->result->cut_bytes = static_cast<int64_t>(whole.size() - *kept);
  return Status::Ok();
}

Status ChainRunner::Prepare(Job* job) const {
  job->written = front_prompts_;
  job->output_texts.assign(spec_.stages.size(), "");
  RETURN_IF_ERROR(RenderInputs(*job->record, &job->tokens));
  return FitContext(job);
}

Result<std::vector<int64_t>> ChainRunner::CountTokens(const Record& record) const {
  RecordResult result;
  Job job;
  job.record = &record;
  job.result = &result;
  RETURN_IF_ERROR(Prepare(&job));
  std::vector<int64_t> counts;
  for (size_t id = 0; id < plan_.segments.size(); ++id) {
    const PlannedSegment& segment = plan_.segments[id];
    int64_t count = std::ssize(job.tokens[id]);
    if (segment.kind == SegmentKind::kPrompt) count = prompts_[segment.stage].length();
    if (segment.kind == SegmentKind::kOutput || !segment.text_of.empty()) count = -1;
    counts.push_back(count);
  }
  return counts;
}

}  // namespace onepass
