// Products of the CPU backend against the oracle, and the two promises of its tile: no bit of a row
// depends on the batch or on the number of threads. On every instruction set.
#include <gtest/gtest.h>

#include <string>

#include "kernels/instruction_sets_for_test.h"
#include "kernels/registry.h"
#include "kernels/testing.h"

namespace onepass {
namespace {

using testing::BackwardErrors;
using testing::Block;
using testing::CpuOps;
using testing::RelativeError;
using testing::SameBits;
using testing::StoredBlocks;
using testing::StoredWeight;

constexpr uint64_t kSeed = 20240611;

struct MatMulCase {
  int64_t t;
  int64_t n;
  int64_t k;
  DType dtype;
};

std::string Describe(const MatMulCase& c) {
  return "T=" + std::to_string(c.t) + " N=" + std::to_string(c.n) + " K=" + std::to_string(c.k) +
         " " + std::string(NameOf(c.dtype)) + " seed=" + std::to_string(kSeed);
}

std::vector<MatMulCase> Cases() {
  std::vector<MatMulCase> cases;
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (int64_t t : {0, 1, 2, 3, 4, 7, 12, 13, 17, 33, 100}) {
      cases.push_back({t, 33, 17, dtype});
      cases.push_back({t, 64, 257, dtype});
    }
    for (int64_t n : {1, 3, 7, 31, 32, 100, 257}) {
      for (int64_t k : {1, 3, 33, 256, 600}) cases.push_back({13, n, k, dtype});
    }
    cases.push_back({300, 70, 100, dtype});
    cases.push_back({3, 0, 17, dtype});
    cases.push_back({1100, 33, 40, dtype});
  }
  return cases;
}

class CpuMatMul : public testing::OnInstructionSet {};

TEST_P(CpuMatMul, EqualsReference) {
  Rng rng(kSeed);
  auto cpu = CpuOps(2);
  auto ref = MakeRefOpsFloat();
  for (const MatMulCase& c : Cases()) {
    SCOPED_TRACE(Describe(c));
    const StoredWeight stored(c.n, c.k, c.dtype, rng);
    const auto w = std::move(cpu->Prepare(stored.tensor())).value();
    const auto w_ref = std::move(ref->Prepare(stored.tensor())).value();
    EXPECT_EQ(w->rows(), c.n);
    EXPECT_EQ(w->cols(), c.k);
    auto x = Block<float>(c.t, c.k, 5, 3).Fill(rng);
    auto bias = Block<float>(1, c.n).Fill(rng);
    for (bool accumulate : {false, true}) {
      for (bool with_bias : {false, true}) {
        auto y = Block<float>(c.t, c.n, 3, 1).Fill(rng);
        auto y_ref = y.As<float>();
        const std::span<const float> b = with_bias ? bias.span() : std::span<float>();
        cpu->MatMul(x.view(), *w, b, y.view(), accumulate);
        ref->MatMul(x.view(), *w_ref, b, y_ref.view(), accumulate);
        EXPECT_LT(RelativeError(y.view(), y_ref.view()), 2e-6);
      }
    }
  }
}

TEST_P(CpuMatMul, BackwardEqualsReferenceFromTheSamePackedWeight) {
  Rng rng(kSeed + 1);
  auto cpu = CpuOps(2);
  auto ref = MakeRefOpsFloat();
  for (const MatMulCase& c : Cases()) {
    SCOPED_TRACE(Describe(c));
    const StoredWeight stored(c.n, c.k, c.dtype, rng);
    const auto w = std::move(cpu->Prepare(stored.tensor())).value();
    const auto w_ref = std::move(ref->Prepare(stored.tensor())).value();
    for (double error : BackwardErrors(*cpu, *w, *ref, *w_ref, c.t, rng)) EXPECT_LT(error, 2e-6);
  }
}

TEST_P(CpuMatMul, ARowIsTheSameToTheBitAloneAndInAnyBatch) {
  Rng rng(kSeed + 2);
  auto cpu = CpuOps(2);
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    const StoredWeight stored(100, 700, dtype, rng);
    const auto w = std::move(cpu->Prepare(stored.tensor())).value();
    auto x = Block<float>(290, 700).Fill(rng);
    auto dy = Block<float>(290, 100).Fill(rng);
    Block<float> whole(290, 100);
    cpu->MatMul(x.view(), *w, {}, whole.view(), false);
    Block<float> whole_back(290, 700);
    cpu->MatMulBackward(dy.view(), *w, whole_back.view(), true);
    for (int64_t count : {1, 2, 3, 5, 7, 12, 25, 100}) {
      for (int64_t begin : {0, 1, 37, 190}) {
        SCOPED_TRACE(std::to_string(begin) + "+" + std::to_string(count));
        Block<float> part(count, 100);
        cpu->MatMul(x.view().Rows(begin, count), *w, {}, part.view(), false);
        EXPECT_TRUE(SameBits(part.view(), whole.view().Rows(begin, count)));
        Block<float> part_back(count, 700);
        cpu->MatMulBackward(dy.view().Rows(begin, count), *w, part_back.view(), true);
        EXPECT_TRUE(SameBits(part_back.view(), whole_back.view().Rows(begin, count)));
      }
    }
  }
}

