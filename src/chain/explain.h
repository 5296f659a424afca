// Shows a compiled plan: which segments there are, who reads whom, where each stands, when it dies
// and what its KV weighs. Text for people, JSON for programs. Never runs anything.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "chain/plan.h"
#include "chain/spec.h"
#include "kv/layout.h"

namespace onepass {

struct ExplainFacts {
  // By planned id; -1: not known before the chain runs. Empty: nothing but prompts is known.
  std::vector<int64_t> token_counts;
  std::vector<int64_t> prompt_lengths;  // by stage
  KvLayout layout;                      // layers == 0: bytes are left out
};

// "answer"; "answer#2" for the second run of a stage that runs more than once.
std::string StepName(const ChainSpec& spec, const Plan& plan, int step);

// "S", "P[answer]", "I[answer]", "O[answer#2]", "R[answer]" (texts read again), "R+I[answer]".
std::string SegmentName(const ChainSpec& spec, const Plan& plan, int id);

// A table of the segments and a picture of who sees whom.
std::string ExplainPlan(const ChainSpec& spec, const Plan& plan, const ExplainFacts& facts);

// The same facts as one JSON object, in a line.
std::string ExplainPlanJson(const ChainSpec& spec, const Plan& plan, const ExplainFacts& facts);

}  // namespace onepass
