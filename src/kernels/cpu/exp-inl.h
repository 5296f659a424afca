// e^x for vectors of floats, within about 1 ulp; 0 below -87.3, and never +infinity: it
// saturates. NaN stays NaN.
#if defined(ONEPASS_KERNELS_CPU_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ONEPASS_KERNELS_CPU_EXP_INL_H_
#undef ONEPASS_KERNELS_CPU_EXP_INL_H_
#else
#define ONEPASS_KERNELS_CPU_EXP_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace onepass {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by Taylor's polynomial of degree 7, whose remainder is
// below 2^-27 there; 2^n by the exponent bits.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp(D d, V x) {
  const hn::RebindToSigned<D> di;
  const V lowest = hn::Set(d, -87.3f);
  const auto vanishes = hn::Lt(x, lowest);
  // By comparisons, which are false of a NaN: not every machine's Min and Max keep one.
  const V highest = hn::Set(d, 88.3f);
  const V below = hn::IfThenElse(hn::Gt(x, highest), highest, x);
  const V clamped = hn::IfThenElse(vanishes, lowest, below);
  const auto n = hn::NearestInt(hn::Mul(clamped, hn::Set(d, 1.44269504f)));
  const V n_float = hn::ConvertTo(d, n);
  // ln 2 in two parts: the first has few bits, so that its product with n is exact.
  V r = hn::NegMulAdd(n_float, hn::Set(d, 0.693359375f), clamped);
  r = hn::NegMulAdd(n_float, hn::Set(d, -2.12194440e-4f), r);
  V y = hn::Set(d, 1.0f / 5040);
  y = hn::MulAdd(y, r, hn::Set(d, 1.0f / 720));
  y = hn::MulAdd(y, r, hn::Set(d, 1.0f / 120));
  y = hn::MulAdd(y, r, hn::Set(d, 1.0f / 24));
  y = hn::MulAdd(y, r, hn::Set(d, 1.0f / 6));
  y = hn::MulAdd(y, r, hn::Set(d, 0.5f));
  y = hn::MulAdd(hn::Mul(y, r), r, r);
  y = hn::Add(y, hn::Set(d, 1.0f));
  const auto power = hn::ShiftLeft<23>(hn::Add(n, hn::Set(di, 127)));
  return hn::IfThenZeroElse(vanishes, hn::Mul(y, hn::BitCast(d, power)));
}

// 1 / (1 + e^-x).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, Exp(d, hn::Neg(x))));
}

}  // namespace HWY_NAMESPACE
}  // namespace onepass
HWY_AFTER_NAMESPACE();

#endif
