// What training the prompts of some stages needs of a plan: which planned segments must be computed
// at all, and which of them depend on a trained prompt. Knows shapes only, like the plan itself.
#pragma once

#include <vector>

#include "chain/plan.h"
#include "core/status.h"

namespace onepass {

enum class TapeRole {
  kUnused,    // no trained stage's output depends on it: never computed
  kConstant,  // computed without a tape: no trained prompt has any influence on it
  kTaped,     // a trained prompt, or a segment whose view (transitively) contains one
};

struct TapePlan {
  std::vector<int> stages;      // whose prompts are trained, ascending
  std::vector<int> targets;     // plan ids of all their outputs: the loss is on these tokens
  std::vector<TapeRole> roles;  // by plan id

  bool Trains(int stage) const;
  // Makes a segment kTaped that holds trained tokens, and what sees it.
  void TapeToo(const Plan& plan, int id);
};

// taped_constants makes every used segment kTaped (a benchmark's and a test's baseline: same losses
// and gradients, more memory and time). kInvalidArgument: a stage has no prompt that its outputs
// see.
Result<TapePlan> MakeTapePlan(const Plan& plan, std::vector<int> stages, bool taped_constants);

// Whether this segment is the same for every sample: a front prompt, which sees nothing and starts
// at a fixed position.
bool IsFrontPrompt(const PlannedSegment& segment);

}  // namespace onepass
