// Products with weights in 8 to 4 bits: against the plain product of rounded rows, against the
// oracle, and the promises that dense products make: no bit of a row depends on the batch or the
// threads.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "kernels/instruction_sets_for_test.h"
#include "kernels/ref/quantised_product.h"
#include "kernels/registry.h"
#include "kernels/testing.h"

namespace onepass {
namespace {

using testing::BackwardErrors;
using testing::Block;
using testing::CpuOps;
using testing::RelativeError;
using testing::SameBits;
using testing::ScalePlace;
using testing::ScalePlaces;
using testing::StoredBlocks;

constexpr uint64_t kSeed = 20240711;
constexpr BlockType kTypes[] = {BlockType::kQ8_0, BlockType::kQ4_0, BlockType::kQ4_K,
                                BlockType::kQ6_K};

// `cols` in whole blocks.
int64_t WholeBlocks(int64_t cols, BlockType type) {
  const int64_t elements = FormatOf(type).elements;
  return (cols + elements - 1) / elements * elements;
}

std::unique_ptr<const PreparedWeight> Prepared(Ops<float>& ops, const StoredBlocks& stored) {
  return std::move(ops.Prepare(stored.tensor())).value();
}

class QuantisedProducts : public testing::OnInstructionSet {};

struct Shape {
  int64_t t, n, k;
};

std::vector<Shape> Shapes(BlockType type) {
  std::vector<Shape> shapes;
  for (int64_t t : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 31, 100}) {
    shapes.push_back({t, 33, 96});
    shapes.push_back({t, 70, 1056});
  }
  for (int64_t n : {1, 15, 31, 32, 257}) {
    for (int64_t k : {32, 448, 480}) shapes.push_back({11, n, k});
  }
  shapes.push_back({300, 50, 64});
  shapes.push_back({600, 1, 32});
  for (Shape& s : shapes) s.k = WholeBlocks(s.k, type);
  return shapes;
}

std::string Describe(const Shape& s, BlockType type) {
  return "T=" + std::to_string(s.t) + " N=" + std::to_string(s.n) + " K=" + std::to_string(s.k) +
         " " + std::string(FormatOf(type).name) + " seed=" + std::to_string(kSeed);
}

TEST_P(QuantisedProducts, EqualThePlainIntegerProduct) {
  Rng rng(kSeed);
  auto cpu = CpuOps(2);
  for (const BlockType type : kTypes) {
    for (const Shape& s : Shapes(type)) {
      SCOPED_TRACE(Describe(s, type));
      const StoredBlocks stored(s.n, s.k, type, rng);
      const auto w = Prepared(*cpu, stored);
      EXPECT_EQ(w->rows(), s.n);
      EXPECT_EQ(w->cols(), s.k);
      auto x = Block<float>(s.t, s.k, 5, 3).Fill(rng);
      const auto bias = Block<float>(1, s.n).Fill(rng);
      Block<float> product(s.t, s.n);
      QuantisedProduct(x.view(), stored.tensor(), product.view());
      for (bool accumulate : {false, true}) {
        for (bool with_bias : {false, true}) {
          auto y = Block<float>(s.t, s.n, 3, 1).Fill(rng);
          auto want = y.As<float>();
          for (int64_t r = 0; r < s.t; ++r) {
            for (int64_t c = 0; c < s.n; ++c) {
              want.view()(r, c) = (accumulate ? want.view()(r, c) : 0) + product.view()(r, c) +
                                  (with_bias ? bias.view()(0, c) : 0);
            }
          }
          cpu->MatMul(x.view(), *w, with_bias ? bias.span() : std::span<const float>(), y.view(),
                      accumulate);
          EXPECT_LT(RelativeError(y.view(), want.view()), 2e-6);
        }
      }
    }
  }
}

TEST_P(QuantisedProducts, BackwardEqualsTheOracle) {
  Rng rng(kSeed + 1);
  auto cpu = CpuOps(2);
  auto ref = MakeRefOpsFloat();
  for (const BlockType type : kTypes) {
    for (const Shape& s : Shapes(type)) {
      SCOPED_TRACE(Describe(s, type));
      const StoredBlocks stored(s.n, s.k, type, rng);
      const auto w = Prepared(*cpu, stored);
      const auto w_ref = Prepared(*ref, stored);
      for (double error : BackwardErrors(*cpu, *w, *ref, *w_ref, s.t, rng)) EXPECT_LT(error, 2e-6);
    }
  }
}

TEST_P(QuantisedProducts, ARowIsTheSameToTheBitAloneInAnyBatchAndOnAnyThreads) {
  Rng rng(kSeed + 2);
  auto cpu = CpuOps(2);
  for (const BlockType type : kTypes) {
    SCOPED_TRACE(FormatOf(type).name);
    const int64_t cols = WholeBlocks(736, type);
    const StoredBlocks stored(100, cols, type, rng);
    const auto w = Prepared(*cpu, stored);
    auto x = Block<float>(290, cols).Fill(rng);
    auto dy = Block<float>(290, 100).Fill(rng);
    Block<float> whole(290, 100);
    cpu->MatMul(x.view(), *w, {}, whole.view(), false);
    Block<float> whole_back(290, cols);
    cpu->MatMulBackward(dy.view(), *w, whole_back.view(), true);
    for (int64_t count : {1, 2, 3, 5, 7, 12, 13, 25, 100}) {
      for (int64_t begin : {0, 1, 37, 190}) {
        SCOPED_TRACE(std::to_string(begin) + "+" + std::to_string(count));
        Block<float> part(count, 100);
        cpu->MatMul(x.view().Rows(begin, count), *w, {}, part.view(), false);
        EXPECT_TRUE(SameBits(part.view(), whole.view().Rows(begin, count)));
        Block<float> part_back(count, cols);
        cpu->MatMulBackward(dy.view().Rows(begin, count), *w, part_back.view(), true);
        EXPECT_TRUE(SameBits(part_back.view(), whole_back.view().Rows(begin, count)));
      }
    }
    for (int threads : {1, 3, 4}) {
      auto others = CpuOps(threads);
      const auto w_others = Prepared(*others, stored);
      Block<float> y(290, 100);
      Block<float> dx(290, cols);
      others->MatMul(x.view(), *w_others, {}, y.view(), false);
      others->MatMulBackward(dy.view(), *w_others, dx.view(), true);
      EXPECT_TRUE(SameBits(y.view(), whole.view())) << threads;
      EXPECT_TRUE(SameBits(dx.view(), whole_back.view())) << threads;
    }
  }
}

// The largest sums that 32 bits have to hold.
TEST_P(QuantisedProducts, ExtremesAreExact) {
  constexpr int64_t kCols = 512;
  auto cpu = CpuOps(1);
  for (const BlockType type : kTypes) {
    const BlockFormat& format = FormatOf(type);
    for (int byte : {0x00, 0x7F, 0x80, 0x81, 0xFF}) {
      std::vector<std::byte> bytes(static_cast<size_t>(kCols / format.elements * format.bytes),
                                   std::byte(byte));
      const F16 one = ToF16(1);
      for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(format.bytes)) {
        for (const ScalePlace& place : ScalePlaces(type)) {
          std::memcpy(&bytes[at + place.at], &one, sizeof(one));
        }
      }
      const BlockTensor tensor{type, {1, kCols}, bytes};
      const auto w = std::move(cpu->Prepare(tensor)).value();
      for (float value : {-127.0f, 127.0f}) {
        for (int64_t rows : {1, 14}) {  // 14: weights of fewer bits are unpacked first
          Block<float> x(rows, kCols);
          for (float& v : x.span()) v = value;
          Block<float> y(rows, 1), want(rows, 1);
          cpu->MatMul(x.view(), *w, {}, y.view(), false);
          QuantisedProduct(std::as_const(x).view(), tensor, want.view());
          for (int64_t r = 0; r < rows; ++r) {
            EXPECT_EQ(y.view()(r, 0), want.view()(r, 0)) << format.name << " " << byte;
          }
        }
      }
    }
  }
}

