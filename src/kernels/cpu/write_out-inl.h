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
#include "kernels/ops.h"

HWY_BEFORE_NAMESPACE();
namespace onepass {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Rows [row, row + rows) of output.y = or (accumulate) += sums[rows, 32] + bias, for the panel's
// columns that exist.
inline void WriteOut(const MatMulOutput<float>& output, int64_t row, int64_t rows, int64_t panel,
                     const float* HWY_RESTRICT sums) {
  const hn::CappedTag<float, 16> d;
  constexpr int kLanesOut = static_cast<int>(hn::MaxLanes(d));
  const int64_t column = panel * kPanel;
  const int64_t columns = std::min<int64_t>(kPanel, output.y.cols() - column);
  const float* bias = output.bias.empty() ? nullptr : output.bias.data() + column;
  for (int64_t r = 0; r < rows; ++r) {
    float* HWY_RESTRICT to = output.y.row(row + r) + column;
    const float* HWY_RESTRICT from = sums + r * kPanel;
    if (columns == kPanel) {
#pragma GCC unroll 8
      for (int c = 0; c < kPanel; c += kLanesOut) {
        auto v = hn::LoadU(d, from + c);
        if (bias != nullptr) v = hn::Add(v, hn::LoadU(d, bias + c));
        if (output.accumulate) v = hn::Add(v, hn::LoadU(d, to + c));
        hn::StoreU(v, d, to + c);
      }
      continue;
    }
    for (int64_t c = 0; c < columns; ++c) {
      float v = from[c];
      if (bias != nullptr) v += bias[c];
      to[c] = output.accumulate ? to[c] + v : v;
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace onepass
HWY_AFTER_NAMESPACE();

#endif
