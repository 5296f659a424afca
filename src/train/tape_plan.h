// What training one stage's prompt needs of a plan: which planned segments must be computed at all,
// and which of them depend on the trained prompt. Knows shapes only, like the plan itself.
#pragma once

#include <vector>

#include "chain/plan.h"
#include "core/status.h"

namespace onepass {

enum class TapeRole {
  kUnused,    // the trained stage's output does not depend on it: never computed
  kConstant,  // computed without a tape: the trained prompt has no influence on it
  kTaped,     // the trained prompt, or a segment whose view (transitively) contains it
};

struct TapePlan {
  int stage = 0;                // the stage whose prompt is trained
  int prompt = 0;               // plan id of its prompt
  int target = 0;               // plan id of its output: the loss is on these tokens
  std::vector<TapeRole> roles;  // by plan id
};

// taped_constants makes every used segment kTaped (a benchmark's and a test's baseline: same losses
// and gradients, more memory and time). kInvalidArgument: the stage has no prompt, or its output
// does not see it.
Result<TapePlan> MakeTapePlan(const Plan& plan, int stage, bool taped_constants);

// Whether this segment is the same for every sample: a front prompt, which sees nothing and starts
// at a fixed position.
bool IsFrontPrompt(const PlannedSegment& segment);

}  // namespace onepass
