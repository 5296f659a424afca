#include "eval/bootstrap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/quantile.h"
#include "core/rng.h"

namespace onepass {
namespace {

// Plainly, from single scores and another generator: draws questions, takes all seeds of each.
Interval PlainInterval(const std::vector<std::vector<double>>& scores_by_seed) {
  uint64_t state = 99;
  const size_t n = scores_by_seed[0].size();
  std::vector<double> means;
  for (int resample = 0; resample < 20000; ++resample) {
    double sum = 0;
    for (size_t draw = 0; draw < n; ++draw) {
      const size_t question = SplitMix64(state) % n;
      for (const std::vector<double>& scores : scores_by_seed) sum += scores[question];
    }
    means.push_back(sum / static_cast<double>(n * scores_by_seed.size()));
  }
  std::sort(means.begin(), means.end());
  return {means[500], means[19499]};
}

std::vector<double> MeanOverSeeds(const std::vector<std::vector<double>>& scores_by_seed) {
  std::vector<double> means(scores_by_seed[0].size());
  for (const auto& scores : scores_by_seed) {
    for (size_t q = 0; q < means.size(); ++q) {
      means[q] += scores[q] / static_cast<double>(scores_by_seed.size());
    }
  }
  return means;
}

// Seeds that mostly agree on a question: were they drawn apart, intervals would be narrower.
std::vector<std::vector<double>> Scores(uint64_t seed, double right) {
  Rng rng(seed);
  std::vector<std::vector<double>> scores(3, std::vector<double>(200));
  for (size_t q = 0; q < 200; ++q) {
    const double question = rng.Chance(right) ? 100 : 0;
    for (auto& of_seed : scores) of_seed[q] = rng.Chance(0.1) ? 100 - question : question;
  }
  return scores;
}

TEST(Quantile, LiesBetweenTwoValuesInProportion) {
  const std::vector<double> sorted = {1, 2, 4, 8};
  EXPECT_EQ(QuantileOf(sorted, 0), 1);
  EXPECT_EQ(QuantileOf(sorted, 0.5), 3);
  EXPECT_EQ(QuantileOf(sorted, 0.75), 5);
  EXPECT_EQ(QuantileOf(sorted, 1), 8);
  EXPECT_EQ(QuantileOf({7}, 0.9), 7);
}

TEST(Bootstrap, AgreesWithAPlainComputation) {
  for (const uint64_t seed : {1, 2, 3}) {
    const auto scores = Scores(seed, 0.7);
    const std::vector<std::vector<double>> columns = {MeanOverSeeds(scores)};
    const Interval found = BootstrapIntervals(columns)[0];
    const Interval plain = PlainInterval(scores);
    // Of 2,000 resamples an interval's end has a standard error of about 0.15 points here.
    EXPECT_NEAR(found.low, plain.low, 0.7) << seed;
    EXPECT_NEAR(found.high, plain.high, 0.7) << seed;
  }
}

TEST(Bootstrap, OfASingleSeedIsTheNormalIntervalOfManyQuestions) {
  std::vector<std::vector<double>> columns(1, std::vector<double>(1000));
  for (size_t q = 0; q < 600; ++q) columns[0][q] = 100;
  const Interval found = BootstrapIntervals(columns)[0];
  const double half = 1.96 * 100 * std::sqrt(0.6 * 0.4 / 1000);
  EXPECT_NEAR(found.low, 60 - half, 0.4);
  EXPECT_NEAR(found.high, 60 + half, 0.4);
}

TEST(Bootstrap, DifferencesArePaired) {
  const auto a = MeanOverSeeds(Scores(1, 0.7));
  // 5 points more on every question: certain, however uncertain each of the two is.
  std::vector<double> b = a;
  std::vector<double> difference(a.size(), 5);
  for (double& value : b) value += 5;
  const std::vector<std::vector<double>> columns = {a, b, difference};
  const std::vector<Interval> found = BootstrapIntervals(columns);
  EXPECT_NEAR(found[1].low - found[0].low, 5, 1e-9);
  EXPECT_NEAR(found[1].high - found[0].high, 5, 1e-9);
  EXPECT_EQ(found[2], (Interval{5, 5}));
}

TEST(Bootstrap, HasNoWidthWhereNothingCanChange) {
  const std::vector<std::vector<double>> all_right = {std::vector<double>(50, 100.0)};
  EXPECT_EQ(BootstrapIntervals(all_right)[0], (Interval{100, 100}));
  const std::vector<std::vector<double>> one_question = {{100.0}, {0.0}, {-100.0}};
  const std::vector<Interval> found = BootstrapIntervals(one_question);
  EXPECT_EQ(found[0], (Interval{100, 100}));
  EXPECT_EQ(found[1], (Interval{0, 0}));
  EXPECT_EQ(found[2], (Interval{-100, -100}));
  EXPECT_TRUE(BootstrapIntervals({}).empty());
}

TEST(Bootstrap, SameValuesSameIntervals) {
  const std::vector<std::vector<double>> columns = {MeanOverSeeds(Scores(4, 0.5))};
  EXPECT_EQ(BootstrapIntervals(columns), BootstrapIntervals(columns));
}

}  // namespace
}  // namespace onepass
