// From answered questions to results. Pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/status.h"
#include "eval/answered_run.h"
#include "eval/results.h"
#include "eval/suite.h"

namespace onepass {

// Means, spreads and intervals of every method over the questions that are not left out; at least
// one run a method, all of the same questions. kv_types: by method. skipped: records left out, for
// whatever reason. REQUIRES: at least one question is left.
TaskResults Summarise(const SuiteSpec& suite, std::span<const DType> kv_types,
                      std::span<const AnsweredRun> runs, const std::vector<bool>& left_out,
                      int64_t skipped);

}  // namespace onepass
