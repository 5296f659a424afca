// Products of the CPU backend against the oracle, and the two promises of its tile: no bit of a row
// depends on the batch or on the number of threads.
#include <gtest/gtest.h>

#include <string>

#include "kernels/registry.h"
#include "kernels/testing.h"

namespace onepass {
namespace {

using testing::Block;
using testing::RelativeError;
using testing::SameBits;
using testing::StoredWeight;

constexpr uint64_t kSeed = 20240611;

std::unique_ptr<Ops<float>> Cpu(int threads) {
  return std::move(MakeOps("cpu", {.thread_count = threads})).value();
}

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
    cases.push_back({1100, 33, 40, dtype});
  }
  return cases;
}

TEST(CpuMatMul, EqualsReference) {
  Rng rng(kSeed);
  auto cpu = Cpu(2);
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

TEST(CpuMatMul, BackwardEqualsReferenceFromTheSamePackedWeight) {
  Rng rng(kSeed + 1);
  auto cpu = Cpu(2);
  auto ref = MakeRefOpsFloat();
  for (const MatMulCase& c : Cases()) {
    SCOPED_TRACE(Describe(c));
    const StoredWeight stored(c.n, c.k, c.dtype, rng);
    const auto w = std::move(cpu->Prepare(stored.tensor())).value();
    const auto w_ref = std::move(ref->Prepare(stored.tensor())).value();
    auto dy = Block<float>(c.t, c.n, 2, 1).Fill(rng);
    auto dx = Block<float>(c.t, c.k, 1, 2).Fill(rng);
    auto dx_ref = dx.As<float>();
    cpu->MatMulBackward(dy.view(), *w, dx.view());
    ref->MatMulBackward(dy.view(), *w_ref, dx_ref.view());
    EXPECT_LT(RelativeError(dx.view(), dx_ref.view()), 2e-6);
  }
}

TEST(CpuMatMul, ARowIsTheSameToTheBitAloneAndInAnyBatch) {
  Rng rng(kSeed + 2);
  auto cpu = Cpu(2);
  for (DType dtype : {DType::kF32, DType::kBF16}) {
    const StoredWeight stored(100, 700, dtype, rng);
    const auto w = std::move(cpu->Prepare(stored.tensor())).value();
    auto x = Block<float>(290, 700).Fill(rng);
    auto dy = Block<float>(290, 100).Fill(rng);
    Block<float> whole(290, 100);
    cpu->MatMul(x.view(), *w, {}, whole.view(), false);
    Block<float> whole_back(290, 700);
    cpu->MatMulBackward(dy.view(), *w, whole_back.view());
    for (int64_t count : {1, 2, 3, 5, 7, 12, 25, 100}) {
      for (int64_t begin : {0, 1, 37, 190}) {
        SCOPED_TRACE(std::to_string(begin) + "+" + std::to_string(count));
        Block<float> part(count, 100);
        cpu->MatMul(x.view().Rows(begin, count), *w, {}, part.view(), false);
        EXPECT_TRUE(SameBits(part.view(), whole.view().Rows(begin, count)));
        Block<float> part_back(count, 700);
        cpu->MatMulBackward(dy.view().Rows(begin, count), *w, part_back.view());
        EXPECT_TRUE(SameBits(part_back.view(), whole_back.view().Rows(begin, count)));
      }
    }
  }
}

TEST(CpuMatMul, ThreadsChangeNoBit) {
  Rng rng(kSeed + 3);
  const StoredWeight stored(257, 300, DType::kBF16, rng);
  for (int64_t t : {1, 5, 333}) {
    auto x = Block<float>(t, 300).Fill(rng);
    auto dy = Block<float>(t, 257).Fill(rng);
    Block<float> y1(t, 257);
    Block<float> dx1(t, 300);
    for (int threads : {1, 2, 4}) {
      auto cpu = Cpu(threads);
      const auto w = std::move(cpu->Prepare(stored.tensor())).value();
      Block<float> y(t, 257);
      Block<float> dx(t, 300);
      cpu->MatMul(x.view(), *w, {}, y.view(), false);
      cpu->MatMulBackward(dy.view(), *w, dx.view());
      if (threads == 1) {
        y1 = y;
        dx1 = dx;
      }
      EXPECT_TRUE(SameBits(y.view(), y1.view())) << threads;
      EXPECT_TRUE(SameBits(dx.view(), dx1.view())) << threads;
    }
  }
}

TEST(CpuMatMul, PaddingOutsideTheViewStaysUntouched) {
  Rng rng(kSeed + 4);
  auto cpu = Cpu(2);
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

TEST(CpuMatMul, RefusesOtherTypesNamingThem) {
  auto cpu = Cpu(1);
  Rng rng(kSeed);
  const StoredWeight stored(2, 2, DType::kF64, rng);
  const auto result = cpu->Prepare(stored.tensor());
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), StatusCode::kUnsupported);
  EXPECT_NE(result.status().message().find("F64"), std::string::npos);
}

}  // namespace
}  // namespace onepass
