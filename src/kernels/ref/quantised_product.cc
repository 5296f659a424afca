#include "kernels/ref/quantised_product.h"

#include <algorithm>
#include <cmath>
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

}  // namespace

void QuantisedProduct(View<const float> x, const BlockTensor& w, View<float> y) {
  ONEPASS_CHECK(x.cols() % kGroup == 0, "whole groups");
  const int64_t groups = x.cols() / kGroup;
  std::vector<float> weights(static_cast<size_t>(w.element_count()));
  Dequantise(w.type, w.bytes, weights);
  std::vector<Group> row(static_cast<size_t>(groups));
  for (int64_t t = 0; t < x.rows(); ++t) {
    for (int64_t g = 0; g < groups; ++g) row[g] = QuantiseGroup(x.row(t) + g * kGroup);
    for (int64_t n = 0; n < y.cols(); ++n) {
      const float* of_output = weights.data() + n * x.cols();
      double sum = 0;
      for (int64_t g = 0; g < groups; ++g) {
        double dot = 0;
        for (int64_t i = 0; i < kGroup; ++i) {
          dot += static_cast<double>(of_output[g * kGroup + i]) * row[g].values[i];
        }
        sum += dot * row[g].scale;
      }
      y(t, n) = static_cast<float>(sum);
    }
  }
}

}  // namespace onepass
