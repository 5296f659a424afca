#include "eval/bootstrap.h"

#include <algorithm>
#include <cstdint>

#include "core/check.h"
#include "core/quantile.h"
#include "core/rng.h"

namespace onepass {
namespace {

constexpr uint64_t kSeed = 2718281828;

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
    intervals.push_back({.low = QuantileOf(column, 0.025), .high = QuantileOf(column, 0.975)});
  }
  return intervals;
}

}  // namespace onepass
