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

const StageResult* RecordResult::LastRunOf(int stage) const {
  const StageResult* last = nullptr;
  for (const StageResult& run : stages) {
    if (run.stage == stage) last = &run;
  }
  return last;
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
      const Status fits = CheckPromptFits(prompt, stage.prompt,
                                          PlaceOnBase(base, spec.placement, stage.added_tokens));
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
  ASSIGN_OR_RETURN(vocabulary_,
                   ChainVocabulary::Create(spec_, *base_.tokenizer, config.vocab_size));
  RETURN_IF_ERROR(LoadAddedTokens());
  ASSIGN_OR_RETURN(templates_, ChainTemplates::Create(spec_, *vocabulary_));
  ASSIGN_OR_RETURN(tools_, Tools::Open(spec_));
  RETURN_IF_ERROR(MakeRules());
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
    if (!plan_.OutlivesRecords(static_cast<int>(id)) || options_.cold) continue;
    RETURN_IF_ERROR(WriteFrontPrompt(static_cast<int>(id), &front_prompts_));
  }
  return Status::Ok();
}

Status ChainRunner::LoadAddedTokens() {
  const int64_t count = vocabulary_->added_count();
  const int64_t width = base_.config().width;
  added_embedding_ = Buffer<float>(count, width);
  added_head_ = Buffer<float>(count, width);
  for (int stage = 0; stage < std::ssize(spec_.stages); ++stage) {
    const std::vector<std::string>& tokens = spec_.stages[stage].added_tokens;
    for (int64_t i = 0; i < std::ssize(tokens); ++i) {
      const AddedTokenRow* rows = prompts_[stage].RowsOf(tokens[i]);
      if (rows == nullptr || std::ssize(rows->embedding) != width ||
          std::ssize(rows->head) != width) {
        return InvalidArgument(spec_.file + ": stage " + Quote(spec_.stages[stage].name) +
                               ": added_tokens: want rows of " + Quote(tokens[i]) +
                               " in its prompt, found none of width " + std::to_string(width));
      }
      const int64_t row = vocabulary_->first_of(stage) + i;
      std::ranges::copy(rows->embedding, added_embedding_.view().row(row));
      std::ranges::copy(rows->head, added_head_.view().row(row));
    }
  }
  return Status::Ok();
}

AddedTokens ChainRunner::AddedTokensOf(int stage) const {
  AddedTokens added;
  added.rows = {.embedding = added_embedding_.view(), .head = added_head_.view()};
  if (stage < 0) return added;
  added.first = vocabulary_->first_of(stage);
  added.count = vocabulary_->count_of(stage);
  return added;
}

