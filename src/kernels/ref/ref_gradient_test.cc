// Every backward of the oracle against central finite differences in double. The loss of each test
// is a fixed random weighting of the op's outputs.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "kernels/machine.h"
#include "kernels/registry.h"
#include "kernels/testing.h"

namespace onepass {
namespace {

using testing::Block;
using testing::Keys;
using testing::StoredWeight;

constexpr uint64_t kSeed = 4242;
constexpr double kStep = 1e-5;

double Weighted(View<const double> values, View<const double> weights) {
  double sum = 0;
  for (int64_t r = 0; r < values.rows(); ++r) {
    for (int64_t c = 0; c < values.cols(); ++c) sum += values(r, c) * weights(r, c);
  }
  return sum;
}

// Compares `gradient` with differences of `loss` as each element of `input` moves.
void ExpectGradient(const std::string& what, View<double> input, View<const double> gradient,
                    const std::function<double()>& loss) {
  for (int64_t r = 0; r < input.rows(); ++r) {
    for (int64_t c = 0; c < input.cols(); ++c) {
      const double kept = input(r, c);
      input(r, c) = kept + kStep;
      const double above = loss();
      input(r, c) = kept - kStep;
      const double below = loss();
      input(r, c) = kept;
      const double expected = (above - below) / (2 * kStep);
      ASSERT_NEAR(gradient(r, c), expected, 1e-7 * std::max(1.0, std::abs(expected)))
          << what << " at " << r << ", " << c << " seed=" << kSeed;
    }
  }
}

class RefGradient : public ::testing::Test {
 protected:
  Block<double> Random(int64_t rows, int64_t cols) { return Block<double>(rows, cols).Fill(rng); }

