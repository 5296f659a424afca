#include "chain/chain_run.h"

#include <algorithm>
#include <utility>

#include "core/hash.h"
#include "core/quote.h"

namespace onepass {
namespace {

double Milliseconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

}  // namespace

ChainRun::ChainRun(const BoundChain& chain, const Record& record,
                   std::vector<OutputOptions> outputs)
    : chain_(chain),
      record_(&record),
      outputs_(std::move(outputs)),
      tokens_(chain.plan().segments.size()),
      written_(chain.plan().segments.size()),
      worked_at_(chain.plan().segments.size(), kNoStep),
      begin_(Clock::now()),
      last_token_(begin_) {
  ONEPASS_CHECK(outputs_.size() == chain.spec().stages.size(), "options of every stage's outputs");
  transcript_ = {.record = &record, .texts = {}};
  transcript_.texts.resize(chain.plan().steps.size());
  result_.number = record.number;
}

void ChainRun::SetInputs(PreparedRecord prepared) {
  prepared_ = std::move(prepared);
  if (prepared_.cut_record) transcript_.record = &*prepared_.cut_record;
  result_.cut_bytes = prepared_.cut_bytes;
}

Status ChainRun::Prepare() {
  ASSIGN_OR_RETURN(PreparedRecord prepared, chain_.Prepare(*record_, outputs_));
  SetInputs(std::move(prepared));
  return Status::Ok();
}

void ChainRun::SetFrontPrompt(int id, const WrittenSegment& prompt, bool own_work) {
  written_[id] = prompt;
  worked_at_[id] = own_work ? kAnyStep : kNoStep;
}

int64_t ChainRun::HeldKvBytes() const {
  int64_t bytes = 0;
  for (const WrittenSegment& written : written_) {
    if (written.segment != nullptr) bytes += written.segment->bytes();
  }
  return bytes;
}

int64_t ChainRun::StartPosition(int id) const {
  const Plan& plan = chain_.plan();
  const int step = plan.segments[id].step;
  if (plan.segments[id].before_shared) {
    return plan.segments[id].StartPosition(0, std::ssize(tokens_[id]));
  }
  int64_t position = 0;
  for (int at = id;;) {
    const PlannedSegment& segment = plan.segments[at];
    if (segment.after < 0) return position + segment.offset;
    at = segment.after;
    // What the same step writes may not be there yet.
    if (plan.segments[at].step != step) {
      position += written_[at].token_count;
    } else if (plan.segments[at].kind == SegmentKind::kPrompt) {
      position += chain_.PromptVectors(plan.segments[at].stage).rows();
    } else {
      position += std::ssize(tokens_[at]);
    }
  }
}

Status ChainRun::BeginStep(int64_t most_output_tokens) {
  const Plan& plan = chain_.plan();
  const ChainTemplates& templates = chain_.templates();
  const int stage = planned_step().stage;
  const StageSpec& spec = chain_.spec().stages[stage];
  for (size_t id = 0; id < plan.segments.size(); ++id) {
    if (plan.segments[id].dies_after < step_) written_[id].segment = nullptr;
  }
  RETURN_IF_ERROR(templates.RenderFound(plan, step_, transcript_, &prepared_.inputs));
  for (const int id : planned_step().writes) {
    const SegmentKind kind = plan.segments[id].kind;
    if (kind != SegmentKind::kSharedInput && kind != SegmentKind::kOwnInput) continue;
    tokens_[id] = templates.TokensOf(plan, id, prepared_.inputs, transcript_);
  }
  const ModelConfig& config = chain_.base().config();
  const std::string where = record_->Where() + ": stage " + Quote(spec.name) + ": ";
  for (const int id : planned_step().writes) {
    const int64_t count = std::ssize(tokens_[id]);
    if (!plan.segments[id].before_shared || count <= plan.room) continue;
    return InvalidArgument(where + "want an input of at most " + std::to_string(plan.room) +
                           " tokens (the chain's room), found " + std::to_string(count));
  }
  const int64_t end = StartPosition(plan.OutputOf(step_)) +
                      std::ssize(templates.StartTokens(stage)) + most_output_tokens;
  if (end > config.max_positions) {
    return InvalidArgument(where + "want at most " + std::to_string(config.max_positions) +
                           " positions (" + std::string(config.LimitOfPositions()) + "), found " +
                           std::to_string(end));
  }
  const int last = plan.LastInputOf(step_);
  if (spec.start.empty() && plan.segments[last].kind != SegmentKind::kPrompt &&
      tokens_[last].empty()) {
    return InvalidArgument(where +
                           "want an input that the output can follow (it has no start token), " +
                           "found none");
  }
  StageResult& result = result_.stages.emplace_back();
  result.step = step_;
  result.stage = stage;
  prefill_begin_ = Clock::now();
  return Status::Ok();
}

Result<std::vector<PlannedPrefill>> ChainRun::Prefills(int group) {
  const Plan& plan = chain_.plan();
  const int stage = planned_step().stage;
  const int last = plan.LastInputOf(step_);
  const bool want_logits = chain_.templates().StartTokens(stage).empty();
  std::vector<PlannedPrefill> prefills;
  for (const int id : chain_.GroupsOf(step_)[group]) {
    const PlannedSegment& planned = plan.segments[id];
    PrefillRequest request;
    if (planned.kind == SegmentKind::kPrompt) {
      request.vectors = chain_.PromptVectors(planned.stage);
    } else {
      request.tokens.assign(tokens_[id].begin(), tokens_[id].end());
      if (request.tokens.empty()) continue;
    }
    request.view = AttachView(plan, id, written_);
    RETURN_IF_ERROR(GuardRead(plan, id, written_, request.view));
    request.start_position = StartPosition(id);
    request.provenance = {.kind = planned.kind, .stage = planned.stage};
    request.want_logits = want_logits && id == last;
    request.added = chain_.AddedTokensOf(stage);
    prefills.push_back({.id = id, .request = std::move(request)});
  }
  return prefills;
}

void ChainRun::TakeShared(int id, const SegmentRef& segment, std::vector<float> logits) {
  written_[id] = {segment, segment->provenance().content_hash, segment->token_count()};
  if (!logits.empty()) first_logits_ = std::move(logits);
  stage_result().prefill_ms = Milliseconds(Clock::now() - prefill_begin_);
}

void ChainRun::TakePrefilled(int id, PrefillRequest& request) {
  TakeShared(id, request.segment, std::move(request.logits));
  worked_at_[id] = step_;
  const int64_t count = written_[id].token_count;
  stage_result().tokens_computed += count;
  stage_result().tokens_prefilled += count;
  if (!chain_.plan().Recomputes(id)) return;
  stage_result().tokens_recomputed += count;
  const PlannedSegment& planned = chain_.plan().segments[id];
  const bool new_input = planned.has_input() && !planned.before_shared;
  if (new_input) stage_result().tokens_recomputed -= std::ssize(prepared_.inputs.own[step_]);
}

// What the output attends to and no work of this step wrote.
void ChainRun::CountReused() {
  for (const int seen : chain_.plan().segments[chain_.plan().OutputOf(step_)].view) {
    const bool own_work = worked_at_[seen] == step_ || worked_at_[seen] == kAnyStep;
    if (!own_work) stage_result().tokens_reused += written_[seen].token_count;
  }
}

Result<DecodeRequest> ChainRun::Output() {
  const Plan& plan = chain_.plan();
  const int stage = planned_step().stage;
  const int id = plan.OutputOf(step_);
  const PlannedSegment& planned = plan.segments[id];
  const OutputOptions& options = outputs_[stage];
  DecodeRequest request;
  request.view = AttachView(plan, id, written_);
  RETURN_IF_ERROR(GuardRead(plan, id, written_, request.view));
  request.start_tokens = chain_.templates().StartTokens(stage);
  request.first_logits = std::move(first_logits_);
  first_logits_.clear();
  request.start_position = StartPosition(id);
  request.provenance = {.kind = planned.kind, .stage = planned.stage};
  const bool stops = !options.ignore_stop_tokens;
  request.stop = {.tokens = stops ? chain_.templates().StopTokens(stage) : std::vector<TokenId>(),
                  .strings = options.stop_strings,
                  .max_tokens = options.max_tokens};
  request.logprobs = options.logprobs;
  request.added = chain_.AddedTokensOf(stage);
  request.sampling = options.sampling;
  // A record's draws are its own, whatever stands in the batch beside it, and so are a step's.
  uint64_t& seed = request.sampling.seed;
  seed = HashCombine(seed, static_cast<uint64_t>(record_->number));
  const uint64_t of_step = planned_step().run * plan.stages.size() + stage;
  if (of_step > 0) seed = HashCombine(seed, of_step);
  request.read_later = planned.dies_after > step_;
  CountReused();
  if (result_.stages.size() > 1) {
    stage_result().handoff_ms = Milliseconds(Clock::now() - last_token_);
  }
  return request;
}

void ChainRun::TakeOutput(DecodeRequest&& request) {
  StageResult& result = stage_result();
  if (request.segment != nullptr) {
    const Segment& segment = *request.segment;
    written_[chain_.plan().OutputOf(step_)] = {request.segment, segment.provenance().content_hash,
                                               segment.token_count()};
  }
  result.tokens_computed += request.fed_tokens;
  result.tokens = std::move(request.tokens);
  result.drawn = std::move(request.drawn);
  result.token_logprobs = std::move(request.token_logprobs);
  result.text = std::move(request.text);
  result.finish = request.finish;
  result.stop_token = request.stop_token;
  const bool any = request.first_token_seconds >= 0;
  result.first_token_ms = any ? request.first_token_seconds * 1e3 : -1;
  result.decode_ms = request.decode_seconds * 1e3;
  transcript_.texts[step_] = result.text;
  last_token_ = Clock::now();
  result_.peak_kv_bytes = std::max(result_.peak_kv_bytes, HeldKvBytes());
}

Status ChainRun::RunTool(Tools& tools) {
  ASSIGN_OR_RETURN(ToolResult found, tools.Run(chain_.plan(), step_, transcript_));
  transcript_.texts[step_] = found.text;
  result_.tools.push_back(std::move(found));
  last_token_ = Clock::now();  // no hand-off's time
  return Status::Ok();
}

void ChainRun::EndStep() {
  const PlanStep step = planned_step();
  ++step_;
  std::optional<LoopEnd> end;
  if (step.stage >= 0) {
    const StageResult& run = stage_result();
    loop_tokens_ += std::ssize(run.tokens);
    if (step.checked) {
      end = chain_.rule(step.part).EndsWith(run.tokens, run.stop_token, run.text, loop_tokens_);
    }
  }
  if (!end && step_ == step.behind_part) end = LoopEnd::kRounds;
  if (end) {
    step_ = step.behind_part;
    loop_tokens_ = 0;
    if (chain_.flow()[step.part].is_loop()) {
      result_.loops.push_back({.part = step.part, .rounds = step.round + 1, .end = *end});
    }
  }
  if (done()) result_.total_ms = Milliseconds(last_token_ - begin_);
}

Status ChainRun::BeginStepWithOutput(const std::string& text) {
  const int stage = planned_step().stage;
  const ChainTemplates& templates = chain_.templates();
  given_text_ = text;
  given_ = templates.OutputText(text);
  if (given_.empty() &&
      (templates.StartTokens(stage).empty() || templates.StopTokens(stage).empty())) {
    return InvalidArgument(record_->Where() + ": stage " + Quote(chain_.spec().stages[stage].name) +
                           ": want an output that has tokens, found " + Quote(text));
  }
  return BeginStep(std::ssize(given_));
}

Result<PrefillRequest> ChainRun::GivenOutput() {
  const Plan& plan = chain_.plan();
  const int stage = planned_step().stage;
  const int id = plan.OutputOf(step_);
  const std::vector<TokenId>& start = chain_.templates().StartTokens(stage);
  const std::vector<TokenId>& stop = chain_.templates().StopTokens(stage);
  PrefillRequest request;
  request.view = AttachView(plan, id, written_);
  RETURN_IF_ERROR(GuardRead(plan, id, written_, request.view));
  if (result_.stages.size() > 1) {
    stage_result().handoff_ms = Milliseconds(Clock::now() - last_token_);
  }
  stage_result().first_token_ms = -1;
  CountReused();
  request.start_position = StartPosition(id);
  request.provenance = {.kind = plan.segments[id].kind, .stage = stage};
  request.added = chain_.AddedTokensOf(stage);
  request.tokens = start;
  request.tokens.insert(request.tokens.end(), given_.begin(), given_.end());
  request.targets = given_;
  request.targets.push_back(stop.empty() ? 0 : stop.front());
  // The first token is predicted by what stands before the output.
  if (start.empty()) request.targets.erase(request.targets.begin());
  return request;
}

void ChainRun::TakeGivenOutput(PrefillRequest& request) {
  const std::vector<TokenId>& stop = chain_.templates().StopTokens(planned_step().stage);
  StageResult& result = stage_result();
  const Segment& segment = *request.segment;
  written_[chain_.plan().OutputOf(step_)] = {request.segment, segment.provenance().content_hash,
                                             segment.token_count()};
  result.tokens_computed += segment.token_count();
  result.tokens = std::move(given_);
  result.text = given_text_;
  if (!stop.empty()) {
    result.finish = FinishReason::kStopToken;
    result.stop_token = stop.front();
  }
  transcript_.texts[step_] = std::move(given_text_);
  last_token_ = Clock::now();
}

void ChainRun::Advance(std::optional<std::string> text) {
  if (text) {
    transcript_.texts[step_] = std::move(text);
    last_token_ = Clock::now();  // no hand-off's time
  }
  ++step_;
  if (done()) result_.total_ms = Milliseconds(last_token_ - begin_);
}

}  // namespace onepass
