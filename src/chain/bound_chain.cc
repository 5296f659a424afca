#include "chain/bound_chain.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <utility>

#include "chain/cut.h"
#include "core/quote.h"

namespace onepass {
namespace {

// What a step writes before its output, in groups whose members do not see each other: one forward
// call a group.
std::vector<std::vector<int>> IndependentGroups(const Plan& plan, const PlanStep& step) {
  std::vector<std::vector<int>> groups;
  std::vector<int> group_of(plan.segments.size(), -1);
  for (size_t i = 0; i + 1 < step.writes.size(); ++i) {
    const int id = step.writes[i];
    int group = 0;
    for (const int seen : plan.segments[id].view) group = std::max(group, group_of[seen] + 1);
    group_of[id] = group;
    if (std::ssize(groups) <= group) groups.resize(group + 1);
    groups[group].push_back(id);
  }
  return groups;
}

}  // namespace

Result<ChainPrompts> LoadChainPrompts(const Base& base, const ChainSpec& spec) {
  auto prompts = std::make_shared<std::vector<SoftPrompt>>();
  for (const StageSpec& stage : spec.stages) {
    SoftPrompt& prompt = prompts->emplace_back();
    if (stage.prompt.empty()) continue;
    const std::string where = spec.file + ": stage " + Quote(stage.name);
    Result<SoftPrompt> loaded = LoadSoftPrompt(stage.prompt);
    if (!loaded.ok() && !std::filesystem::exists(stage.prompt)) {
      return InvalidArgument(where + ": prompt: want the folder of a trained prompt, found no " +
                             Quote(stage.prompt) + " (train it, or --set " + stage.name +
                             ".prompt=FOLDER)");
    }
    RETURN_IF_ERROR(loaded.status().WithPrefix(where + ": prompt"));
    prompt = *std::move(loaded);
    const Status fits = CheckPromptFits(prompt, stage.prompt,
                                        PlaceOnBase(base, spec.placement, stage.added_tokens));
    RETURN_IF_ERROR(fits.WithPrefix(where));
  }
  return ChainPrompts(std::move(prompts));
}

BoundChain::BoundChain(const Base& base, ChainSpec spec, ChainPrompts prompts)
    : base_(base), spec_(std::move(spec)), prompts_(std::move(prompts)) {}

Result<std::unique_ptr<const BoundChain>> BoundChain::Create(const Base& base, ChainSpec spec,
                                                             ChainPrompts prompts) {
  std::unique_ptr<BoundChain> chain(new BoundChain(base, std::move(spec), std::move(prompts)));
  RETURN_IF_ERROR(chain->Init());
  return std::unique_ptr<const BoundChain>(std::move(chain));
}

Status BoundChain::Init() {
  RETURN_IF_ERROR(spec_.Validate());
  ONEPASS_CHECK(prompts_->size() == spec_.stages.size(), "one prompt a stage");
  const ModelConfig& config = base_.config();
  for (size_t i = 0; i < prompts_->size(); ++i) {
    const SoftPrompt& prompt = (*prompts_)[i];
    if (prompt.length() == 0 || prompt.width() == config.width) continue;
    return InvalidArgument(spec_.file + ": stage " + Quote(spec_.stages[i].name) +
                           ": prompt: want width " + std::to_string(config.width) + ", found " +
                           std::to_string(prompt.width()));
  }
  ASSIGN_OR_RETURN(vocabulary_,
                   ChainVocabulary::Create(spec_, *base_.tokenizer, config.vocab_size));
  RETURN_IF_ERROR(LoadAddedTokens());
  ASSIGN_OR_RETURN(templates_, ChainTemplates::Create(spec_, *vocabulary_));
  RETURN_IF_ERROR(MakeRules());
  ASSIGN_OR_RETURN(plan_, CompilePlan(spec_, PromptLengths()));
  for (const PlanStep& step : plan_.steps) groups_.push_back(IndependentGroups(plan_, step));
  const bool reads_text = std::ranges::any_of(
      plan_.segments, [](const PlannedSegment& segment) { return !segment.text_of.empty(); });
  if (reads_text) longest_token_ = LongestToken();
  fit_plans_.push_back(plan_);
  if (spec_.overlong != Overlong::kCut) return Status::Ok();
  for (const Handoff handoff : kHandoffs) {
    ChainSpec other = spec_;
    other.SetHandoff(handoff);
    Result<Plan> plan = CompilePlan(other, PromptLengths());
    if (plan.ok()) fit_plans_.push_back(*std::move(plan));
  }
  return Status::Ok();
}

Status BoundChain::LoadAddedTokens() {
  const int64_t count = vocabulary_->added_count();
  const int64_t width = base_.config().width;
  added_embedding_ = Buffer<float>(count, width);
  added_head_ = Buffer<float>(count, width);
  for (int stage = 0; stage < std::ssize(spec_.stages); ++stage) {
    const std::vector<std::string>& tokens = spec_.stages[stage].added_tokens;
    for (int64_t i = 0; i < std::ssize(tokens); ++i) {
      const AddedTokenRow* rows = (*prompts_)[stage].RowsOf(tokens[i]);
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

PrefillRequest BoundChain::FrontPrompt(int id) const {
  const PlannedSegment& planned = plan_.segments[id];
  PrefillRequest request;
  request.vectors = PromptVectors(planned.stage);
  request.start_position = planned.offset;
  request.provenance = {.kind = planned.kind, .stage = planned.stage};
  return request;
}

std::vector<std::string> BoundChain::Fields() const {
  std::vector<std::string> fields;
  const auto add = [&](const std::string& text, bool may_name_stages) {
    const Result<std::vector<TemplatePiece>> pieces = ParseTemplate(text);
    ONEPASS_CHECK(pieces.ok(), "templates were parsed before");
    for (const TemplatePiece& piece : *pieces) {
      if (!piece.is_field || spec_.ToolOf(piece.text) >= 0) continue;
      if (may_name_stages && spec_.StageOf(piece.text) >= 0) continue;
      if (std::ranges::find(fields, piece.text) == fields.end()) fields.push_back(piece.text);
    }
  };
  add(spec_.shared, false);
  for (const StageSpec& stage : spec_.stages) add(stage.input, false);
  for (const ToolSpec& tool : spec_.tools) add(tool.query, true);
  return fields;
}

AddedTokens BoundChain::AddedTokensOf(int stage) const {
  AddedTokens added;
  added.rows = {.embedding = added_embedding_.view(), .head = added_head_.view()};
  if (stage < 0) return added;
  added.first = vocabulary_->first_of(stage);
  added.count = vocabulary_->count_of(stage);
  return added;
}

Status BoundChain::MakeRules() {
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

std::vector<int64_t> BoundChain::PromptLengths() const {
  std::vector<int64_t> lengths;
  for (const SoftPrompt& prompt : *prompts_) lengths.push_back(prompt.length());
  return lengths;
}

std::vector<OutputOptions> BoundChain::Outputs() const {
  std::vector<OutputOptions> outputs;
  for (const StageSpec& stage : spec_.stages) {
    outputs.push_back({.max_tokens = stage.max_tokens,
                       .stop_strings = stage.stop_strings,
                       .sampling = stage.sampling});
  }
  return outputs;
}

// Tokens by planned id, were every output as long as it may be and every loop left behind so many
// rounds. What tools will find is not known, and counts as nothing.
std::vector<int64_t> BoundChain::MostTokens(const Plan& plan, int64_t rounds,
                                            const InputTokens& inputs,
                                            std::span<const OutputOptions> outputs,
                                            int64_t tokens_a_token) const {
  std::vector<int64_t> counts;
  const auto most = [&](int stage) { return outputs[stage].max_tokens; };
  for (const PlannedSegment& segment : plan.segments) {
    int64_t& count = counts.emplace_back(0);
    if (segment.kind == SegmentKind::kPrompt) count = (*prompts_)[segment.stage].length();
    if (segment.step >= 0 && plan.steps[segment.step].round >= rounds) continue;
    if (segment.kind == SegmentKind::kSharedInput) count = std::ssize(inputs.shared);
    if (segment.kind == SegmentKind::kOutput) {
      count = std::ssize(templates_->StartTokens(segment.stage)) + most(segment.stage);
    }
    if (segment.has_input()) count = std::ssize(inputs.own[segment.input_of]);
    for (const int read : segment.text_of) {
      const PlannedSegment& other = plan.segments[read];
      if (plan.steps[other.step].round >= rounds) continue;
      count += other.kind == SegmentKind::kOutput
                   ? templates_->ReadAgainOverhead(other.stage) + tokens_a_token * most(other.stage)
                   : std::ssize(inputs.own[other.input_of]);
    }
  }
  return counts;
}

// The position behind the last one that a plan could use, every loop left in its first round: what
// later rounds need shows when they come.
int64_t BoundChain::WorstCaseEnd(const Plan& plan, const InputTokens& inputs,
                                 std::span<const OutputOptions> outputs) const {
  return EndOfPlan(plan, MostTokens(plan, 1, inputs, outputs));
}

int64_t BoundChain::PagesOfPositions(int64_t page_tokens) const {
  const auto pages = [&](int64_t tokens) { return (tokens + page_tokens - 1) / page_tokens; };
  // A line of positions for all stages that read KV, one for the cache that a text hand-off makes
  // anew, one for each stage that keeps a cache of its own, and one to spare; rooms hold an input a
  // stage; each segment's last page may be nearly empty.
  bool kv = false, text = false;
  std::vector<char> cached(spec_.stages.size(), 0);
  for (const PlanStep& step : plan_.steps) {
    if (step.stage < 0) continue;
    kv = kv || step.handoff == Handoff::kKv;
    text = text || step.handoff == Handoff::kText;
    if (step.handoff == Handoff::kTextCached) cached[step.stage] = 1;
  }
  const int64_t lines = 1 + (kv ? 1 : 0) + (text ? 1 : 0) + std::ranges::count(cached, 1);
  return lines * pages(base_.config().max_positions) + std::ssize(plan_.segments) +
         std::ssize(spec_.stages) * pages(plan_.room);
}

// In bytes; at least those of U+FFFD, which stands for what is broken.
int64_t BoundChain::LongestToken() const {
  constexpr int64_t kReplacementBytes = 3;
  int64_t longest = kReplacementBytes;
  for (TokenId id = 0; id < base_.tokenizer->Info().vocab_size; ++id) {
    longest = std::max(longest, std::ssize(base_.tokenizer->TokenOf(id)));
  }
  return longest;
}

// A text that is read again has a token a byte at most.
PageNeed BoundChain::PagesOf(const PreparedRecord& prepared, std::span<const OutputOptions> outputs,
                             int64_t page_tokens) const {
  const int64_t bound = PagesOfPositions(page_tokens);
  // What tools find has any length.
  if (!spec_.tools.empty()) return {.pages = bound, .most = bound, .tokens = {}};
  constexpr int64_t kAllRounds = std::numeric_limits<int64_t>::max();
  const KvLayout layout = base_.config().Layout(page_tokens, DType::kF32);
  const auto peak = [&](const std::vector<int64_t>& tokens) {
    return std::min(bound, PeakKvBytes(plan_, tokens, layout) / layout.PageBytes());
  };
  PageNeed need;
  need.tokens = MostTokens(plan_, kAllRounds, prepared.inputs, outputs);
  need.pages = peak(need.tokens);
  need.most = longest_token_ == 0
                  ? need.pages
                  : peak(MostTokens(plan_, kAllRounds, prepared.inputs, outputs, longest_token_));
  return need;
}

// Tokens beyond the room, of the input that stands before S and is the longest.
int64_t BoundChain::ExcessOfRoom(const InputTokens& inputs) const {
  int64_t most = 0;
  for (int step = 0; step < plan_.step_count(); ++step) {
    const int stage = plan_.steps[step].stage;
    if (stage < 0 || !spec_.stages[stage].input_first) continue;
    most = std::max(most, std::ssize(inputs.own[step]) - plan_.room);
  }
  return most;
}

Status BoundChain::FitContext(const Record& whole_record, std::span<const OutputOptions> outputs,
                              PreparedRecord* prepared) const {
  const int64_t context = base_.config().max_positions;
  // A cut is the same whatever the hand-off, so that policies are compared on the same inputs.
  const bool cut = spec_.overlong == Overlong::kCut;
  std::span<const Plan> plans = fit_plans_;
  const auto fits_all = [&](const InputTokens& inputs) {
    return ExcessOfRoom(inputs) == 0 && std::ranges::all_of(plans, [&](const Plan& plan) {
             return WorstCaseEnd(plan, inputs, outputs) <= context;
           });
  };
  if (fits_all(prepared->inputs)) return Status::Ok();
  const int64_t end = WorstCaseEnd(plan_, prepared->inputs, outputs);
  int64_t input_tokens = std::ssize(prepared->inputs.shared);
  for (const std::vector<TokenId>& own : prepared->inputs.own) input_tokens += std::ssize(own);
  std::string need = whole_record.Where() + ": want at most ";
  const int64_t excess = ExcessOfRoom(prepared->inputs);
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

  Record record = whole_record;
  const auto field = std::ranges::find_if(
      record.fields, [&](const RecordField& f) { return f.name == spec_.cut_field; });
  // A template that waits for a tool has not asked for it yet.
  RETURN_IF_ERROR(record.Text(spec_.cut_field).status());
  const std::string whole = field->text;
  const auto fits = [&](std::string_view prefix) -> Result<bool> {
    field->text = prefix;
    ASSIGN_OR_RETURN(InputTokens inputs, templates_->RenderInputs(plan_, record));
    if (!fits_all(inputs)) return false;
    prepared->inputs = std::move(inputs);
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
  prepared->cut_bytes = static_cast<int64_t>(whole.size() - *kept);
  field->text = whole.substr(0, *kept);
  prepared->cut_record = std::move(record);
  return Status::Ok();
}

Result<PreparedRecord> BoundChain::Prepare(const Record& record,
                                           std::span<const OutputOptions> outputs) const {
  PreparedRecord prepared;
  ASSIGN_OR_RETURN(prepared.inputs, templates_->RenderInputs(plan_, record));
  RETURN_IF_ERROR(FitContext(record, outputs, &prepared));
  return prepared;
}

Result<std::vector<int64_t>> BoundChain::CountTokens(const Record& record) const {
  ASSIGN_OR_RETURN(const PreparedRecord prepared, Prepare(record, Outputs()));
  std::vector<int64_t> counts;
  for (const PlannedSegment& segment : plan_.segments) {
    int64_t& count = counts.emplace_back(-1);
    if (segment.kind == SegmentKind::kPrompt) count = (*prompts_)[segment.stage].length();
    const bool shared = segment.kind == SegmentKind::kSharedInput;
    if (shared && !spec_.UsesTool(spec_.shared)) count = std::ssize(prepared.inputs.shared);
    const bool alone = segment.has_input() && segment.text_of.empty();
    if (alone && !spec_.UsesTool(spec_.stages[segment.stage].input))
      count = std::ssize(prepared.inputs.own[segment.input_of]);
  }
  return counts;
}

}  // namespace onepass
