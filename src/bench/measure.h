// What every measurement needs: random work, limits on what a user asks for, and order statistics
// of repeated runs.
#pragma once

#include <cstdint>
#include <vector>

#include "core/rng.h"
#include "core/status.h"
#include "kv/layout.h"
#include "model/config.h"

namespace onepass {

std::vector<int32_t> RandomTokens(int64_t count, int64_t vocab_size, Rng& rng);

// A number of tokens, sequences or runs that a measurement was asked for, by its name.
Status WantCount(const char* name, int64_t count);
// A sequence's positions, which may not be more than the base has.
Status WantPositions(const ModelConfig& config, int64_t position_count);
// Pages of a pool: at most half the machine's memory, whose rest is for weights and activations,
// and no more than a pool can number.
Status WantPages(const KvLayout& layout, int64_t page_count);

struct Spread {
  double median = 0;
  double low = 0;
  double high = 0;
};
// REQUIRES: not empty.
Spread SpreadOf(std::vector<double> values);

struct Summary {
  double mean = 0;
  double deviation = 0;  // sample standard deviation; 0 of one value
  double tenth = 0;      // percentiles, between two values in proportion
  double median = 0;
  double ninetieth = 0;
};
// REQUIRES: not empty.
Summary SummaryOf(std::vector<double> values);

}  // namespace onepass