// Weights of all kinds beside each other, the rows plain, normed and gated.
TEST_P(CpuMatMul, SeveralProductsOfRowsMadeOnTheWayAreThoseOfOneByOneToTheBit) {
  Rng rng(kSeed + 5);
  constexpr int64_t kDepth = 512;
  auto cpu = CpuOps(2);
  auto ref = MakeRefOpsFloat();
  const StoredWeight bf16(70, kDepth, DType::kBF16, rng);
  const StoredWeight f32(33, kDepth, DType::kF32, rng);
  const StoredWeight f16(50, kDepth, DType::kF16, rng);
  const StoredBlocks q8(40, kDepth, BlockType::kQ8_0, rng);
  const StoredBlocks q4(96, kDepth, BlockType::kQ4_0, rng);
  const StoredBlocks q4_k(64, kDepth, BlockType::kQ4_K, rng);
  const StoredBlocks q6_k(45, kDepth, BlockType::kQ6_K, rng);
  const StoredBlocks more_q6_k(70, kDepth, BlockType::kQ6_K, rng);
  const auto prepare = [&](Ops<float>& ops) {
    std::vector<std::unique_ptr<const PreparedWeight>> weights;
    weights.push_back(std::move(ops.Prepare(bf16.tensor())).value());
    weights.push_back(std::move(ops.Prepare(f32.tensor())).value());
    weights.push_back(std::move(ops.Prepare(f16.tensor())).value());
    weights.push_back(std::move(ops.Prepare(q8.tensor())).value());
    weights.push_back(std::move(ops.Prepare(q4.tensor())).value());
    weights.push_back(std::move(ops.Prepare(q4_k.tensor())).value());
    weights.push_back(std::move(ops.Prepare(q6_k.tensor())).value());
    weights.push_back(std::move(ops.Prepare(more_q6_k.tensor())).value());
    return weights;
  };
  const auto weights = prepare(*cpu);
  const auto weights_ref = prepare(*ref);
  const auto norm_weight = Block<float>(1, kDepth).Fill(rng);
  for (const int64_t t : {1, 3, 270}) {
    for (const std::string kind : {"plain", "norm", "gate"}) {
      SCOPED_TRACE(kind + " T=" + std::to_string(t) + " seed=" + std::to_string(kSeed + 5));
      const auto x = Block<float>(t, kDepth, 5, 3).Fill(rng);
      const auto up = Block<float>(t, kDepth, 1, 2).Fill(rng);
      Block<float> inv_rms(1, t);
      Block<float> made(t, kDepth);
      Block<float> inv_rms_made(1, t);
      MatMulInput<float> input{.x = x.view()};
      if (kind == "norm") {
        input.norm_weight = norm_weight.span();
        input.norm_eps = 1e-5;
        input.inv_rms = inv_rms.span();
        cpu->RmsNorm(x.view(), norm_weight.span(), 1e-5, made.view(), inv_rms_made.span());
      } else if (kind == "gate") {
        input.up = up.view();
        cpu->SwiGlu(x.view(), up.view(), made.view());
      } else {
        made = x.As<float>();
      }
      std::vector<Block<float>> y;
      std::vector<Block<float>> y_ref;
      for (const auto& w : weights) y.push_back(Block<float>(t, w->rows(), 3, 1).Fill(rng));
      for (const Block<float>& block : y) y_ref.push_back(block.As<float>());
      const auto one_by_one = [&] {
        std::vector<Block<float>> copy = y;
        for (size_t i = 0; i < copy.size(); ++i) {
          cpu->MatMul(made.view(), *weights[i], {}, copy[i].view(), i % 2 == 1);
        }
        return copy;
      }();
      const auto outputs = [&](const auto& of, std::vector<Block<float>>& to) {
        std::vector<MatMulOutput<float>> all;
        for (size_t i = 0; i < of.size(); ++i) {
          all.push_back({of[i].get(), {}, to[i].view(), /*accumulate=*/i % 2 == 1});
        }
        return all;
      };
      cpu->MatMuls(input, outputs(weights, y));
      if (kind == "norm") {
        EXPECT_TRUE(SameBits(inv_rms.view(), inv_rms_made.view()));
      }
      ref->MatMuls(input, outputs(weights_ref, y_ref));
      for (size_t i = 0; i < y.size(); ++i) {
        SCOPED_TRACE(i);
        EXPECT_TRUE(SameBits(y[i].view(), one_by_one[i].view()));
        // Rows for quantised weights are rounded to 8 bits; Q4_K's minima cancel a part of what
        // they touch.
        const double tolerance = i < 3 ? 2e-6 : i == 5 ? 0.03 : 0.02;
        EXPECT_LT(RelativeError(y[i].view(), y_ref[i].view()), tolerance);
      }
    }
  }
}