  Rng rng{kSeed};
  std::unique_ptr<Ops<double>> ref = MakeRefOpsDouble();
};

TEST_F(RefGradient, MatMul) {
  const StoredWeight stored(5, 7, DType::kF64, rng);
  const auto w = std::move(ref->Prepare(stored.tensor())).value();
  auto x = Random(3, 7);
  const auto dy = Random(3, 5);
  Block<double> dx(3, 7);
  ref->MatMulBackward(dy.view(), *w, dx.view(), true);
  ExpectGradient("x", x.view(), std::as_const(dx).view(), [&] {
    Block<double> y(3, 5);
    ref->MatMul(std::as_const(x).view(), *w, {}, y.view(), false);
    return Weighted(y.view(), dy.view());
  });
}

TEST_F(RefGradient, RmsNorm) {
  auto x = Random(3, 6);
  const auto weight = Random(1, 6);
  const auto dy = Random(3, 6);
  Block<double> y(3, 6), r(1, 3), dx(3, 6);
  const auto loss = [&] {
    ref->RmsNorm(std::as_const(x).view(), weight.span(), 1e-3, y.view(), r.span());
    return Weighted(y.view(), dy.view());
  };
  loss();
  ref->RmsNormBackward(std::as_const(x).view(), weight.span(), std::as_const(r).span(), dy.view(),
                       dx.view());
  ExpectGradient("x", x.view(), std::as_const(dx).view(), loss);
}

TEST_F(RefGradient, RopeBackwardIsItsInverse) {
  auto x = Random(4, 12);
  const auto dy = Random(4, 12);
  const std::vector<double> frequencies = {1, 0.3, 0.01};
  const std::vector<int64_t> positions = {0, 2, 7, 1000};
  auto dx = dy;
  ref->Rope(dx.view(), positions, {frequencies}, true);
  ExpectGradient("x", x.view(), std::as_const(dx).view(), [&] {
    auto y = x;
    ref->Rope(y.view(), positions, {frequencies}, false);
    return Weighted(y.view(), dy.view());
  });
}

TEST_F(RefGradient, SwiGlu) {
  auto gate = Random(3, 5);
  auto up = Random(3, 5);
  const auto dy = Random(3, 5);
  Block<double> dgate(3, 5), dup(3, 5);
  ref->SwiGluBackward(std::as_const(gate).view(), std::as_const(up).view(), dy.view(), dgate.view(),
                      dup.view());
  const auto loss = [&] {
    Block<double> y(3, 5);
    ref->SwiGlu(std::as_const(gate).view(), std::as_const(up).view(), y.view());
    return Weighted(y.view(), dy.view());
  };
  ExpectGradient("gate", gate.view(), std::as_const(dgate).view(), loss);
  ExpectGradient("up", up.view(), std::as_const(dup).view(), loss);
}

TEST_F(RefGradient, SoftmaxCrossEntropy) {
  auto logits = Random(3, 9);
  const std::vector<int32_t> targets = {0, 8, 4};
  const std::vector<double> scale = {1, 0.25, 2};
  std::vector<double> losses(3);
  auto gradient = logits;
  ref->SoftmaxCrossEntropy(gradient.view(), targets, scale, losses);
  ExpectGradient("logits", logits.view(), std::as_const(gradient).view(), [&] {
    auto scratch = logits;
    ref->SoftmaxCrossEntropy(scratch.view(), targets, scale, losses);
    return losses[0] * scale[0] + losses[1] * scale[1] + losses[2] * scale[2];
  });
}

// Two sequences that share a run, with another run constant; GQA with two heads a KV head.
TEST_F(RefGradient, Attention) {
  const AttentionShape shape{.heads = 4, .kv_heads = 2, .head_dim = 3, .scale = 0.6};
  Keys<double> shared(2, 3, std::vector<int64_t>{3, 2}, rng);
  Keys<double> own_a(2, 3, std::vector<int64_t>{4}, rng);
  Keys<double> own_b(2, 3, std::vector<int64_t>{1, 1}, rng);
  shared.Freeze(1);
  const std::vector<KvRun<double>> runs_a = {shared.run(0), shared.run(1), own_a.run(0)};
  const std::vector<KvRun<double>> runs_b = {shared.run(0), own_b.run(0), own_b.run(1)};
  const std::vector<AttentionSequence<double>> sequences = {{0, 4, runs_a}, {4, 2, runs_b}};
  auto q = Random(6, 12);
  const auto dout = Random(6, 12);
  Block<double> out(6, 12), lse(6, 4), dq(6, 12);
  const auto loss = [&] {
    ref->Attention(std::as_const(q).view(), shape, sequences, out.view(), lse.view());
    return Weighted(out.view(), dout.view());
  };
  loss();
  ref->AttentionBackward(std::as_const(q).view(), shape, sequences, std::as_const(out).view(),
                         std::as_const(lse).view(), dout.view(), dq.view());
  ExpectGradient("q", q.view(), std::as_const(dq).view(), loss);
  for (Keys<double>* keys : {&shared, &own_a, &own_b}) {
    for (int what : {0, 1}) {
      for (int64_t g = 0; g < 2; ++g) {
        for (int64_t j = 0; j < (keys == &shared ? 3 : keys->count()); ++j) {
          for (int64_t e = 0; e < 3; ++e) {
            ExpectGradient(what == 0 ? "k" : "v", View<double>(keys->At(what, g, j, e), 1, 1),
                           View<const double>(keys->At(what + 2, g, j, e), 1, 1), loss);
          }
        }
      }
    }
  }
}

// A later token of the own run changes nothing before it.
TEST_F(RefGradient, AttentionIsCausalAmongOwnTokens) {
  const AttentionShape shape{.heads = 2, .kv_heads = 1, .head_dim = 4, .scale = 0.5};
  Keys<double> keys(1, 4, std::vector<int64_t>{2, 5}, rng);
  const AttentionSequence<double> sequence{0, 5, keys.runs()};
  const auto q = Random(5, 8);
  Block<double> before(5, 8), after(5, 8), lse(5, 2);
  ref->Attention(q.view(), shape, {&sequence, 1}, before.view(), lse.view());
  *keys.At(0, 0, 5, 1) += 1;  // own token 3
  *keys.At(1, 0, 5, 2) += 1;
  ref->Attention(q.view(), shape, {&sequence, 1}, after.view(), lse.view());
  EXPECT_TRUE(testing::SameBits(after.view().Rows(0, 3), before.view().Rows(0, 3)));
  EXPECT_FALSE(testing::SameBits(after.view().Rows(3, 1), before.view().Rows(3, 1)));
  EXPECT_FALSE(testing::SameBits(after.view().Rows(4, 1), before.view().Rows(4, 1)));
}

TEST_F(RefGradient, RunsAreOnlyStorage) {
  const AttentionShape shape{.heads = 2, .kv_heads = 2, .head_dim = 4, .scale = 0.5};
  Keys<double> keys(2, 4, std::vector<int64_t>{40}, rng);
  Keys<double> cut = keys.Recut<double>(std::vector<int64_t>{7, 0, 32, 1});
  const AttentionSequence<double> sequence{0, 11, keys.runs()};
  const AttentionSequence<double> cut_sequence{0, 11, cut.runs()};
  const auto q = Random(11, 8);
  Block<double> out(11, 8), lse(11, 2), cut_out(11, 8), cut_lse(11, 2);
  ref->Attention(q.view(), shape, {&sequence, 1}, out.view(), lse.view());
  ref->Attention(q.view(), shape, {&cut_sequence, 1}, cut_out.view(), cut_lse.view());
  EXPECT_TRUE(testing::SameBits(out.view(), cut_out.view()));
  EXPECT_TRUE(testing::SameBits(lse.view(), cut_lse.view()));
}

TEST(Registry, NamesTheBackendsThatExist) {
  EXPECT_EQ(BackendNames(), (std::vector<std::string>{"ref", "cpu"}));
  for (const std::string& name : BackendNames()) {
    EXPECT_EQ(MakeOps(name, {.thread_count = 1}).value()->name(), name);
  }
  EXPECT_EQ(InstructionSetOf("ref"), "");
  EXPECT_EQ(InstructionSetOf("cpu"), InstructionSetName());
  const auto unknown = MakeOps("gpu", {});
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.status().message(), "backend: want ref or cpu, found \"gpu\"");
}

}  // namespace
}  // namespace onepass
