// Halves to floats, exactly, on every target. Included once for each target.
#if defined(ONEPASS_KERNELS_CPU_HALF_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ONEPASS_KERNELS_CPU_HALF_INL_H_
#undef ONEPASS_KERNELS_CPU_HALF_INL_H_
#else
#define ONEPASS_KERNELS_CPU_HALF_INL_H_
#endif

#include "hwy/highway.h"
#include "tensor/dtype.h"

HWY_BEFORE_NAMESPACE();
namespace onepass {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A vector of floats from Lanes(d) halves at any address of a half.
template <class D>
HWY_INLINE hn::Vec<D> LoadHalves(D d, const F16* HWY_RESTRICT from) {
  const hn::Rebind<hwy::float16_t, D> d_half;
  const auto halves = hn::LoadU(d_half, reinterpret_cast<const hwy::float16_t*>(from));
  const auto floats = hn::PromoteTo(d, halves);
#if HWY_TARGET > HWY_AVX2 && !HWY_ARCH_ARM_A64
  // Without an instruction for it Highway 1.0.3 takes infinity and NaN for numbers from 65536 on,
  // which no half is.
  const hn::RebindToUnsigned<D> du;
  const auto bits = hn::BitCast(du, floats);
  const auto special = hn::Or(bits, hn::Set(du, 0x7F800000u));
  const auto is_special = hn::Ge(hn::Abs(floats), hn::Set(d, 65536.0f));
  return hn::IfThenElse(is_special, hn::BitCast(d, special), floats);
#else
  return floats;
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace onepass
HWY_AFTER_NAMESPACE();

#endif