TEST_P(CpuMatMul, ThreadsChangeNoBit) {
  Rng rng(kSeed + 3);
  for (const auto& [t, dtype] : {std::pair<int64_t, DType>{1, DType::kBF16},
                                 {5, DType::kF16},
                                 {333, DType::kBF16},
                                 {1, DType::kF32},
                                 {333, DType::kF32}}) {
    const StoredWeight stored(257, 300, dtype, rng);
    auto x = Block<float>(t, 300).Fill(rng);
    auto dy = Block<float>(t, 257).Fill(rng);
    Block<float> y1(t, 257);
    Block<float> dx1(t, 300);
    for (int threads : {1, 2, 4}) {
      auto cpu = CpuOps(threads);
      const auto w = std::move(cpu->Prepare(stored.tensor())).value();
      Block<float> y(t, 257);
      Block<float> dx(t, 300);
      cpu->MatMul(x.view(), *w, {}, y.view(), false);
      cpu->MatMulBackward(dy.view(), *w, dx.view(), true);
      if (threads == 1) {
        y1 = y;
        dx1 = dx;
      }
      EXPECT_TRUE(SameBits(y.view(), y1.view())) << threads;
      EXPECT_TRUE(SameBits(dx.view(), dx1.view())) << threads;
    }
  }
}

TEST_P(CpuMatMul, PaddingOutsideTheViewStaysUntouched) {
  Rng rng(kSeed + 4);
  auto cpu = CpuOps(2);
  const StoredWeight stored(37, 29, DType::kF32, rng);
  const auto w = std::move(cpu->Prepare(stored.tensor())).value();
  auto x = Block<float>(15, 29).Fill(rng);
  Block<float> wide(15, 60);
  cpu->MatMul(x.view(), *w, {}, wide.view().Cols(11, 37), false);
  for (int64_t r = 0; r < 15; ++r) {
    for (int64_t c = 0; c < 60; ++c) {
      if (c < 11 || c >= 48) {
        EXPECT_EQ(wide.view()(r, c), 0);
      }
    }
  }
}

// A weight of one output whose only element is `bits`, times 1.
float ProductWithHalf(uint16_t bits, Ops<float>& ops) {
  const RawTensor weight{.dtype = DType::kF16,
                         .shape = {1, 1},
                         .bytes = std::as_bytes(std::span<const uint16_t>(&bits, 1))};
  const auto w = std::move(ops.Prepare(weight)).value();
  const float one = 1;
  float y = 0;
  ops.MatMul({&one, 1, 1, 1}, *w, {}, {&y, 1, 1, 1}, false);
  return y;
}

TEST_P(CpuMatMul, HalvesOfEveryKindKeepTheirValue) {
  const auto cpu = CpuOps(1);
  for (int bits = 0; bits < 0x10000; bits += 127) {
    const float value = ToFloat(F16{static_cast<uint16_t>(bits)});
    if (!std::isfinite(value)) continue;
    EXPECT_EQ(ProductWithHalf(static_cast<uint16_t>(bits), *cpu), value) << bits;
  }
  EXPECT_EQ(ProductWithHalf(0x0001, *cpu), ToFloat(F16{0x0001}));
  EXPECT_EQ(ProductWithHalf(0x7BFF, *cpu), 65504.0f);
  EXPECT_EQ(ProductWithHalf(0x7C00, *cpu), INFINITY);
  EXPECT_EQ(ProductWithHalf(0xFC00, *cpu), -INFINITY);
  EXPECT_TRUE(std::isnan(ProductWithHalf(0x7C01, *cpu)));
  EXPECT_TRUE(std::isnan(ProductWithHalf(0xFE00, *cpu)));
}

TEST(CpuMatMul, RefusesOtherTypesNamingThem) {
  auto cpu = CpuOps(1);
  Rng rng(kSeed);
  const StoredWeight stored(2, 2, DType::kF64, rng);
  const auto result = cpu->Prepare(stored.tensor());
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), StatusCode::kUnsupported);
  EXPECT_NE(result.status().message().find("F64"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(EachInstructionSet, CpuMatMul, testing::InstructionSets(),
                         testing::NameOfSet);

}  // namespace
}  // namespace onepass
