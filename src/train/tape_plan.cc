#include "train/tape_plan.h"

#include <algorithm>
#include <string>
#include <utility>

namespace onepass {

bool IsFrontPrompt(const PlannedSegment& segment) {
  return segment.kind == SegmentKind::kPrompt && segment.view.empty() && segment.after == -1;
}

bool TapePlan::Trains(int stage) const { return std::ranges::find(stages, stage) != stages.end(); }

void TapePlan::TapeToo(const Plan& plan, int id) {
  roles[id] = TapeRole::kTaped;
  for (size_t later = id + 1; later < roles.size(); ++later) {
    if (roles[later] != TapeRole::kConstant) continue;
    for (int seen : plan.segments[later].view) {
      if (roles[seen] == TapeRole::kTaped) roles[later] = TapeRole::kTaped;
    }
  }
}

Result<TapePlan> MakeTapePlan(const Plan& plan, std::vector<int> stages, bool taped_constants) {
  const int segment_count = static_cast<int>(plan.segments.size());
  TapePlan result;
  result.stages = std::move(stages);
  std::ranges::sort(result.stages);
  result.roles.assign(segment_count, TapeRole::kUnused);

  // Backwards from the targets: a view names earlier segments only. The segment written just before
  // an output predicts its first token where the output has no start token.
  std::vector<bool> used(segment_count, false);
  for (const PlanStep& step : plan.steps) {
    if (!result.Trains(step.stage)) continue;
    result.targets.push_back(step.writes.back());
    for (int id : step.writes) used[id] = true;
  }
  for (int id = segment_count - 1; id >= 0; --id) {
    if (!used[id]) continue;
    for (int seen : plan.segments[id].view) {
      ONEPASS_CHECK(seen < id, "a view names a segment that is written later");
      used[seen] = true;
    }
  }

  for (int id = 0; id < segment_count; ++id) {
    if (!used[id]) continue;
    const PlannedSegment& segment = plan.segments[id];
    bool taped = taped_constants;
    if (segment.kind == SegmentKind::kPrompt) taped |= result.Trains(segment.stage);
    for (int seen : segment.view) taped |= result.roles[seen] == TapeRole::kTaped;
    result.roles[id] = taped ? TapeRole::kTaped : TapeRole::kConstant;
  }
  for (int stage : result.stages) {
    const bool has_prompt = std::ranges::any_of(plan.segments, [&](const PlannedSegment& segment) {
      return segment.kind == SegmentKind::kPrompt && segment.stage == stage;
    });
    if (!has_prompt) {
      return InvalidArgument("stage " + std::to_string(stage) +
                             ": want a prompt that its output reads, found none");
    }
  }
  for (int target : result.targets) {
    ONEPASS_CHECK(result.roles[target] == TapeRole::kTaped, "an output reads its prompt");
  }
  return result;
}

}  // namespace onepass
