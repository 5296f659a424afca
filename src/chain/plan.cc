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

class Compiler {
 public:
  Compiler(const ChainSpec& spec, const std::vector<int64_t>& prompt_lengths)
      : spec_(spec), prompt_lengths_(prompt_lengths) {
    plan_.placement = spec.placement;
  }

  Result<Plan> Compile();

 private:
  bool front() const { return plan_.placement == Placement::kFront; }
  int stage_count() const { return static_cast<int>(spec_.stages.size()); }
  Handoff HandoffOf(int stage) const { return spec_.stages[stage].handoff.value_or(spec_.handoff); }
  // Stages whose outputs the stage reads, in the flow's order.
  std::vector<int> ReadsOf(int stage) const;
  // Where a stage's text begins: after its shared input, or there where that would end.
  PlannedSegment AfterSharedInput(PlannedSegment segment) const;
  // Adds a segment that sees what the table says of the cache. Returns its id.
  int Add(PlannedSegment segment, std::span<const int> reads, const std::vector<int>& cache);
  int AddPrompt(int stage, int after, std::span<const int> reads, const std::vector<int>& cache);
  // The next segment of a stage in the running index: behind `last`, or, for -1, behind S.
  PlannedSegment Behind(int last, PlannedSegment segment) const;
  Status CompileStage(int stage);
  // Outputs that are read where they lie must lie on one running index.
  Status CheckPositions(int stage, int last, std::span<const int> reads) const;
  // An output without start tokens needs logits of a segment that saw all that it sees.
  Status CheckFirstLogits(int stage, int output, const std::vector<int>& writes) const;
  void FindDeaths();

  const ChainSpec& spec_;
  const std::vector<int64_t>& prompt_lengths_;
  Plan plan_;
  std::vector<int64_t> prompt_offsets_;  // front: where each stage's prompt starts
  int64_t after_prompts_ = 0;            // front: where the shared input starts; inline: 0
  std::vector<int> front_prompts_;       // prompts kept for all records, by stage; -1: none
  std::vector<int> outputs_;             // by stage
  int shared_input_ = -1;                // the latest one written
};

std::vector<int> Compiler::ReadsOf(int stage) const {
  std::vector<int> reads;
  const auto& names = spec_.stages[stage].reads;
  for (int i = 0; i < stage; ++i) {
    if (!names || std::ranges::find(*names, spec_.stages[i].name) != names->end()) {
      reads.push_back(i);
    }
  }
  return reads;
}

PlannedSegment Compiler::AfterSharedInput(PlannedSegment segment) const {
  segment.after = shared_input_;
  segment.offset = shared_input_ < 0 ? after_prompts_ : 0;
  return segment;
}

PlannedSegment Compiler::Behind(int last, PlannedSegment segment) const {
  if (last < 0) return AfterSharedInput(std::move(segment));
  segment.after = last;
  return segment;
}

int Compiler::Add(PlannedSegment segment, std::span<const int> reads,
                  const std::vector<int>& cache) {
  segment.view = ViewOf(plan_.placement, segment, reads, plan_.segments, cache);
  plan_.segments.push_back(std::move(segment));
  return static_cast<int>(plan_.segments.size()) - 1;
}

int Compiler::AddPrompt(int stage, int last, std::span<const int> reads,
                        const std::vector<int>& cache) {
  PlannedSegment prompt{.kind = SegmentKind::kPrompt, .stage = stage};
  if (front()) {
    prompt.offset = prompt_offsets_[stage];
    return Add(std::move(prompt), {}, {});
  }
  return Add(Behind(last, std::move(prompt)), reads, cache);
}

Status Compiler::CheckPositions(int stage, int last, std::span<const int> reads) const {
  std::vector<int> line;
  for (int id = last; id >= 0; id = plan_.segments[id].after) line.push_back(id);
  for (const int read : reads) {
    if (Contains(line, outputs_[read])) continue;
    const std::string self = Quote(spec_.stages[stage].name);
    const std::string other = Quote(spec_.stages[read].name);
    const std::string before = Quote(spec_.stages[stage - 1].name);
    return InvalidArgument(
        "stage " + self + " takes the KV of " + other + "'s output, but runs on from " + before +
        ", whose text hand-off put its positions over that output: want kv for " + before +
        " too, or text for " + self + ", or reads without " + other);
  }
  return Status::Ok();
}

Status Compiler::CheckFirstLogits(int stage, int output, const std::vector<int>& writes) const {
  if (!spec_.stages[stage].start.empty()) return Status::Ok();
  const PlannedSegment& segment = plan_.segments[output];
  if (!writes.empty()) {
    std::vector<int> seen = plan_.segments[writes.back()].view;
    seen.push_back(writes.back());
    if (std::ranges::is_permutation(seen, segment.view)) return Status::Ok();
  }
  return InvalidArgument("stage " + Quote(spec_.stages[stage].name) +
                         " has nothing that its first token follows from: want a start token" +
                         " or an own input");
}

