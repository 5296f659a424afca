// Row-wise ops of the CPU backend against the oracle at odd sizes, strides and addresses, on every
// instruction set.
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <string>

#include "kernels/cpu/rows.h"
#include "kernels/instruction_sets_for_test.h"
#include "kernels/registry.h"
#include "kernels/testing.h"

namespace onepass {
namespace {

using testing::Block;
using testing::CpuOps;
using testing::RelativeError;
using testing::SameBits;

constexpr uint64_t kSeed = 777;
constexpr int64_t kSizes[] = {1, 3, 7, 16, 17, 33, 100, 257, 1500};
constexpr int64_t kRows[] = {0, 1, 3, 40};

class CpuRows : public testing::OnInstructionSet {
 protected:
  // Calls body(T, C) for many shapes.
  template <class Body>
  void ForShapes(const Body& body) {
    for (int64_t t : kRows) {
      for (int64_t c : kSizes) {
        SCOPED_TRACE("T=" + std::to_string(t) + " C=" + std::to_string(c) +
                     " seed=" + std::to_string(kSeed));
        body(t, c);
      }
    }
  }
  Block<float> Random(int64_t t, int64_t c, double deviation = 1) {
    return Block<float>(t, c, rng.UniformInt(0, 3), rng.UniformInt(0, 5)).Fill(rng, deviation);
  }

