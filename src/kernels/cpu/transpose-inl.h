// Transposes small blocks in 4 x 4 squares of registers, on every target.
#if defined(ONEPASS_KERNELS_CPU_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ONEPASS_KERNELS_CPU_TRANSPOSE_INL_H_
#undef ONEPASS_KERNELS_CPU_TRANSPOSE_INL_H_
#else
#define ONEPASS_KERNELS_CPU_TRANSPOSE_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"
#include "kernels/cpu/blocking.h"

HWY_BEFORE_NAMESPACE();
namespace onepass {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D4 = hn::FixedTag<float, 4>;
using V4 = hn::Vec<D4>;

// to[c * ldt + r] = row r, lane c.
HWY_INLINE void StoreTransposed(V4 r0, V4 r1, V4 r2, V4 r3, float* HWY_RESTRICT to, int64_t ldt) {
  const D4 d;
  const hn::FixedTag<double, 2> dd;
  const auto low01 = hn::BitCast(dd, hn::InterleaveLower(d, r0, r1));
  const auto low23 = hn::BitCast(dd, hn::InterleaveLower(d, r2, r3));
  const auto high01 = hn::BitCast(dd, hn::InterleaveUpper(d, r0, r1));
  const auto high23 = hn::BitCast(dd, hn::InterleaveUpper(d, r2, r3));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dd, low01, low23)), d, to);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dd, low01, low23)), d, to + ldt);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dd, high01, high23)), d, to + 2 * ldt);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dd, high01, high23)), d, to + 3 * ldt);
}

// to[c * ldt + r] = from[r * ldf + c] for r < rows, c < cols.
inline void Transpose(const float* HWY_RESTRICT from, int64_t ldf, int64_t rows, int64_t cols,
                      float* HWY_RESTRICT to, int64_t ldt) {
  const D4 d;
  const int64_t rows4 = rows / 4 * 4;
  const int64_t cols4 = cols / 4 * 4;
  for (int64_t r = 0; r < rows4; r += 4) {
    const float* HWY_RESTRICT at = from + r * ldf;
    for (int64_t c = 0; c < cols4; c += 4) {
      StoreTransposed(hn::LoadU(d, at + c), hn::LoadU(d, at + ldf + c),
                      hn::LoadU(d, at + 2 * ldf + c), hn::LoadU(d, at + 3 * ldf + c),
                      to + c * ldt + r, ldt);
    }
    for (int64_t c = cols4; c < cols; ++c) {
      for (int64_t i = 0; i < 4; ++i) to[c * ldt + r + i] = at[i * ldf + c];
    }
  }
  for (int64_t r = rows4; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) to[c * ldt + r] = from[r * ldf + c];
  }
}

// A panel's rows [count][32] to [32][32] (lines of 32, the first `count` of each written).
inline void TransposeFloats(const float* HWY_RESTRICT from, int64_t count, float* HWY_RESTRICT to) {
  Transpose(from, kPanel, count, kPanel, to, kPanel);
}

}  // namespace HWY_NAMESPACE
}  // namespace onepass
HWY_AFTER_NAMESPACE();

#endif