TEST_P(QuantisedProducts, NoNumbersStayNoNumbersAndZerosAreZero) {
  Rng rng(kSeed + 3);
  auto cpu = CpuOps(1);
  for (const BlockType type : kTypes) {
    const int64_t cols = WholeBlocks(64, type);
    const StoredBlocks stored(40, cols, type, rng);
    const auto w = Prepared(*cpu, stored);
    for (float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
          -std::numeric_limits<float>::infinity()}) {
      for (int64_t at : {0, 31, 47}) {
        auto x = Block<float>(3, cols).Fill(rng);
        x.view()(1, at) = bad;
        Block<float> y(3, 40);
        cpu->MatMul(x.view(), *w, {}, y.view(), false);
        for (int64_t n = 0; n < 40; ++n) {
          EXPECT_TRUE(std::isfinite(y.view()(0, n)));
          EXPECT_TRUE(std::isnan(y.view()(1, n)));
          EXPECT_TRUE(std::isfinite(y.view()(2, n)));
        }
      }
    }
    for (float tiny : {0.0f, 1e-42f, 9e-36f}) {
      Block<float> x(1, cols);
      for (float& v : x.span()) v = tiny;
      auto y = Block<float>(1, 40).Fill(rng);
      cpu->MatMul(x.view(), *w, {}, y.view(), false);
      for (float v : y.span()) EXPECT_EQ(v, 0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EachInstructionSet, QuantisedProducts, testing::InstructionSets(),
                         testing::NameOfSet);

// What quantising x costs: 1/254 of a group's largest value at most, so about a hundredth at the
// worst output.
TEST(QuantisedProduct, IsNearTheOracle) {
  Rng rng(kSeed + 4);
  auto cpu = CpuOps(2);
  auto ref = MakeRefOpsFloat();
  for (const BlockType type : kTypes) {
    const int64_t cols = WholeBlocks(576, type);
    const StoredBlocks stored(120, cols, type, rng);
    const auto x = Block<float>(50, cols).Fill(rng);
    Block<float> y(50, 120), want(50, 120);
    cpu->MatMul(x.view(), *Prepared(*cpu, stored), {}, y.view(), false);
    ref->MatMul(x.view(), *Prepared(*ref, stored), {}, want.view(), false);
    EXPECT_LT(RelativeError(y.view(), want.view()), 1e-2);
    EXPECT_GT(RelativeError(y.view(), want.view()), 1e-5);
  }
}

TEST(QuantisedProduct, PaddingOutsideTheViewStaysUntouched) {
  Rng rng(kSeed + 5);
  auto cpu = CpuOps(2);
  const StoredBlocks stored(37, 32, BlockType::kQ4_0, rng);
  const auto w = Prepared(*cpu, stored);
  const auto x = Block<float>(15, 32).Fill(rng);
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

// Memory is the file's, but for panels that are not full and scales of Q4_K, which get a byte.
TEST(QuantisedProduct, WeightsStayAsSmallAsTheirBlocks) {
  Rng rng(kSeed + 6);
  auto cpu = CpuOps(2);
  for (const auto& [type, block_bytes] :
       {std::pair(BlockType::kQ8_0, 34), std::pair(BlockType::kQ4_0, 18),
        std::pair(BlockType::kQ4_K, 148), std::pair(BlockType::kQ6_K, 210)}) {
    const StoredBlocks stored(64, 768, type, rng);
    EXPECT_EQ(Prepared(*cpu, stored)->bytes(), 64 * 768 / FormatOf(type).elements * block_bytes);
  }
}

// Blocks of one element are dense weights.
TEST(QuantisedProduct, OfDenseBlocksIsThatOfTheirValues) {
  Rng rng(kSeed + 7);
  auto cpu = CpuOps(2);
  for (const BlockType type : {BlockType::kF32, BlockType::kF16, BlockType::kBF16}) {
    const testing::StoredWeight dense(33, 512, *DenseDType(type), rng);
    const BlockTensor tensor{type, {33, 512}, dense.tensor().bytes};
    const auto x = Block<float>(7, 512).Fill(rng);
    Block<float> y(7, 33), want(7, 33);
    const auto of_blocks = std::move(cpu->Prepare(tensor)).value();
    const auto of_dense = std::move(cpu->Prepare(dense.tensor())).value();
    EXPECT_EQ(of_blocks->bytes(), of_dense->bytes());
    cpu->MatMul(x.view(), *of_blocks, {}, y.view(), false);
    cpu->MatMul(x.view(), *of_dense, {}, want.view(), false);
    EXPECT_TRUE(SameBits(y.view(), want.view()));
  }
}

TEST(QuantisedProduct, RefusesWhatItDoesNotKnow) {
  auto cpu = CpuOps(1);
  auto ref = MakeRefOpsFloat();
  const std::vector<std::byte> bytes(34 * 4);
  for (Ops<float>* ops : {cpu.get(), ref.get()}) {
    const auto type = ops->Prepare(BlockTensor{BlockType::kQ5_1, {4, 32}, bytes});
    EXPECT_EQ(type.status().code(), StatusCode::kUnsupported);
    EXPECT_NE(type.status().message().find("Q5_1"), std::string::npos);
    const auto odd = ops->Prepare(BlockTensor{BlockType::kQ8_0, {4, 33}, bytes});
    EXPECT_EQ(odd.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(odd.status().message().find("multiple of 32, found [4, 33]"), std::string::npos);
  }
}

}  // namespace
}  // namespace onepass
