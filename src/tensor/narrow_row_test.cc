#include "tensor/narrow_row.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/rng.h"

namespace onepass {
namespace {

constexpr uint64_t kSeed = 4711;
constexpr int64_t kCounts[] = {1, 2, 6, 8, 63, 64, 65, 128, 200};

std::vector<float> RandomRow(int64_t count, Rng& rng, double deviation = 1) {
  std::vector<float> row(static_cast<size_t>(count));
  for (float& v : row) v = static_cast<float>(rng.Normal() * deviation);
  return row;
}

std::vector<std::byte> Stored(DType dtype, const std::vector<float>& row) {
  const int64_t count = std::ssize(row);
  std::vector<std::byte> bytes(static_cast<size_t>(StoredElements(dtype, count) * SizeOf(dtype)));
  StoreRow(dtype, row.data(), count, bytes.data());
  return bytes;
}

std::vector<float> Loaded(DType dtype, const std::vector<float>& row) {
  const std::vector<std::byte> bytes = Stored(dtype, row);
  std::vector<float> values(row.size());
  LoadRow(dtype, bytes.data(), std::ssize(row), values.data());
  return values;
}

float Largest(const std::vector<float>& row) {
  float largest = 0;
  for (const float v : row) largest = std::max(largest, std::abs(v));
  return largest;
}

TEST(NarrowRow, F32AndItsOwnTypeAreCopies) {
  Rng rng(kSeed);
  const std::vector<float> row = RandomRow(37, rng);
  EXPECT_EQ(Loaded(DType::kF32, row), row);
  const double values[] = {1.0 / 3, -0.1};
  double stored[2];
  StoreRow(DType::kF64, values, 2, stored);
  EXPECT_EQ(std::memcmp(stored, values, sizeof(values)), 0);
}

TEST(NarrowRow, BF16IsEveryValueRounded) {
  Rng rng(kSeed + 1);
  for (const int64_t count : kCounts) {
    std::vector<float> row = RandomRow(count, rng);
    row[0] = std::numeric_limits<float>::max();  // rounds to infinity
    row[row.size() / 2] = std::bit_cast<float>(0x7f800001u);
    const std::vector<float> loaded = Loaded(DType::kBF16, row);
    for (int64_t i = 0; i < count; ++i) {
      EXPECT_EQ(std::bit_cast<uint32_t>(loaded[i]),
                std::bit_cast<uint32_t>(ToFloat(ToBF16(row[i]))));
    }
  }
}

TEST(NarrowRow, Int8IsWithinHalfAStepOfEveryValue) {
  Rng rng(kSeed + 2);
  for (const int64_t count : kCounts) {
    for (const double deviation : {1e-20, 1e-3, 1.0, 1e30}) {
      const std::vector<float> row = RandomRow(count, rng, deviation);
      const float largest = Largest(row);
      const std::vector<float> loaded = Loaded(DType::kI8, row);
      for (int64_t i = 0; i < count; ++i) {
        // Half a step, and the roundings of a division, two products and the sum.
        EXPECT_LE(std::abs(loaded[i] - row[i]), largest / 254 * 1.0001f + largest * 1e-6f);
        if (std::abs(row[i]) == largest) {
          EXPECT_NEAR(loaded[i], row[i], largest * 1e-6f);
        }
      }
    }
  }
}

TEST(NarrowRow, WholeStepsAreKeptExactly) {
  std::vector<float> row;
  for (int q = -127; q <= 127; ++q) row.push_back(static_cast<float>(q) * 0.25f);
  EXPECT_EQ(Loaded(DType::kI8, row), row);
}

TEST(NarrowRow, ZerosAndWhatIsNextToNothingBecomeZeros) {
  EXPECT_EQ(Loaded(DType::kI8, {0, -0.0f, 0}), (std::vector<float>{0, 0, 0}));
  EXPECT_EQ(Loaded(DType::kI8, {1e-40f, -1e-35f}), (std::vector<float>{0, 0}));
}

TEST(NarrowRow, OneValueThatIsNoNumberMakesAnInt8RowNoNumbers) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::nanf(""),
        std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    for (const float v : Loaded(DType::kI8, {1, 2, bad, 3})) EXPECT_TRUE(std::isnan(v));
  }
}

TEST(NarrowRow, HugeValuesStayFinite) {
  const float huge = 0x1.fp126f;
  const std::vector<float> loaded = Loaded(DType::kI8, {huge, -huge, huge / 3});
  EXPECT_NEAR(loaded[0] / huge, 1, 1e-6);
  EXPECT_NEAR(loaded[1] / huge, -1, 1e-6);
  EXPECT_NEAR(loaded[2] / huge, 1.0 / 3, 1.0 / 254 + 1e-6);
}

}  // namespace
}  // namespace onepass
