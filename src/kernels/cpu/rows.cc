#include "kernels/cpu/rows.h"

#include <cmath>

#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rows.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/exp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace onepass {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr int64_t kN = hn::MaxLanes(D());

// Loads min(count, kN) floats, zeros after them. count > 0.
HWY_INLINE V LoadSome(const float* from, int64_t count) {
  const D d;
  if (HWY_LIKELY(count >= kN)) return hn::LoadU(d, from);
  HWY_ALIGN float lanes[kN] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = from[i];
  return hn::Load(d, lanes);
}

HWY_INLINE void StoreSome(V v, float* to, int64_t count) {
  const D d;
  if (HWY_LIKELY(count >= kN)) {
    hn::StoreU(v, d, to);
    return;
  }
  HWY_ALIGN float lanes[kN];
  hn::Store(v, d, lanes);
  for (int64_t i = 0; i < count; ++i) to[i] = lanes[i];
}

HWY_INLINE double Sum(V v) {
  const D d;
  return hn::GetLane(hn::SumOfLanes(d, v));
}

float RmsNorm(const float* x, const float* weight, double eps, float* y, int64_t count) {
  const D d;
  V sum0 = hn::Zero(d);
  V sum1 = hn::Zero(d);
  for (int64_t i = 0; i < count; i += 2 * kN) {
    const V a = LoadSome(x + i, count - i);
    sum0 = hn::MulAdd(a, a, sum0);
    if (i + kN < count) {
      const V b = LoadSome(x + i + kN, count - i - kN);
      sum1 = hn::MulAdd(b, b, sum1);
    }
  }
  const double mean = Sum(hn::Add(sum0, sum1)) / static_cast<double>(count);
  const float inverse = static_cast<float>(1 / std::sqrt(mean + eps));
  const V r = hn::Set(d, inverse);
  for (int64_t i = 0; i < count; i += kN) {
    const V v = hn::Mul(LoadSome(x + i, count - i), r);
    StoreSome(hn::Mul(v, LoadSome(weight + i, count - i)), y + i, count - i);
  }
  return inverse;
}

void RmsNormBackward(const float* x, const float* weight, float inv_rms, const float* dy, float* dx,
                     int64_t count) {
  const D d;
  V dot = hn::Zero(d);
  for (int64_t i = 0; i < count; i += kN) {
    const V a = hn::Mul(LoadSome(dy + i, count - i), LoadSome(weight + i, count - i));
    dot = hn::MulAdd(a, LoadSome(x + i, count - i), dot);
  }
  const double r = inv_rms;
  const V factor =
      hn::Set(d, static_cast<float>(r * r * r * Sum(dot) / static_cast<double>(count)));
  const V scale = hn::Set(d, inv_rms);
  for (int64_t i = 0; i < count; i += kN) {
    const V a = hn::Mul(LoadSome(dy + i, count - i), LoadSome(weight + i, count - i));
    const V own = hn::MulAdd(a, scale, LoadSome(dx + i, count - i));
    StoreSome(hn::NegMulAdd(factor, LoadSome(x + i, count - i), own), dx + i, count - i);
  }
}

void Rope(float* x, const float* cosine, const float* sine, float sine_sign, int64_t half) {
  const D d;
  const V sign = hn::Set(d, sine_sign);
  for (int64_t i = 0; i < half; i += kN) {
    const V c = LoadSome(cosine + i, half - i);
    const V s = hn::Mul(LoadSome(sine + i, half - i), sign);
    const V a = LoadSome(x + i, half - i);
    const V b = LoadSome(x + half + i, half - i);
    StoreSome(hn::NegMulAdd(b, s, hn::Mul(a, c)), x + i, half - i);
    StoreSome(hn::MulAdd(a, s, hn::Mul(b, c)), x + half + i, half - i);
  }
}

void SwiGlu(const float* gate, const float* up, float* y, int64_t count) {
  const D d;
  for (int64_t i = 0; i < count; i += kN) {
    const V g = LoadSome(gate + i, count - i);
    const V silu = hn::Mul(g, Sigmoid(d, g));
    StoreSome(hn::Mul(silu, LoadSome(up + i, count - i)), y + i, count - i);
  }
}

void SwiGluBackward(const float* gate, const float* up, const float* dy, float* dgate, float* dup,
                    int64_t count) {
  const D d;
  const V one = hn::Set(d, 1.0f);
  for (int64_t i = 0; i < count; i += kN) {
    const V g = LoadSome(gate + i, count - i);
    const V u = LoadSome(up + i, count - i);
    const V dyi = LoadSome(dy + i, count - i);
    const V s = Sigmoid(d, g);
    const V slope = hn::Mul(s, hn::MulAdd(g, hn::Sub(one, s), one));
    StoreSome(hn::Mul(hn::Mul(dyi, u), slope), dgate + i, count - i);
    StoreSome(hn::Mul(dyi, hn::Mul(g, s)), dup + i, count - i);
  }
}

float CrossEntropy(float* logits, int64_t count, int64_t target, float scale) {
  const D d;
  V max = hn::Set(d, logits[0]);
  const int64_t whole = count / kN * kN;
  for (int64_t i = 0; i < whole; i += kN) max = hn::Max(max, hn::LoadU(d, logits + i));
  float top = hn::GetLane(hn::MaxOfLanes(d, max));
  for (int64_t i = whole; i < count; ++i) top = std::fmax(top, logits[i]);
  // The exponentials replace the logits. Sums of 1024 at a time, then in double.
  const double target_logit = logits[target];
  const V shift = hn::Set(d, top);
  double total = 0;
  for (int64_t begin = 0; begin < whole; begin += 1024) {
    const int64_t end = HWY_MIN(begin + 1024, whole);
    V sum = hn::Zero(d);
    for (int64_t i = begin; i < end; i += kN) {
      const V e = Exp(d, hn::Sub(hn::LoadU(d, logits + i), shift));
      hn::StoreU(e, d, logits + i);
      sum = hn::Add(sum, e);
    }
    total += Sum(sum);
  }
  if (whole < count) {
    const int64_t rest = count - whole;
    StoreSome(Exp(d, hn::Sub(LoadSome(logits + whole, rest), shift)), logits + whole, rest);
    for (int64_t i = whole; i < count; ++i) total += logits[i];
  }
  const float factor = static_cast<float>(scale / total);
  const V factors = hn::Set(d, factor);
  for (int64_t i = 0; i < count; i += kN) {
    StoreSome(hn::Mul(LoadSome(logits + i, count - i), factors), logits + i, count - i);
  }
  logits[target] -= scale;
  return static_cast<float>(std::log(total) + (static_cast<double>(top) - target_logit));
}

void ExpOfRow(const float* x, float* out, int64_t count) {
  const D d;
  for (int64_t i = 0; i < count; i += kN) {
    StoreSome(Exp(d, LoadSome(x + i, count - i)), out + i, count - i);
  }
}

const RowOps* Table() {
  static constexpr RowOps kTable = {RmsNorm,        RmsNormBackward, Rope,    SwiGlu,
                                    SwiGluBackward, CrossEntropy,    ExpOfRow};
  return &kTable;
}

}  // namespace HWY_NAMESPACE
}  // namespace onepass
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace onepass {

HWY_EXPORT(Table);

const RowOps& BestRowOps() { return *HWY_DYNAMIC_DISPATCH(Table)(); }

}  // namespace onepass
#endif
