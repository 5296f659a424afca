#include "tensor/quantise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/rng.h"

namespace onepass {
namespace {

std::vector<float> RandomValues(size_t count, uint64_t seed, double deviation = 0.05) {
  Rng rng(seed);
  std::vector<float> values(count);
  for (float& v : values) v = static_cast<float>(rng.Normal() * deviation);
  return values;
}

std::vector<std::byte> BlocksOf(BlockType type, std::span<const float> values) {
  std::vector<std::byte> blocks(values.size() / 32 * static_cast<size_t>(FormatOf(type).bytes));
  EXPECT_TRUE(Quantise(type, values, blocks).ok());
  return blocks;
}

std::vector<float> ValuesOf(BlockType type, std::span<const std::byte> blocks) {
  std::vector<float> values(blocks.size() / static_cast<size_t>(FormatOf(type).bytes) * 32);
  Dequantise(type, blocks, values);
  return values;
}

double SquaredError(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

TEST(Quantise, ErrsByAtMostHalfAStep) {
  const std::vector<float> values = RandomValues(32 * 200, 1);
  const std::vector<float> eight = ValuesOf(BlockType::kQ8_0, BlocksOf(BlockType::kQ8_0, values));
  for (size_t g = 0; g < values.size(); g += 32) {
    float most = 0;
    for (size_t i = g; i < g + 32; ++i) most = std::max(most, std::abs(values[i]));
    // The scale is rounded to 11 bits: the largest value may be off by another 127 / 2048 steps.
    for (size_t i = g; i < g + 32; ++i)
      EXPECT_LE(std::abs(values[i] - eight[i]), most / 127 * 0.57);
  }
}

TEST(Quantise, FourBitsAreNoWorseThanThePlainRule) {
  const std::vector<float> values = RandomValues(32 * 500, 2);
  const std::vector<float> found = ValuesOf(BlockType::kQ4_0, BlocksOf(BlockType::kQ4_0, values));
  std::vector<float> plain(values.size());
  for (size_t g = 0; g < values.size(); g += 32) {
    float largest = 0;
    for (size_t i = g; i < g + 32; ++i) {
      if (std::abs(values[i]) > std::abs(largest)) largest = values[i];
    }
    const float scale = largest / -8;
    for (size_t i = g; i < g + 32; ++i) {
      plain[i] = scale * std::min(7.0f, std::nearbyint(values[i] / scale));
    }
  }
  EXPECT_LT(SquaredError(values, found), 0.95 * SquaredError(values, plain));
  EXPECT_LT(std::sqrt(SquaredError(values, found) / static_cast<double>(values.size())), 0.0047);
}

TEST(Quantise, WhatBlocksHoldTheyHoldAgain) {
  Rng rng(3);
  for (const BlockType type : {BlockType::kQ8_0, BlockType::kQ4_0}) {
    const std::vector<std::byte> blocks = BlocksOf(type, RandomValues(32 * 100, 4));
    const std::vector<float> values = ValuesOf(type, blocks);
    EXPECT_EQ(ValuesOf(type, BlocksOf(type, values)), values);
  }
}

TEST(Quantise, ZerosAndTheTiniestStayFinite) {
  for (const BlockType type : {BlockType::kQ8_0, BlockType::kQ4_0}) {
    for (const float v : {0.0f, 1e-45f, -1e-30f, 3e-8f, -1e-6f, 60000.0f}) {
      const std::vector<float> values(32, v);
      for (const float found : ValuesOf(type, BlocksOf(type, values))) {
        EXPECT_NEAR(found, v, std::max(6e-6f, std::abs(v) * 0.01f)) << v;
      }
    }
  }
}

TEST(Quantise, RefusesWhatNoScaleHolds) {
  for (const BlockType type : {BlockType::kQ8_0, BlockType::kQ4_0}) {
    for (const float v :
         {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity(), 1e9f}) {
      std::vector<float> values(64, 0.5f);
      values[40] = v;
      std::vector<std::byte> blocks(static_cast<size_t>(2 * FormatOf(type).bytes));
      EXPECT_EQ(Quantise(type, values, blocks).code(), StatusCode::kInvalidArgument) << v;
    }
  }
}

}  // namespace
}  // namespace onepass
