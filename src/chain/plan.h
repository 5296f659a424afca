// A chain compiled once, before any record: which segments there are, what each one's tokens attend
// to, where each starts, and when each dies. Running, training, benchmarks and --explain use it.
// Knows shapes only: no tokens, no KV.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "chain/spec.h"
#include "kv/layout.h"
#include "kv/segment.h"

namespace onepass {

// One segment of the plan. Ids are indices in Plan::segments, which is the order of writing.
struct PlannedSegment {
  SegmentKind kind = SegmentKind::kSharedInput;
  int stage = -1;  // owner; -1: the shared input
  int step = -1;   // that writes it; -1: a front prompt that outlives records
  // An own-input segment under a text hand-off: what these segments (outputs that the stage reads,
  // its own earlier inputs) say, read again as text.
  std::vector<int> text_of;
  // An own-input segment: the run of the stage whose input template stands in it, last; -1: none.
  int input_of = -1;
  // An own input in the room before S: it ends at position `offset`, and sees its prompt only.
  bool before_shared = false;
  std::vector<int> view;  // ids that its tokens attend to besides themselves, by position
  // It starts where segment `after` ends, or, for after == -1, at position `offset`. (The front
  // prompts' lengths are known before any record, so fixed offsets exist only there.)
  int after = -1;
  int64_t offset = 0;
  // It dies when this step's output is complete (its last reader); for front prompts that outlive
  // records (every hand-off but text): the number of steps.
  int dies_after = 0;

  bool has_input() const { return input_of >= 0; }
  // Its first position, when it has `length` tokens and segment `after` ends at `end_of_after`.
  int64_t StartPosition(int64_t end_of_after, int64_t length) const {
    if (before_shared) return offset - length;
    return after < 0 ? offset : end_of_after;
  }
};

// One run of a stage or a tool. A stage writes segments, by id and in order (shared input first,
// where it must write that), the last of which is its output; a tool writes none.
struct PlanStep {
  int stage = -1;        // -1: a tool's
  int tool = -1;         // -1: a stage's
  int run = 0;           // how many runs of its stage or tool stand before it
  int part = 0;          // of the flow
  int round = 0;         // of its part
  bool checked = false;  // its part's rule is looked at behind it
  int behind_part = 0;   // the step that a record goes on with when the rule holds
  Handoff handoff = Handoff::kKv;
  std::vector<int> writes;
};

// Loops are written out for all their rounds. A record that leaves a loop early skips steps: their
// segments stay empty, and what stands behind them moves up.
struct Plan {
  Placement placement = Placement::kFront;
  int64_t room = 0;  // most tokens of an input that stands before S
  std::vector<PlannedSegment> segments;
  std::vector<PlanStep> steps;
  std::vector<std::string> stages, tools;  // their names
  std::vector<int> runs;                   // of each stage in the whole flow, dropped steps too

  int step_count() const { return static_cast<int>(steps.size()); }
  int OutputOf(int step) const { return steps[step].writes.back(); }
  // What a step writes just before its output; -1: nothing.
  int LastInputOf(int step) const {
    return steps[step].writes.size() < 2 ? -1 : steps[step].writes.end()[-2];
  }
  // Whether it says again what a record's earlier step has written, part of it at least (its own
  // input, if it has one, may be new).
  bool Recomputes(int id) const;
  // Kept for all records: a front prompt that no text hand-off writes anew.
  bool OutlivesRecords(int id) const { return segments[id].dies_after >= step_count(); }
  // Drops the steps behind the first `count`. Prompts keep their positions.
  void KeepSteps(int count);
};

// Compiles a chain whose prompts have these lengths (0: the stage has no prompt).
//
// Positions. front: prompts stand at 0 .. sum(P_i) in stage order, then the room for inputs that
// stand first, S after it; inline: S at 0,
// and a stage's prompt before its first run. Then one running index in the order of writing. A text
// hand-off places its stage's prompt and S where the kv hand-off would, and runs on from the end of
// S: the policies differ in what KV they reuse and in nothing else.
//
// Views. The table of docs/method.md, section 2. A text hand-off reads texts again in a segment of
// its own ({kind own input, text_of}), which sees P_i and S (front) or S (inline, then P_i sees
// it). text: all that the stage reads and its own earlier inputs, in a new cache. text-cached: the
// stage keeps its own cache, outputs included, and reads what others wrote since its last run.
//
// Own inputs. In a stage's first run only: in later ones they are seen where they lie. One that
// names a tool is written in every run. One with `input_first` ends where S starts, in a room of
// positions that is kept free for it; of several of one stage the last alone is seen.
Result<Plan> CompilePlan(const ChainSpec& spec, const std::vector<int64_t>& prompt_lengths);

// Most bytes of KV that a record holds at once, front prompts included, when its segments have
// these token counts, by id (0 where a step was skipped). Whole pages count.
int64_t PeakKvBytes(const Plan& plan, std::span<const int64_t> token_counts,
                    const KvLayout& layout);

}  // namespace onepass
