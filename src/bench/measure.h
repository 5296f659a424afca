// What every measurement needs: random work and order statistics of repeated runs.
#pragma once

#include <cstdint>
#include <vector>

#include "core/rng.h"
#include "core/status.h"

namespace onepass {

std::vector<int32_t> RandomTokens(int64_t count, int64_t vocab_size, Rng& rng);

// A number of tokens, sequences or runs that a measurement was asked for, by its name.
Status WantCount(const char* name, int64_t count);

struct Spread {
  double median = 0;
  double low = 0;
  double high = 0;
};
// REQUIRES: not empty.
Spread SpreadOf(std::vector<double> values);

}  // namespace onepass
