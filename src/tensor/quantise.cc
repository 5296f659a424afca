#include "tensor/quantise.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/check.h"

namespace onepass {
namespace {

constexpr int kGroup = 32;
constexpr float kLargestScale = 65504.0f;  // of f16

// The quants of a group under one stored scale, and what they leave.
struct Quants {
  F16 scale;
  int values[kGroup];
  float squared_error = 0;
};

// To nearest, ties to even, of sizes below 2^22: the sum keeps no bits behind the point.
float Round(float v) {
  constexpr float kNoFraction = 0x1.8p23f;
  return (v + kNoFraction) - kNoFraction;
}

Quants QuantsUnder(const float* values, float scale, int low, int high) {
  Quants quants;
  quants.scale = ToF16(scale);
  const float stored = ToFloat(quants.scale);
  const float inverse = stored == 0 ? 0 : 1 / stored;
  for (int i = 0; i < kGroup; ++i) {
    // In range first: a scale that underflowed has a huge inverse.
    const float q =
        Round(std::clamp(values[i] * inverse, static_cast<float>(low), static_cast<float>(high)));
    quants.values[i] = static_cast<int>(q);
    const float error = values[i] - q * stored;
    quants.squared_error += error * error;
  }
  return quants;
}

void Put(F16 scale, std::byte* block) { std::memcpy(block, &scale, sizeof(scale)); }

void PutQ8_0(const float* values, float largest, std::byte* block) {
  const Quants quants = QuantsUnder(values, std::abs(largest) / 127, -127, 127);
  Put(quants.scale, block);
  for (int i = 0; i < kGroup; ++i) block[2 + i] = static_cast<std::byte>(quants.values[i]);
}

void PutQ4_0(const float* values, float largest, std::byte* block) {
  // -8 to 7: the value of largest size takes the side that has one more.
  Quants best = QuantsUnder(values, largest / -8, -8, 7);
  // Its own rounding error is the price of smaller ones elsewhere.
  constexpr float kDivisors[] = {-9, -8.5f, -7.75f, -7.5f, -7.25f, -7, -6.5f, 6.5f, 7, 7.5f};
  for (const float divisor : kDivisors) {
    const Quants other = QuantsUnder(values, largest / divisor, -8, 7);
    if (other.squared_error < best.squared_error) best = other;
  }
  Put(best.scale, block);
  for (int i = 0; i < kGroup / 2; ++i) {
    block[2 + i] =
        static_cast<std::byte>((best.values[i] + 8) | (best.values[kGroup / 2 + i] + 8) << 4);
  }
}

}  // namespace

Status Quantise(BlockType type, std::span<const float> values, std::span<std::byte> blocks) {
  ONEPASS_CHECK(type == BlockType::kQ8_0 || type == BlockType::kQ4_0, "Q8_0 or Q4_0");
  const BlockFormat& format = FormatOf(type);
  const int64_t block_count = std::ssize(values) / kGroup;
  ONEPASS_CHECK(block_count * kGroup == std::ssize(values) &&
                    block_count * format.bytes == std::ssize(blocks),
                "want whole blocks, one for every group of values");
  const float limit = type == BlockType::kQ8_0 ? kLargestScale * 127 : kLargestScale * 6;
  for (int64_t b = 0; b < block_count; ++b) {
    const float* group = values.data() + b * kGroup;
    float largest = 0;  // with its sign
    for (int i = 0; i < kGroup; ++i) {
      if (!(std::abs(group[i]) <= limit)) {
        return InvalidArgument("want numbers of at most " + std::to_string(limit) + ", found " +
                               std::to_string(group[i]));
      }
      if (std::abs(group[i]) > std::abs(largest)) largest = group[i];
    }
    std::byte* block = blocks.data() + b * format.bytes;
    if (type == BlockType::kQ8_0) {
      PutQ8_0(group, largest, block);
    } else {
      PutQ4_0(group, largest, block);
    }
  }
  return Status::Ok();
}

}  // namespace onepass