  Rng rng{kSeed};
  std::unique_ptr<Ops<float>> cpu = CpuOps(2);
  std::unique_ptr<Ops<float>> ref = MakeRefOpsFloat();
};

TEST_P(CpuRows, RmsNormEqualsReference) {
  ForShapes([&](int64_t t, int64_t c) {
    const auto x = Random(t, c);
    const auto weight = Random(1, c);
    const auto dy = Random(t, c);
    Block<float> y(t, c, 1, 1), y_ref(t, c), r(1, t), r_ref(1, t);
    cpu->RmsNorm(x.view(), weight.span(), 1e-5, y.view(), r.span());
    ref->RmsNorm(x.view(), weight.span(), 1e-5, y_ref.view(), r_ref.span());
    EXPECT_LT(RelativeError(y.view(), y_ref.view()), 2e-6);
    EXPECT_LT(RelativeError(r.view(), r_ref.view()), 1e-6);
    auto dx = Random(t, c);
    auto dx_ref = dx.As<float>();
    cpu->RmsNormBackward(x.view(), weight.span(), r.span(), dy.view(), dx.view());
    ref->RmsNormBackward(x.view(), weight.span(), r.span(), dy.view(), dx_ref.view());
    EXPECT_LT(RelativeError(dx.view(), dx_ref.view()), 2e-6);
  });
}

TEST_P(CpuRows, RopeEqualsReferenceAndItsInverseUndoesIt) {
  for (int64_t head_dim : {2, 6, 8, 32, 64, 80, 128}) {
    for (int64_t heads : {1, 3}) {
      SCOPED_TRACE(std::to_string(head_dim) + " seed=" + std::to_string(kSeed));
      std::vector<double> frequencies(head_dim / 2);
      for (int64_t i = 0; i < head_dim / 2; ++i) {
        frequencies[i] =
            std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
      }
      const RopeTable table{frequencies};
      std::vector<int64_t> positions = {0, 1, 5, 1000, 131071, 3};
      auto x = Random(6, heads * head_dim);
      const auto before = x.As<float>();
      auto x_ref = x.As<float>();
      cpu->Rope(x.view(), positions, table, false);
      ref->Rope(x_ref.view(), positions, table, false);
      EXPECT_LT(RelativeError(x.view(), x_ref.view()), 1e-6);
      EXPECT_GT(RelativeError(x.view(), before.view()), 1e-2);
      cpu->Rope(x.view(), positions, table, true);
      EXPECT_LT(RelativeError(x.view(), before.view()), 1e-6);
      // Other positions at once: nothing of the last call may stick.
      positions[2] = 6;
      cpu->Rope(x.view(), positions, table, false);
      x_ref = before.As<float>();
      ref->Rope(x_ref.view(), positions, table, false);
      EXPECT_LT(RelativeError(x.view(), x_ref.view()), 1e-6);
    }
  }
}

TEST_P(CpuRows, SwiGluEqualsReference) {
  ForShapes([&](int64_t t, int64_t c) {
    const auto gate = Random(t, c, 4);
    const auto up = Random(t, c);
    const auto dy = Random(t, c);
    Block<float> y(t, c, 1, 3), y_ref(t, c);
    cpu->SwiGlu(gate.view(), up.view(), y.view());
    ref->SwiGlu(gate.view(), up.view(), y_ref.view());
    EXPECT_LT(RelativeError(y.view(), y_ref.view()), 1e-6);
    auto in_place = gate.As<float>();
    cpu->SwiGlu(in_place.view(), up.view(), in_place.view());
    EXPECT_TRUE(SameBits(in_place.view(), y.view()));
    auto dgate = Random(t, c);
    auto dup = Random(t, c);
    Block<float> dgate_ref(t, c), dup_ref(t, c);
    cpu->SwiGluBackward(gate.view(), up.view(), dy.view(), dgate.view(), dup.view());
    ref->SwiGluBackward(gate.view(), up.view(), dy.view(), dgate_ref.view(), dup_ref.view());
    EXPECT_LT(RelativeError(dgate.view(), dgate_ref.view()), 1e-6);
    EXPECT_LT(RelativeError(dup.view(), dup_ref.view()), 1e-6);
  });
}

TEST_P(CpuRows, SoftmaxCrossEntropyEqualsReference) {
  ForShapes([&](int64_t t, int64_t v) {
    auto logits = Random(t, v, 6);
    auto logits_ref = logits.As<float>();
    std::vector<int32_t> targets(t);
    std::vector<float> scale(t), loss(t), loss_ref(t);
    for (int64_t i = 0; i < t; ++i) {
      targets[i] = static_cast<int32_t>(rng.UniformInt(0, v - 1));
      scale[i] = static_cast<float>(rng.UniformDouble());
    }
    cpu->SoftmaxCrossEntropy(logits.view(), targets, scale, loss);
    ref->SoftmaxCrossEntropy(logits_ref.view(), targets, scale, loss_ref);
    EXPECT_LT(RelativeError(logits.view(), logits_ref.view()), 1e-6);
    for (int64_t i = 0; i < t; ++i) EXPECT_NEAR(loss[i], loss_ref[i], 1e-5);
  });
}

TEST_P(CpuRows, ExponentialIsWithinTwoUlps) {
  std::vector<float> x, y;
  for (double v = -87.2; v < 88.2; v += 0.00037) x.push_back(static_cast<float>(v));
  y.resize(x.size());
  BestRowOps().exp(x.data(), y.data(), static_cast<int64_t>(x.size()));
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    const double ulp =
        std::nextafter(static_cast<float>(exact), INFINITY) - static_cast<float>(exact);
    worst = std::max(worst, std::abs(y[i] - exact) / ulp);
  }
  EXPECT_LT(worst, 2);
  const float edges[] = {0, -INFINITY, -1000, -88, 1000};
  float out[5];
  BestRowOps().exp(edges, out, 5);
  EXPECT_EQ(out[0], 1);
  EXPECT_EQ(out[1], 0);
  EXPECT_EQ(out[2], 0);
  EXPECT_EQ(out[3], 0);
  EXPECT_TRUE(std::isfinite(out[4]));
}

// A run that diverges must be seen to.
TEST_P(CpuRows, NotANumberStaysNotANumber) {
  const float in[] = {NAN, 1};
  float out[2];
  BestRowOps().exp(in, out, 2);
  EXPECT_TRUE(std::isnan(out[0]));
  EXPECT_FALSE(std::isnan(out[1]));
  for (int64_t at : {0, 5, 39}) {
    auto logits = Random(1, 40);
    logits.view()(0, at) = NAN;
    const std::vector<int32_t> targets = {17};
    const std::vector<float> scale = {1};
    std::vector<float> loss(1);
    cpu->SoftmaxCrossEntropy(logits.view(), targets, scale, loss);
    EXPECT_TRUE(std::isnan(loss[0])) << at;
  }
}

TEST_P(CpuRows, ThreadsChangeNoBit) {
  constexpr int64_t kT = 200, kC = 300;
  const auto x = Random(kT, kC);
  const auto up = Random(kT, kC);
  const auto dy = Random(kT, kC);
  const auto weight = Random(1, kC);
  const auto positions = [] {
    std::vector<int64_t> all(kT);
    std::iota(all.begin(), all.end(), 3);
    return all;
  }();
  const std::vector<double> frequencies(kC / 10, 0.3);  // five heads
  const RopeTable table{frequencies};
  const std::vector<int32_t> targets(kT, 7);
  const std::vector<float> scale(kT, 0.5f);
  const auto run = [&](int threads) {
    const auto ops = CpuOps(threads);
    std::map<std::string, Block<float>> found;
    const auto start = [&](const std::string& name, Block<float> from) -> Block<float>& {
      return found[name] = std::move(from);
    };
    auto& inv_rms = start("inverse RMS", {1, kT});
    ops->RmsNorm(x.view(), weight.span(), 1e-5, start("RmsNorm", {kT, kC}).view(), inv_rms.span());
    ops->RmsNormBackward(x.view(), weight.span(), inv_rms.span(), dy.view(),
                         start("RmsNormBackward", up).view());
    ops->Rope(start("Rope", x).view(), positions, table, false);
    ops->Rope(start("inverse Rope", x).view(), positions, table, true);
    ops->SwiGlu(x.view(), up.view(), start("SwiGlu", {kT, kC}).view());
    ops->SwiGluBackward(x.view(), up.view(), dy.view(), start("dgate", {kT, kC}).view(),
                        start("dup", {kT, kC}).view());
    ops->SoftmaxCrossEntropy(start("dlogits", x).view(), targets, scale,
                             start("losses", {1, kT}).span());
    return found;
  };
  const auto alone = run(1);
  for (int threads : {2, 3, 4}) {
    for (const auto& [name, block] : run(threads)) {
      EXPECT_TRUE(SameBits(block.view(), alone.at(name).view())) << name << ", " << threads;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EachInstructionSet, CpuRows, testing::InstructionSets(),
                         testing::NameOfSet);

}  // namespace
}  // namespace onepass
