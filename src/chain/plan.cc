#include "chain/plan.h"

#include <algorithm>
#include <numeric>

#include "chain/visibility.h"
#include "core/quote.h"

namespace onepass {
namespace {

bool Contains(std::span<const int> values, int value) {
  return std::ranges::find(values, value) != values.end();
}

// What later segments may be let see, in the order of writing.
struct Cache {
  std::vector<int> ids;
  int shared_input = -1;
  int last = -1;  // the end of its running index; -1: nothing but prompts in front and S
};

class Compiler {
 public:
  Compiler(const ChainSpec& spec, const std::vector<int64_t>& prompt_lengths)
      : spec_(spec), prompt_lengths_(prompt_lengths) {
    plan_.placement = spec.placement;
    plan_.stages = spec.StageNames();
    plan_.tools = spec.ToolNames();
  }

  Result<Plan> Compile();

 private:
  bool front() const { return plan_.placement == Placement::kFront; }
  int stage_count() const { return static_cast<int>(spec_.stages.size()); }
  Handoff HandoffOf(int stage) const { return spec_.stages[stage].handoff.value_or(spec_.handoff); }
  const std::string& NameOf(int stage) const { return spec_.stages[stage].name; }

  void UnrollFlow();
  // Outputs so far that the stage reads, in the order of writing.
  std::vector<int> ReadsOf(int stage) const;
  // Adds a segment that sees what the table says of the cache, and puts it there. Returns its id.
  int Write(int step, PlannedSegment segment, std::span<const int> read_stages, Cache& cache);
  // The next segment of a cache: behind its last, or behind S.
  PlannedSegment Next(const Cache& cache, PlannedSegment segment) const;
  void AddFrontPrompts();
  PlannedSegment FrontPrompt(int stage) const;
  int FirstRunOf(int stage) const;
  // The cache that a step's segments see and go on with; a new S where it needs one.
  Cache BeginCache(int step);
  // What is read again as text, of the outputs that the stage reads.
  std::vector<int> TextsOf(int stage, const std::vector<int>& reads) const;
  Status CompileStep(int step);
  // What is read where it lies must lie on one running index.
  Status CheckPositions(int stage, const Cache& cache, std::span<const int> view) const;
  // An output without start tokens needs logits of a segment that saw all that it sees.
  Status CheckFirstLogits(int step, int output) const;
  // What a stage writes in its first run is there in later ones only if that run was not skipped.
  Status CheckFirstRuns() const;
  // A cached stage has read all that was said before its last run only if that run was not skipped.
  Status CheckCachedTexts() const;
  void FindDeaths();

