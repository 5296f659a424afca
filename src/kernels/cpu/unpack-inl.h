// A panel's stored weights (panel_format.h) as bytes. Included once for each target.
#if defined(ONEPASS_KERNELS_CPU_UNPACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ONEPASS_KERNELS_CPU_UNPACK_INL_H_
#undef ONEPASS_KERNELS_CPU_UNPACK_INL_H_
#else
#define ONEPASS_KERNELS_CPU_UNPACK_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/cpu/panel_format.h"

HWY_BEFORE_NAMESPACE();
namespace onepass {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A vector of a group's weights at a step of a turn (PanelFormat), a byte each: those from byte
// `at` of the 128 that a step has in 8 bits.
template <int kBits, class D8>
HWY_INLINE hn::Vec<D8> LoadStep(D8 d, const std::byte* HWY_RESTRICT weights, int turn, int step,
                                int at) {
  constexpr int kRow = kPanel * 4;
  const uint8_t* HWY_RESTRICT bytes = reinterpret_cast<const uint8_t*>(weights) + at;
  if constexpr (kBits == 8) {
    return hn::LoadU(d, bytes + step * kRow);
  } else {
    const hn::Repartition<uint16_t, D8> d16;
    const int half = kBits == 4 ? turn : turn / 2;
    auto low = hn::BitCast(d16, hn::LoadU(d, bytes + (step - 4 * half) * kRow));
    if (half == 1) low = hn::ShiftRight<4>(low);
    const auto low_bits = hn::And(hn::BitCast(d, low), hn::Set(d, uint8_t{0x0F}));
    if constexpr (kBits == 4) return low_bits;
    auto high = hn::BitCast(d16, hn::LoadU(d, bytes + (4 + step - 2 * turn) * kRow));
    switch (turn) {
      case 0:
        high = hn::ShiftLeft<4>(high);
        break;
      case 1:
        high = hn::ShiftLeft<2>(high);
        break;
      case 3:
        high = hn::ShiftRight<2>(high);
        break;
      default:
        break;
    }
    return hn::Or(low_bits, hn::And(hn::BitCast(d, high), hn::Set(d, uint8_t{0x30})));
  }
}

template <int kBits>
void UnpackRows(const std::byte* HWY_RESTRICT from, std::byte* HWY_RESTRICT to) {
  constexpr int kTurnSteps = PanelFormat{.bits = kBits}.turn_steps();
  const hn::CappedTag<uint8_t, 64> d;
  constexpr int kLanesOut = static_cast<int>(hn::MaxLanes(d));
#pragma GCC unroll 8
  for (int step = 0; step < kSteps; ++step) {
    for (int at = 0; at < kPanel * 4; at += kLanesOut) {
      hn::StoreU(LoadStep<kBits>(d, from, step / kTurnSteps, step, at), d,
                 reinterpret_cast<uint8_t*>(to) + step * kPanel * 4 + at);
    }
  }
}

// A group's weights in 4 or 6 bits as ones of 8 bits. to: 1024 bytes.
inline void UnpackWeights(int bits, const std::byte* HWY_RESTRICT from,
                          std::byte* HWY_RESTRICT to) {
  if (bits == 4) {
    UnpackRows<4>(from, to);
  } else {
    UnpackRows<6>(from, to);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace onepass
HWY_AFTER_NAMESPACE();

#endif
