// A chain compiled once, before any record: which segments there are, what each one's tokens attend
// to, where each starts, and when each dies. Running, training, benchmarks and --explain use it.
// Knows shapes only: no tokens, no KV.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "chain/spec.h"
#include "kv/segment.h"

namespace onepass {

// One segment of the plan. Ids are indices in Plan::segments, which is the order of writing.
struct PlannedSegment {
  SegmentKind kind = SegmentKind::kSharedInput;
  int stage = -1;  // owner; -1: the shared input
  // A text hand-off: this own-input segment is the text of these stages' outputs, read again.
  std::vector<int> text_of;
  std::vector<int> view;  // ids that its tokens attend to besides themselves, by position
  // It starts where segment `after` ends, or, for after == -1, at position `offset`. (The front
  // prompts' lengths are known before any record, so fixed offsets exist only there.)
  int after = -1;
  int64_t offset = 0;
  // It dies when this stage's output is complete (its last reader); for front prompts that outlive
  // records (every hand-off but text): stage_count.
  int dies_after = 0;
};

// What one stage does, in order: ids of the segments it writes (shared input first, where it must
// write that), the last of which is its output.
struct StagePlan {
  Handoff handoff = Handoff::kKv;
  std::vector<int> writes;
};

struct Plan {
  Placement placement = Placement::kFront;
  std::vector<PlannedSegment> segments;
  std::vector<StagePlan> stages;
};

// Compiles a chain whose prompts have these lengths (0: the stage has no prompt).
//
// Positions. front: prompts stand at 0 .. sum(P_i) in stage order, S after them; inline: S at 0.
// Then one running index in the order of writing. A text hand-off places its stage's prompt and S
// where the kv hand-off would, and runs on from the end of S: the policies differ in what KV they
// reuse and in nothing else.
//
// Views. The table of docs/method.md, section 2. Under a text hand-off the re-read text is a
// segment of its own ({kind own input, text_of}), which sees P_i and S (front) or S (inline, then
// P_i sees it).
Result<Plan> CompilePlan(const ChainSpec& spec, const std::vector<int64_t>& prompt_lengths);

}  // namespace onepass
