// A record's own outputs, in place of generated ones: what training learns from and a replay runs
// on.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "chain/plan.h"
#include "chain/record.h"
#include "chain/tools.h"
#include "core/status.h"

namespace onepass {

// The record field of a run, from 0: each "{round}" in `field` replaced by its number, from 1.
std::string TraceField(std::string field, int run);

// `fields`: the record field of each stage's output, by stage; "{round}" in one stands for the
// number of the stage's run, from 1. kInvalidArgument: fewer than the stages that the plan runs, or
// none for each run of a stage that runs more than once.
Status CheckTraceFields(const Plan& plan, const std::vector<std::string>& fields);

// The outputs that a record has, by step of the plan; none where the step does not run, since a
// loop ends where the record has no further output. Tools run on what the record has; `tools` may
// be null where the plan runs none. kInvalidArgument: an output is missing, or there is one too
// many. REQUIRES: CheckTraceFields(plan, fields).ok()
Result<std::vector<std::optional<std::string>>> TraceOf(const Plan& plan,
                                                        const std::vector<std::string>& fields,
                                                        Tools* tools, const Record& record);

}  // namespace onepass
