// What every measurement needs: a clock, random work, and order statistics of repeated runs.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "core/rng.h"

namespace onepass {

// Runs from its making.
class Stopwatch {
 public:
  double Seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

std::vector<int32_t> RandomTokens(int64_t count, int64_t vocab_size, Rng& rng);

struct Spread {
  double median = 0;
  double low = 0;
  double high = 0;
};
// REQUIRES: not empty.
Spread SpreadOf(std::vector<double> values);

}  // namespace onepass