Status ChainRunner::MakeRules() {
  flow_ = spec_.FlowParts();
  for (size_t i = 0; i < flow_.size(); ++i) {
    const UntilRule& until = flow_[i].until;
    const std::string where = spec_.file + ": flow[" + std::to_string(i) + "]: ";
    std::vector<TokenId> ids;
    for (const std::string& name : flow_[i].names) {
      if (spec_.StageOf(name) < 0 || until.token.empty() || !flow_[i].ChecksAfter(name)) continue;
      const auto id = vocabulary_->IdOf(spec_.StageOf(name), until.token);
      if (id) ids.push_back(*id);
    }
    if (!until.token.empty() && ids.empty()) {
      return InvalidArgument(where + "until.token: want a token of the base's tokenizer or of a " +
                             "stage, found " + Quote(until.token) + ", which none has");
    }
    Result<LoopRule> rule = LoopRule::Create(until, std::move(ids));
    RETURN_IF_ERROR(rule.status().WithPrefix(where));
    rules_.push_back(*std::move(rule));
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

// The position behind the last one that a plan could use, were every output as long as it may be
// and every loop left in its first round: what later rounds need shows when they come.
int64_t ChainRunner::WorstCaseEnd(const Plan& plan, const InputTokens& inputs) const {
  std::vector<int64_t> counts;
  for (const PlannedSegment& segment : plan.segments) {
    int64_t& count = counts.emplace_back(0);
    if (segment.kind == SegmentKind::kPrompt) count = prompts_[segment.stage].length();
    if (segment.step >= 0 && plan.steps[segment.step].round > 0) continue;
    if (segment.kind == SegmentKind::kSharedInput) count = std::ssize(inputs.shared);
    const auto most = [&](int stage) { return spec_.stages[stage].max_tokens; };
    if (segment.kind == SegmentKind::kOutput) {
      count = std::ssize(templates_->StartTokens(segment.stage)) + most(segment.stage);
    }
    if (segment.has_input()) count = std::ssize(inputs.own[segment.input_of]);
    for (const int read : segment.text_of) {
      const PlannedSegment& other = plan.segments[read];
      if (plan.steps[other.step].round > 0) continue;
      count += other.kind == SegmentKind::kOutput
                   ? templates_->ReadAgainOverhead(other.stage) + most(other.stage)
                   : std::ssize(inputs.own[other.input_of]);
    }
  }
  return EndOfPlan(plan, counts);
}

// Tokens beyond the room, of the input that stands before S and is the longest.
int64_t ChainRunner::ExcessOfRoom(const InputTokens& inputs) const {
  int64_t most = 0;
  for (int step = 0; step < plan_.step_count(); ++step) {
    const int stage = plan_.steps[step].stage;
    if (stage < 0 || !spec_.stages[stage].input_first) continue;
    most = std::max(most, std::ssize(inputs.own[step]) - plan_.room);
  }
  return most;
}

Status ChainRunner::FitContext(Job* job) const {
  const int64_t context = base_.config().max_positions;
  // A cut is the same whatever the hand-off, so that policies are compared on the same inputs.
  const bool cut = spec_.overlong == Overlong::kCut;
  std::span<const Plan> plans(fit_plans_.data(), cut ? fit_plans_.size() : 1);
  const auto fits_all = [&](const InputTokens& inputs) {
    return ExcessOfRoom(inputs) == 0 && std::ranges::all_of(plans, [&](const Plan& plan) {
             return WorstCaseEnd(plan, inputs) <= context;
           });
  };
  if (fits_all(job->inputs)) return Status::Ok();
  const int64_t end = WorstCaseEnd(plan_, job->inputs);
  int64_t input_tokens = std::ssize(job->inputs.shared);
  for (const std::vector<TokenId>& own : job->inputs.own) input_tokens += std::ssize(own);
  std::string need = job->record->Where() + ": want at most ";
  const int64_t excess = ExcessOfRoom(job->inputs);
  if (excess > 0) {
    need += std::to_string(plan_.room) + " tokens in an input that stands first (the chain's " +
            "room), found " + std::to_string(plan_.room + excess);
  } else {
    need += std::to_string(context) + " positions (" +
            std::string(base_.config().LimitOfPositions()) + "), found " + std::to_string(end) +
            " with " + std::to_string(input_tokens) +
            " input tokens and outputs as long as they may be";
  }
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
    ASSIGN_OR_RETURN(InputTokens inputs, templates_->RenderInputs(plan_, record));
    if (!fits_all(inputs)) return false;
    job->inputs = std::move(inputs);
    return true;
  };
  // A token is a few bytes.
  const size_t guess = static_cast<size_t>(context) * 4;
  ASSIGN_OR_RETURN(std::optional<size_t> kept, CutToFit(whole, guess, fits));
  if (!kept && plans.size() > 1) {
    // What no cut makes fit another hand-off must still fit this one.
    plans = plans.first(1);
    if (end <= context && excess == 0) return Status::Ok();
    ASSIGN_OR_RETURN(kept, CutToFit(whole, guess, fits));
  }
  if (!kept) {
    return InvalidArgument(need + "; cutting all of field " + Quote(spec_.cut_field) +
                           " is not enough");
  }
  job->result->cut_bytes = static_cast<int64_t>(whole.size() - *kept);
  field->text = whole.substr(0, *kept);
  job->cut_record = std::move(record);
  job->transcript.record = &*job->cut_record;
  return Status::Ok();
}

Status ChainRunner::RenderInputs(Job* job) const {
  job->written = front_prompts_;
  job->tokens.resize(plan_.segments.size());
  job->transcript = {.record = job->record, .texts = {}};
  job->transcript.texts.resize(plan_.steps.size());
  ASSIGN_OR_RETURN(job->inputs, templates_->RenderInputs(plan_, *job->record));
  return Status::Ok();
}

Status ChainRunner::Prepare(Job* job) const {
  RETURN_IF_ERROR(RenderInputs(job));
  return FitContext(job);
}

Result<std::vector<int64_t>> ChainRunner::CountTokens(const Record& record) const {
  RecordResult result;
  Job job;
  job.record = &record;
  job.result = &result;
  RETURN_IF_ERROR(Prepare(&job));
  std::vector<int64_t> counts;
  for (const PlannedSegment& segment : plan_.segments) {
    int64_t& count = counts.emplace_back(-1);
    if (segment.kind == SegmentKind::kPrompt) count = prompts_[segment.stage].length();
    const bool shared = segment.kind == SegmentKind::kSharedInput;
    if (shared && !spec_.UsesTool(spec_.shared)) count = std::ssize(job.inputs.shared);
    const bool alone = segment.has_input() && segment.text_of.empty();
    if (alone && !spec_.UsesTool(spec_.stages[segment.stage].input))
      count = std::ssize(job.inputs.own[segment.input_of]);
  }
  return counts;
}

}  // namespace onepass
