#include "train/adam.h"

#include <gtest/gtest.h>

#include <cmath>

namespace onepass {
namespace {

constexpr auto kLinear = LearningRateSchedule::kLinear;

TEST(Adam, FollowsTheAlgorithmOfThePaper) {
  // Two steps by hand: g = 0.5, then -0.25; beta1 = 0.9, beta2 = 0.99, epsilon = 1e-8.
  Adam adam({.beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8}, 1, 1);
  Buffer<float> parameter(1, 1);
  Buffer<float> gradient(1, 1);
  parameter.data()[0] = 1;
  gradient.data()[0] = 0.5F;
  adam.Step(0.1, std::as_const(gradient).view(), parameter.view());
  EXPECT_NEAR(parameter.data()[0], 0.9, 1e-6);  // the first update is the sign of g
  gradient.data()[0] = -0.25F;
  adam.Step(0.1, std::as_const(gradient).view(), parameter.view());
  const double m = (0.9 * 0.05 + 0.1 * -0.25) / (1 - 0.81);
  const double v = (0.99 * 0.0025 + 0.01 * 0.0625) / (1 - 0.9801);
  EXPECT_NEAR(parameter.data()[0], 0.9 - 0.1 * m / std::sqrt(v), 1e-6);
  EXPECT_EQ(adam.step_count(), 2);
}

TEST(Adam, WeightDecayIsDecoupled) {
  Adam adam({.weight_decay = 0.1}, 1, 1);
  Buffer<float> parameter(1, 1);
  Buffer<float> gradient(1, 1);
  parameter.data()[0] = 2;
  adam.Step(0.5, std::as_const(gradient).view(), parameter.view());
  EXPECT_NEAR(parameter.data()[0], 2 - 0.5 * 0.1 * 2, 1e-6);
}

TEST(Adam, RestoredItGoesOnBitForBit) {
  Adam one({}, 2, 3);
  Buffer<float> p(2, 3);
  Buffer<float> g(2, 3);
  for (int i = 0; i < 6; ++i) g.data()[i] = static_cast<float>(i) - 2.3F;
  one.Step(0.01, std::as_const(g).view(), p.view());
  Adam other({}, 2, 3);
  other.Restore(one.step_count(), one.first_moment().view(), one.second_moment().view());
  Buffer<float> q = p.Copy();
  one.Step(0.01, std::as_const(g).view(), p.view());
  other.Step(0.01, std::as_const(g).view(), q.view());
  for (int i = 0; i < 6; ++i) EXPECT_EQ(p.data()[i], q.data()[i]);
}

TEST(Gradient, ClippingScalesOnlyWhatIsTooLong) {
  Buffer<float> g(1, 2);
  g.data()[0] = 3;
  g.data()[1] = 4;
  const double norm = GradientNorm(std::as_const(g).view());
  EXPECT_DOUBLE_EQ(norm, 5);
  ClipGradient(norm, 10, g.view());
  ClipGradient(norm, 0, g.view());
  EXPECT_EQ(g.data()[0], 3);
  ClipGradient(norm, 1, g.view());
  EXPECT_NEAR(g.data()[0], 0.6, 1e-6);
  EXPECT_NEAR(g.data()[1], 0.8, 1e-6);
}

TEST(LearningRate, RisesLinearlyThenFallsToZero) {
  // 100 steps, 10 of them warm-up.
  EXPECT_DOUBLE_EQ(LearningRateAt(kLinear, 2, 0.1, 0, 100), 0.2);
  EXPECT_DOUBLE_EQ(LearningRateAt(kLinear, 2, 0.1, 9, 100), 2);
  EXPECT_DOUBLE_EQ(LearningRateAt(kLinear, 2, 0.1, 10, 100), 2);
  EXPECT_DOUBLE_EQ(LearningRateAt(kLinear, 2, 0.1, 55, 100), 1);
  EXPECT_GT(LearningRateAt(kLinear, 2, 0.1, 99, 100), 0);
  EXPECT_DOUBLE_EQ(LearningRateAt(kLinear, 2, 0.1, 100, 100), 0);
}

TEST(LearningRate, IsPositiveAtEveryStepOfShortRuns) {
  for (int64_t total = 1; total < 8; ++total) {
    for (int64_t step = 0; step < total; ++step) {
      for (double ratio : {0.0, 0.03, 0.99}) {
        const double rate = LearningRateAt(kLinear, 1, ratio, step, total);
        EXPECT_GT(rate, 0) << step << " of " << total;
        EXPECT_LE(rate, 1) << step << " of " << total;
      }
    }
  }
  EXPECT_EQ(LearningRateAt(LearningRateSchedule::kConstant, 1, 0, 6, 7), 1);
}

}  // namespace
}  // namespace onepass