Status Compiler::CompileStage(int stage) {
  const Handoff handoff = HandoffOf(stage);
  const bool kv = handoff == Handoff::kKv;
  const std::vector<int> reads = ReadsOf(stage);
  const std::vector<int> kv_reads = kv ? reads : std::vector<int>();
  StagePlan stage_plan{.handoff = handoff, .writes = {}};
  std::vector<int>& writes = stage_plan.writes;

  // Shared input: a new one under a text hand-off, or where there is none yet.
  if (!spec_.shared.empty() && (shared_input_ < 0 || handoff == Handoff::kText)) {
    PlannedSegment shared{.kind = SegmentKind::kSharedInput, .stage = -1};
    shared.offset = after_prompts_;
    shared_input_ = Add(std::move(shared), {}, {});
    writes.push_back(shared_input_);
  }
  // What the stage's segments can see; a kv hand-off keeps one cache for all stages.
  std::vector<int> cache;
  if (kv) {
    for (const int output : outputs_) cache.push_back(output);
  }
  if (shared_input_ >= 0) cache.push_back(shared_input_);
  const auto write = [&](int id) {
    cache.push_back(id);
    writes.push_back(id);
    return id;
  };

  const bool has_prompt = prompt_lengths_[stage] > 0;
  int last = kv && stage > 0 ? outputs_[stage - 1] : -1;
  if (kv) RETURN_IF_ERROR(CheckPositions(stage, last, reads));
  if (has_prompt && front()) {
    if (front_prompts_[stage] >= 0) {
      cache.push_back(front_prompts_[stage]);
    } else {
      write(AddPrompt(stage, -1, {}, cache));
    }
  }
  if (!kv && !reads.empty()) {
    PlannedSegment again{.kind = SegmentKind::kOwnInput, .stage = stage, .text_of = reads};
    last = write(Add(Behind(last, std::move(again)), {}, cache));
  }
  if (has_prompt && !front()) last = write(AddPrompt(stage, last, kv_reads, cache));
  if (!spec_.stages[stage].input.empty()) {
    PlannedSegment own{.kind = SegmentKind::kOwnInput, .stage = stage};
    last = write(Add(Behind(last, std::move(own)), kv_reads, cache));
  }
  PlannedSegment output{.kind = SegmentKind::kOutput, .stage = stage};
  const int output_id = Add(Behind(last, std::move(output)), kv_reads, cache);
  RETURN_IF_ERROR(CheckFirstLogits(stage, output_id, writes));
  writes.push_back(output_id);
  outputs_.push_back(output_id);
  plan_.stages.push_back(std::move(stage_plan));
  return Status::Ok();
}

void Compiler::FindDeaths() {
  std::vector<int> writer(plan_.segments.size(), -1);
  for (int stage = 0; stage < stage_count(); ++stage) {
    for (const int id : plan_.stages[stage].writes) {
      writer[id] = stage;
      PlannedSegment& segment = plan_.segments[id];
      segment.dies_after = stage;
      for (const int seen : segment.view) {
        PlannedSegment& target = plan_.segments[seen];
        if (writer[seen] >= 0) target.dies_after = std::max(target.dies_after, stage);
      }
    }
  }
  for (const int prompt : front_prompts_) {
    if (prompt >= 0) plan_.segments[prompt].dies_after = stage_count();
  }
}

Result<Plan> Compiler::Compile() {
  RETURN_IF_ERROR(spec_.Validate());
  ONEPASS_CHECK(prompt_lengths_.size() == spec_.stages.size(), "one prompt length a stage");
  front_prompts_.assign(spec_.stages.size(), -1);
  if (front()) {
    for (const int64_t length : prompt_lengths_) {
      prompt_offsets_.push_back(after_prompts_);
      after_prompts_ += length;
    }
    for (int stage = 0; stage < stage_count(); ++stage) {
      if (prompt_lengths_[stage] > 0 && HandoffOf(stage) != Handoff::kText) {
        front_prompts_[stage] = AddPrompt(stage, -1, {}, {});
      }
    }
  }
  const std::string where = spec_.file.empty() ? "chain" : spec_.file;
  for (int stage = 0; stage < stage_count(); ++stage) {
    RETURN_IF_ERROR(CompileStage(stage).WithPrefix(where));
  }
  FindDeaths();
  return std::move(plan_);
}

}  // namespace

Result<Plan> CompilePlan(const ChainSpec& spec, const std::vector<int64_t>& prompt_lengths) {
  return Compiler(spec, prompt_lengths).Compile();
}

}  // namespace onepass
