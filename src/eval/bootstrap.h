// How far a mean over questions would move with another draw of questions: percentile bootstrap.
// Pure functions; knows no metric.
#pragma once

#include <span>
#include <vector>

namespace onepass {

struct Interval {
  double low = 0;
  double high = 0;

  bool operator==(const Interval&) const = default;
};

inline constexpr int kBootstrapResamples = 2000;

// columns[c][q]: a value of question q, such as its score's mean over the seeds, so that a question
// that is drawn brings all its seeds. The middle 95% of each column's mean over the resamples, each
// of which draws as many questions as there are, with replacement, from a fixed seed. All columns
// share the draws, so that the interval of a difference is the column of differences: paired.
// Percentiles between two means are interpolated linearly. REQUIRES: columns of one length >= 1.
std::vector<Interval> BootstrapIntervals(std::span<const std::vector<double>> columns);

}  // namespace onepass
