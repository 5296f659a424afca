#include "kernels/ref/quantised_product.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/check.h"

namespace onepass {
namespace {

constexpr int64_t kGroup = 32;

struct Group {
  int values[kGroup];
  double scale;
};

Group QuantiseGroup(const float* x) {
  Group group;
  float amax = 0;
  bool is_finite = true;
  for (int64_t i = 0; i < kGroup; ++i) {
    amax = std::max(amax, std::abs(x[i]));
    is_finite = is_finite && std::isfinite(x[i]);
  }
  if (!is_finite) return {.values = {}, .scale = std::numeric_limits<double>::quiet_NaN()};
  if (amax < 1e-35f) return {.values = {}, .scale = 0};
  const float inverse = 127.0f / amax;
  for (int64_t i = 0; i < kGroup; ++i) {
    group.values[i] = static_cast<int>(std::nearbyint(x[i] * inverse));
  }
  group.scale = amax / 127.0f;
  return group;
}

Group ReadGroup(BlockType type, const std::byte* block) {
  Group group;
  F16 scale;
  std::memcpy(&scale, block, sizeof(scale));
  group.scale = ToFloat(scale);
  for (int64_t i = 0; i < kGroup; ++i) {
    if (type == BlockType::kQ8_0) {
      group.values[i] = static_cast<int8_t>(block[2 + i]);
    } else {
      const int byte = std::to_integer<int>(block[2 + i % 16]);
      group.values[i] = (i < 16 ? byte & 15 : byte >> 4) - 8;
    }
  }
  return group;
}

}  // namespace

void QuantisedProduct(View<const float> x, const BlockTensor& w, View<float> y) {
  ONEPASS_CHECK(w.type == BlockType::kQ8_0 || w.type == BlockType::kQ4_0, "Q8_0 or Q4_0");
  const int64_t groups = x.cols() / kGroup;
  const int64_t block_bytes = FormatOf(w.type).bytes;
  std::vector<Group> row(static_cast<size_t>(groups));
  for (int64_t t = 0; t < x.rows(); ++t) {
    for (int64_t g = 0; g < groups; ++g) row[g] = QuantiseGroup(x.row(t) + g * kGroup);
    for (int64_t n = 0; n < y.cols(); ++n) {
      double sum = 0;
      for (int64_t g = 0; g < groups; ++g) {
        const Group weights = ReadGroup(w.type, w.bytes.data() + (n * groups + g) * block_bytes);
        int dot = 0;
        for (int64_t i = 0; i < kGroup; ++i) dot += weights.values[i] * row[g].values[i];
        sum += dot * weights.scale * row[g].scale;
      }
      y(t, n) = static_cast<float>(sum);
    }
  }
}

}  // namespace onepass
