// A quantile of values that are sorted.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace onepass {

// The value below which that share of them lies, between two of them in proportion.
// REQUIRES: sorted, not empty; share in [0, 1].
inline double QuantileOf(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace onepass
