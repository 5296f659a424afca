#include "train/tape_plan.h"

#include <string>

namespace onepass {

bool IsFrontPrompt(const PlannedSegment& segment) {
  return segment.kind == SegmentKind::kPrompt && segment.view.empty() && segment.after == -1;
}

Result<TapePlan> MakeTapePlan(const Plan& plan, int stage, bool taped_constants) {
  const int stage_count = static_cast<int>(plan.stages.size());
  ONEPASS_CHECK(stage >= 0 && stage < stage_count, "no such stage");
  const int segment_count = static_cast<int>(plan.segments.size());
  TapePlan result;
  result.stage = stage;
  result.target = plan.stages[stage].writes.back();
  result.roles.assign(segment_count, TapeRole::kUnused);

  // Backwards from the target: a view names earlier segments only. The segment written just before
  // the output predicts its first token where the output has no start token.
  std::vector<bool> used(segment_count, false);
  for (int id : plan.stages[stage].writes) used[id] = true;
  for (int id = segment_count - 1; id >= 0; --id) {
    if (!used[id]) continue;
    for (int seen : plan.segments[id].view) {
      ONEPASS_CHECK(seen < id, "a view names a segment that is written later");
      used[seen] = true;
    }
  }

  result.prompt = -1;
  for (int id = 0; id < segment_count; ++id) {
    const PlannedSegment& segment = plan.segments[id];
    if (used[id] && segment.kind == SegmentKind::kPrompt && segment.stage == stage) {
      ONEPASS_CHECK(result.prompt == -1, "a stage has one prompt");
      result.prompt = id;
    }
  }
  if (result.prompt == -1) {
    return InvalidArgument("stage " + std::to_string(stage) +
                           ": want a prompt that its output reads, found none");
  }

  for (int id = 0; id < segment_count; ++id) {
    if (!used[id]) continue;
    bool taped = taped_constants || id == result.prompt;
    for (int seen : plan.segments[id].view) taped |= result.roles[seen] == TapeRole::kTaped;
    result.roles[id] = taped ? TapeRole::kTaped : TapeRole::kConstant;
  }
  ONEPASS_CHECK(result.roles[result.target] == TapeRole::kTaped, "the output reads its prompt");
  return result;
}

}  // namespace onepass
