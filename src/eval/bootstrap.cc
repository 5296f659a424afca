#include "eval/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/check.h"
#include "core/rng.h"

namespace onepass {
namespace {

constexpr uint64_t kSeed = 2718281828;

// REQUIRES: sorted, not empty; share in [0, 1].
double Percentile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(std::floor(place));
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - std::floor(place)) * (sorted[above] - sorted[below]);
}

}  // namespace

std::vector<Interval> BootstrapIntervals(std::span<const std::vector<double>> columns) {
  if (columns.empty()) return {};
  const size_t questions = columns.front().size();
  for (const std::vector<double>& column : columns) {
    ONEPASS_CHECK(column.size() == questions && questions > 0, "columns of one length");
  }
  Rng rng(kSeed);
  std::vector<size_t> drawn(questions);
  std::vector<std::vector<double>> means(columns.size());
  for (int resample = 0; resample < kBootstrapResamples; ++resample) {
    for (size_t& question : drawn) question = rng.Uniform(questions);
    for (size_t c = 0; c < columns.size(); ++c) {
      double sum = 0;
      for (const size_t question : drawn) sum += columns[c][question];
      means[c].push_back(sum / static_cast<double>(questions));
    }
  }
  std::vector<Interval> intervals;
  for (std::vector<double>& column : means) {
    std::ranges::sort(column);
    intervals.push_back({.low = Percentile(column, 0.025), .high = Percentile(column, 0.975)});
  }
  return intervals;
}

}  // namespace onepass