  const ChainSpec& spec_;
  const std::vector<int64_t>& prompt_lengths_;
  Plan plan_;
  std::vector<FlowPart> parts_;
  std::vector<int64_t> prompt_offsets_;   // front: where each stage's prompt starts
  int64_t after_room_ = 0;                // where the shared input starts
  std::vector<int> front_prompts_;        // prompts kept for all records, by stage; -1: none
  std::vector<int> outputs_;              // by step
  std::vector<std::vector<int>> inputs_;  // own inputs behind S, by stage
  Cache kv_cache_;                        // one for all stages
  std::vector<Cache> stage_caches_;       // text-cached: one a stage
  int shared_input_ = -1;                 // the latest one written
};

void Compiler::UnrollFlow() {
  parts_ = spec_.FlowParts();
  std::vector<int> runs(spec_.stages.size());
  std::vector<int> tool_runs(spec_.tools.size());
  for (int part = 0; part < std::ssize(parts_); ++part) {
    const FlowPart& loop = parts_[part];
    const int behind = plan_.step_count() + static_cast<int>(loop.rounds * std::ssize(loop.names));
    for (int round = 0; round < loop.rounds; ++round) {
      for (const std::string& name : loop.names) {
        PlanStep& step = plan_.steps.emplace_back();
        step.part = part;
        step.round = round;
        step.behind_part = behind;
        step.stage = spec_.StageOf(name);
        if (step.stage < 0) {
          step.tool = spec_.ToolOf(name);
          step.run = tool_runs[step.tool]++;
          continue;
        }
        step.run = runs[step.stage]++;
        step.checked = loop.ChecksAfter(name);
        step.handoff = HandoffOf(step.stage);
      }
    }
  }
  plan_.runs = std::move(runs);
}

std::vector<int> Compiler::ReadsOf(int stage) const {
  const auto& names = spec_.stages[stage].reads;
  std::vector<int> reads;
  for (const int output : outputs_) {
    const std::string& name = NameOf(plan_.segments[output].stage);
    if (!names || std::ranges::find(*names, name) != names->end()) reads.push_back(output);
  }
  return reads;
}

PlannedSegment Compiler::Next(const Cache& cache, PlannedSegment segment) const {
  segment.after = cache.last >= 0 ? cache.last : cache.shared_input;
  segment.offset = segment.after < 0 ? after_room_ : 0;
  return segment;
}

int Compiler::Write(int step, PlannedSegment segment, std::span<const int> read_stages,
                    Cache& cache) {
  segment.step = step;
  segment.view = ViewOf(plan_.placement, segment, read_stages, plan_.segments, cache.ids);
  plan_.segments.push_back(std::move(segment));
  const int id = static_cast<int>(plan_.segments.size()) - 1;
  cache.ids.push_back(id);
  plan_.steps[step].writes.push_back(id);
  return id;
}

PlannedSegment Compiler::FrontPrompt(int stage) const {
  return {.kind = SegmentKind::kPrompt, .stage = stage, .offset = prompt_offsets_[stage]};
}

void Compiler::AddFrontPrompts() {
  int64_t end = 0;
  for (const int64_t length : prompt_lengths_) {
    prompt_offsets_.push_back(end);
    end += length;
  }
  after_room_ += end;
  for (int stage = 0; stage < stage_count(); ++stage) {
    if (prompt_lengths_[stage] == 0 || HandoffOf(stage) == Handoff::kText) continue;
    front_prompts_[stage] = static_cast<int>(plan_.segments.size());
    plan_.segments.push_back(FrontPrompt(stage));
  }
}

int Compiler::FirstRunOf(int stage) const {
  return static_cast<int>(std::ranges::find(plan_.steps, stage, &PlanStep::stage) -
                          plan_.steps.begin());
}

Cache Compiler::BeginCache(int step) {
  const int stage = plan_.steps[step].stage;
  const Handoff handoff = plan_.steps[step].handoff;
  const bool kv = handoff == Handoff::kKv;
  Cache cache = kv ? kv_cache_ : handoff == Handoff::kText ? Cache() : stage_caches_[stage];
  if (kv) {
    cache.ids.insert(cache.ids.begin(), outputs_.begin(), outputs_.end());
    if (!outputs_.empty()) cache.last = outputs_.back();
  }
  // Shared input: a new one under a text hand-off, or where there is none yet.
  if (!spec_.shared.empty() && (kv || cache.shared_input < 0)) {
    if (shared_input_ < 0 || handoff == Handoff::kText) {
      PlannedSegment shared{.kind = SegmentKind::kSharedInput, .offset = after_room_};
      shared_input_ = Write(step, std::move(shared), {}, cache);
    } else if (cache.shared_input != shared_input_) {
      std::erase(cache.ids, cache.shared_input);
      cache.ids.push_back(shared_input_);
    }
    cache.shared_input = shared_input_;
  }
  return cache;
}

std::vector<int> Compiler::TextsOf(int stage, const std::vector<int>& reads) const {
  std::vector<int> texts;
  const bool cached = HandoffOf(stage) == Handoff::kTextCached;
  for (const int id : reads) {
    // A cached one keeps its own outputs, and has read what stands before the last of them.
    const bool known =
        cached && (plan_.segments[id].stage == stage || id < stage_caches_[stage].last);
    if (!known) texts.push_back(id);
  }
  if (!cached) texts.insert(texts.end(), inputs_[stage].begin(), inputs_[stage].end());
  std::ranges::sort(texts);
  return texts;
}

Status Compiler::CheckPositions(int stage, const Cache& cache, std::span<const int> view) const {
  std::vector<int> line;
  for (int id = cache.last; id >= 0; id = plan_.segments[id].after) line.push_back(id);
  for (const int id : view) {
    const PlannedSegment& seen = plan_.segments[id];
    if (seen.kind == SegmentKind::kSharedInput || seen.before_shared) continue;
    if (Contains(front_prompts_, id)) continue;
    if (Contains(line, id)) continue;
    const std::string self = Quote(NameOf(stage));
    const std::string other = Quote(NameOf(seen.stage));
    const std::string before = Quote(NameOf(plan_.segments[outputs_.back()].stage));
    return InvalidArgument(
        "stage " + self + " takes the KV of " + other + "'s output, but runs on from " + before +
        ", whose text hand-off put its positions over that output: want kv for " + before +
        " too, or text for " + self + ", or reads without " + other);
  }
  return Status::Ok();
}

Status Compiler::CheckFirstLogits(int step, int output) const {
  const int stage = plan_.steps[step].stage;
  if (!spec_.stages[stage].start.empty()) return Status::Ok();
  const PlannedSegment& segment = plan_.segments[output];
  const std::vector<int>& writes = plan_.steps[step].writes;
  if (writes.size() > 1) {
    const int before = writes[writes.size() - 2];
    std::vector<int> seen = plan_.segments[before].view;
    seen.push_back(before);
    if (std::ranges::is_permutation(seen, segment.view)) return Status::Ok();
  }
  return InvalidArgument("stage " + Quote(NameOf(stage)) +
                         " has nothing that its first token follows from: want a start token" +
                         " or an own input behind all that it sees");
}

Status Compiler::CompileStep(int step) {
  const int stage = plan_.steps[step].stage;
  const Handoff handoff = plan_.steps[step].handoff;
  const bool kv = handoff == Handoff::kKv;
  const bool first_run = plan_.steps[step].run == 0;
  const std::vector<int> reads = ReadsOf(stage);
  // Stages whose outputs are attended to where they lie.
  std::vector<int> read_stages;
  for (const int id : reads) {
    const int other = plan_.segments[id].stage;
    if (kv || (handoff == Handoff::kTextCached && other == stage)) read_stages.push_back(other);
  }
  std::vector<int> texts;
  if (!kv) texts = TextsOf(stage, reads);
  // A text hand-off's new cache has nothing of the first run.
  const bool anew = first_run || handoff == Handoff::kText;
  const bool has_prompt = prompt_lengths_[stage] > 0;
  const std::string& input = spec_.stages[stage].input;
  const bool uses_tool = spec_.UsesTool(input);
  const bool behind_shared = !input.empty() && !spec_.stages[stage].input_first;
  const bool has_input = behind_shared && (first_run || uses_tool);

  Cache cache = BeginCache(step);
  const auto write = [&](PlannedSegment segment) {
    cache.last = Write(step, Next(cache, std::move(segment)), read_stages, cache);
    return cache.last;
  };
  if (kv && !outputs_.empty()) {
    const PlannedSegment output{.kind = SegmentKind::kOutput, .stage = stage};
    RETURN_IF_ERROR(CheckPositions(
        stage, cache, ViewOf(plan_.placement, output, read_stages, plan_.segments, cache.ids)));
  }
  if (has_prompt && front()) {
    if (front_prompts_[stage] < 0) {
      Write(step, FrontPrompt(stage), {}, cache);
    } else if (!Contains(cache.ids, front_prompts_[stage])) {
      cache.ids.push_back(front_prompts_[stage]);
    }
  }
  if (spec_.stages[stage].input_first && (anew || uses_tool)) {
    // The one before it is seen no more.
    std::erase_if(cache.ids, [&](int id) {
      return plan_.segments[id].before_shared && plan_.segments[id].stage == stage;
    });
    Write(step,
          {.kind = SegmentKind::kOwnInput,
           .stage = stage,
           .input_of = uses_tool ? step : FirstRunOf(stage),
           .before_shared = true,
           .offset = after_room_},
          {}, cache);
  }
  const bool prompt_between = has_prompt && !front() && anew;
  PlannedSegment own{
      .kind = SegmentKind::kOwnInput, .stage = stage, .input_of = has_input ? step : -1};
  int own_input = -1;
  if (!texts.empty()) {
    PlannedSegment again = own;
    again.text_of = texts;
    if (prompt_between) again.input_of = -1;  // else one run of text, one segment
    const int id = write(again);
    if (plan_.segments[id].has_input()) own_input = id;
  }
  if (prompt_between) write({.kind = SegmentKind::kPrompt, .stage = stage});
  if (has_input && own_input < 0) own_input = write(own);
  if (has_input) inputs_[stage].push_back(own_input);
  const int output = write({.kind = SegmentKind::kOutput, .stage = stage});
  RETURN_IF_ERROR(CheckFirstLogits(step, output));
  outputs_.push_back(output);
  if (handoff == Handoff::kTextCached) stage_caches_[stage] = cache;
  if (kv) {
    std::erase_if(cache.ids, [&](int id) { return Contains(outputs_, id); });
    kv_cache_ = std::move(cache);
  }
  return Status::Ok();
}

Status Compiler::CheckFirstRuns() const {
  for (const PlanStep& step : plan_.steps) {
    if (step.stage < 0) continue;
    const PlanStep& first = plan_.steps[FirstRunOf(step.stage)];
    if (first.part == step.part || !parts_[first.part].until.Asks()) continue;
    const StageSpec& stage = spec_.stages[step.stage];
    const bool keeps_prompt =
        !front() && prompt_lengths_[step.stage] > 0 && step.handoff != Handoff::kText;
    const bool input_once = !stage.input.empty() && !spec_.UsesTool(stage.input);
    if (!input_once && !keeps_prompt) continue;
    // Certain to have run: nothing in its round is looked at before it.
    bool certain = first.round == 0;
    for (const std::string& name : parts_[first.part].names) {
      if (name == stage.name) break;
      if (spec_.StageOf(name) < 0) continue;
      certain = certain && !parts_[first.part].ChecksAfter(name);
    }
    if (certain) continue;
    return InvalidArgument("stage " + Quote(stage.name) +
                           " runs again behind a loop that may end before its first run, which" +
                           " writes its prompt or own input: want a stage of another name there");
  }
  return Status::Ok();
}

Status Compiler::CheckCachedTexts() const {
  for (const PlanStep& step : plan_.steps) {
    if (step.stage < 0 || step.handoff != Handoff::kTextCached) continue;
    const std::string& stage = spec_.stages[step.stage].name;
    const auto& reads = spec_.stages[step.stage].reads;
    for (int part = 0; part < step.part; ++part) {
      const FlowPart& loop = parts_[part];
      if (loop.rounds == 1 || std::ranges::find(loop.names, stage) == loop.names.end()) continue;
      for (const std::string& last : loop.names) {
        if (last == stage || spec_.StageOf(last) < 0 || !loop.ChecksAfter(last)) continue;
        if (reads && std::ranges::find(*reads, last) == reads->end()) continue;
        return InvalidArgument("stage " + Quote(stage) +
                               " runs again behind a loop that may end behind " + Quote(last) +
                               ", whose last output its cache would miss: want text or kv, or a" +
                               " stage of another name there");
      }
    }
  }
  return Status::Ok();
}

void Compiler::FindDeaths() {
  for (int step = 0; step < plan_.step_count(); ++step) {
    for (const int id : plan_.steps[step].writes) {
      PlannedSegment& segment = plan_.segments[id];
      segment.dies_after = step;
      for (const int seen : segment.view) plan_.segments[seen].dies_after = step;
    }
  }
  for (const int prompt : front_prompts_) {
    if (prompt >= 0) plan_.segments[prompt].dies_after = plan_.step_count();
  }
}

Result<Plan> Compiler::Compile() {
  RETURN_IF_ERROR(spec_.Validate());
  ONEPASS_CHECK(prompt_lengths_.size() == spec_.stages.size(), "one prompt length a stage");
  front_prompts_.assign(spec_.stages.size(), -1);
  inputs_.resize(spec_.stages.size());
  stage_caches_.resize(spec_.stages.size());
  plan_.room = after_room_ = spec_.room;
  if (front()) AddFrontPrompts();
  UnrollFlow();
  const std::string where = spec_.file.empty() ? "chain" : spec_.file;
  for (int step = 0; step < plan_.step_count(); ++step) {
    if (plan_.steps[step].stage < 0) continue;
    RETURN_IF_ERROR(CompileStep(step).WithPrefix(where));
  }
  RETURN_IF_ERROR(CheckFirstRuns().WithPrefix(where));
  RETURN_IF_ERROR(CheckCachedTexts().WithPrefix(where));
  FindDeaths();
  return std::move(plan_);
}

}  // namespace

Result<Plan> CompilePlan(const ChainSpec& spec, const std::vector<int64_t>& prompt_lengths) {
  return Compiler(spec, prompt_lengths).Compile();
}

bool Plan::Recomputes(int id) const {
  const PlannedSegment& segment = segments[id];
  if (segment.kind == SegmentKind::kSharedInput) {
    const auto earlier = std::span(segments).first(id);
    return std::ranges::any_of(earlier, [](const PlannedSegment& other) {
      return other.kind == SegmentKind::kSharedInput;
    });
  }
  if (segment.before_shared) return segment.input_of != segment.step;
  return !segment.text_of.empty();
}

void Plan::KeepSteps(int count) {
  const int outlives = step_count();
  steps.resize(count);
  segments.resize(steps.back().writes.back() + 1);
  for (PlannedSegment& segment : segments) {
    segment.dies_after =
        segment.dies_after >= outlives ? count : std::min(segment.dies_after, count - 1);
  }
  for (PlanStep& step : steps) step.behind_part = std::min(step.behind_part, count);
}

int64_t PeakKvBytes(const Plan& plan, std::span<const int64_t> token_counts,
                    const KvLayout& layout) {
  int64_t peak = 0;
  for (int step = 0; step < plan.step_count(); ++step) {
    int64_t pages = 0;
    for (size_t id = 0; id < plan.segments.size(); ++id) {
      const PlannedSegment& segment = plan.segments[id];
      if (segment.step > step || segment.dies_after < step) continue;
      pages += (token_counts[id] + layout.page_tokens - 1) / layout.page_tokens;
    }
    peak = std::max(peak, pages * layout.PageBytes());
  }
  return peak;
}

}  // namespace onepass
