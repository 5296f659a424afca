#include "tensor/narrow_row.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/check.h"

namespace onepass {
namespace {

constexpr int64_t kChunk = 64;  // values at a time, so that the compiler may use whole vectors

void StoreBF16(const float* values, int64_t count, void* row) {
  uint16_t chunk[kChunk];
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    const int64_t n = std::min(kChunk, count - begin);
    for (int64_t i = 0; i < n; ++i) {
      // ToBF16 (dtype.h), without a branch.
      const uint32_t bits = std::bit_cast<uint32_t>(values[begin + i]);
      const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
      const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
      chunk[i] = static_cast<uint16_t>(is_nan ? (bits >> 16) | 0x40u : rounded);
    }
    std::memcpy(static_cast<std::byte*>(row) + 2 * begin, chunk, static_cast<size_t>(2 * n));
  }
}

void StoreScaled(const float* values, int64_t count, void* row) {
  // The bits of sizes are ordered as the sizes are, and those of no numbers are above all.
  uint32_t largest_bits = 0;
  for (int64_t i = 0; i < count; ++i) {
    largest_bits = std::max(largest_bits, std::bit_cast<uint32_t>(values[i]) & 0x7fffffffu);
  }
  const float largest = std::bit_cast<float>(largest_bits);
  const bool is_finite = largest < 0x1p127f;
  const bool is_zero = largest < 0x1p-100f;
  float scale = is_zero ? 0 : largest / 127;
  if (!is_finite) scale = std::numeric_limits<float>::quiet_NaN();
  int8_t* quants = static_cast<int8_t*>(row);
  if (is_finite && !is_zero) {
    constexpr float kNoFraction = 0x1.8p23f;  // a sum with it keeps no bits behind the point
    const float inverse = 127 / largest;
    for (int64_t i = 0; i < count; ++i) {
      quants[i] = static_cast<int8_t>((values[i] * inverse + kNoFraction) - kNoFraction);
    }
  } else {
    std::fill_n(quants, count, int8_t{0});
  }
  std::memcpy(quants + count, &scale, sizeof(scale));
}

}  // namespace

template <class Real>
void StoreRow(DType dtype, const Real* values, int64_t count, void* row) {
  if (dtype == DTypeOf<Real>::kValue) {
    std::memcpy(row, values, static_cast<size_t>(count) * sizeof(Real));
    return;
  }
  if constexpr (std::is_same_v<Real, float>) {
    if (dtype == DType::kBF16) return StoreBF16(values, count, row);
    if (dtype == DType::kI8) return StoreScaled(values, count, row);
  }
  ONEPASS_CHECK(false, "rows are stored in their own type; floats also in BF16 or I8");
}

template void StoreRow<float>(DType, const float*, int64_t, void*);
template void StoreRow<double>(DType, const double*, int64_t, void*);

void LoadRow(DType dtype, const void* row, int64_t count, float* values) {
  if (dtype == DType::kF32) {
    std::memcpy(values, row, static_cast<size_t>(count) * sizeof(float));
  } else if (dtype == DType::kBF16) {
    const auto* stored = static_cast<const BF16*>(row);
    for (int64_t i = 0; i < count; ++i) values[i] = ToFloat(stored[i]);
  } else {
    ONEPASS_CHECK(dtype == DType::kI8, "a stored row is F32, BF16 or I8");
    const auto* quants = static_cast<const int8_t*>(row);
    float scale = 0;
    std::memcpy(&scale, quants + count, sizeof(scale));
    for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(quants[i]) * scale;
  }
}

}  // namespace onepass
