// The end of every product: a panel's sums go to the rows of y. Included once for each target.
#if defined(ONEPASS_KERNELS_CPU_WRITE_OUT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ONEPASS_KERNELS_CPU_WRITE_OUT_INL_H_
#undef ONEPASS_KERNELS_CPU_WRITE_OUT_INL_H_
#else
#define ONEPASS_KERNELS_CPU_WRITE_OUT_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/cpu/blocking.h"
#include "tensor/tensor.h"

HWY_BEFORE_NAMESPACE();
namespace onepass {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Rows of y = or (accumulate) += sums[y.rows(), 32] + bias, for the panel's columns that exist.
// bias: [N] or null.
inline void WriteOut(View<float> y, int64_t panel, const float* HWY_RESTRICT sums,
                     const float* bias, bool accumulate) {
  const hn::CappedTag<float, 16> d;
  constexpr int kLanesOut = static_cast<int>(hn::MaxLanes(d));
  const int64_t column = panel * kPanel;
  const int64_t columns = std::min<int64_t>(kPanel, y.cols() - column);
  if (bias != nullptr) bias += column;
  for (int64_t r = 0; r < y.rows(); ++r) {
    float* HWY_RESTRICT to = y.row(r) + column;
    const float* HWY_RESTRICT from = sums + r * kPanel;
    if (columns == kPanel) {
#pragma GCC unroll 8
      for (int c = 0; c < kPanel; c += kLanesOut) {
        auto v = hn::LoadU(d, from + c);
        if (bias != nullptr) v = hn::Add(v, hn::LoadU(d, bias + c));
        if (accumulate) v = hn::Add(v, hn::LoadU(d, to + c));
        hn::StoreU(v, d, to + c);
      }
      continue;
    }
    for (int64_t c = 0; c < columns; ++c) {
      float v = from[c];
      if (bias != nullptr) v += bias[c];
      to[c] = accumulate ? to[c] + v : v;
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace onepass
HWY_AFTER_NAMESPACE();

#endif
