// The integer product with AVX-512 VNNI, whose vpdpbusd adds four products of an unsigned and a
// signed byte to a 32-bit sum, exactly. Highway 1.0.3 has no target for it, so it is written in
// intrinsics; callers ask HasVnni() first.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "core/check.h"
#include "kernels/cpu/dot.h"
#include "kernels/cpu/intrinsics.h"
#include "kernels/cpu/panel_format.h"

namespace onepass {
namespace {

std::atomic<bool> vnni_allowed{true};

}  // namespace

void AllowVnni(bool allowed) { vnni_allowed = allowed; }

#if defined(__x86_64__)
namespace {

#define ONEPASS_VNNI \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")))

// Rows of the largest tile: its sums of two vectors each fill the registers.
constexpr int64_t kTileRows = 6;

ONEPASS_VNNI inline __m512i Four(const std::byte* values) {
  int32_t word;
  std::memcpy(&word, values, sizeof(word));
  return _mm512_set1_epi32(word);
}

ONEPASS_VNNI inline __m512 Halves(const std::byte* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
ONEPASS_VNNI inline __m128i Bytes(const std::byte* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}

// Scales of vector v's 16 outputs in a group's part; header and scales as PanelFormat says.
template <BlockType kType>
ONEPASS_VNNI inline __m512 Scales(const std::byte* header, const std::byte* scales, int part,
                                  int v) {
  if constexpr (kType == BlockType::kQ4_K) {
    const __m512i integers = _mm512_cvtepu8_epi32(Bytes(scales + v * 16));
    return _mm512_mul_ps(Halves(header + v * 32), _mm512_cvtepi32_ps(integers));
  } else if constexpr (kType == BlockType::kQ6_K) {
    const __m512i integers = _mm512_cvtepi8_epi32(Bytes(scales + part * kPanel + v * 16));
    return _mm512_mul_ps(Halves(header + v * 32), _mm512_cvtepi32_ps(integers));
  } else {
    return Halves(scales + v * 32);
  }
}

// The minima of Q4_K.
ONEPASS_VNNI inline __m512 Minima(const std::byte* header, const std::byte* scales, int v) {
  const __m512i integers = _mm512_cvtepu8_epi32(Bytes(scales + kPanel + v * 16));
  return _mm512_mul_ps(Halves(header + kPanel * 2 + v * 32), _mm512_cvtepi32_ps(integers));
}

// The stored weights of vector v's 16 outputs at a step of a turn (PanelFormat).
template <int kBits>
ONEPASS_VNNI inline __m512i Weights(const std::byte* weights, int turn, int step, int v) {
  constexpr int kRow = kPanel * 4;
  const std::byte* bytes = weights + v * 64;
  if constexpr (kBits == 8) {
    return _mm512_loadu_si512(bytes + step * kRow);
  } else {
    const int half = kBits == 4 ? turn : turn / 2;
    __m512i low = _mm512_loadu_si512(bytes + (step - 4 * half) * kRow);
    if (half == 1) low = _mm512_srli_epi16(low, 4);
    low = _mm512_and_si512(low, _mm512_set1_epi8(0x0F));
    if constexpr (kBits == 4) return low;
    __m512i high = _mm512_loadu_si512(bytes + (4 + step - 2 * turn) * kRow);
    switch (turn) {
      case 0:
        high = _mm512_slli_epi16(high, 4);
        break;
      case 1:
        high = _mm512_slli_epi16(high, 2);
        break;
      case 3:
        high = _mm512_srli_epi16(high, 2);
        break;
      default:
        break;
    }
    return _mm512_or_si512(low, _mm512_and_si512(high, _mm512_set1_epi8(0x30)));
  }
}

template <int kRows, BlockType kType, int kBits>
ONEPASS_VNNI void Tile(const DotTask& task, int64_t row) {
  constexpr PanelFormat kFormat = PanelFormatOf(kType).InBits(kBits);
  constexpr int kParts = kFormat.parts;
  constexpr int kPartTurns = kFormat.turns() / kParts;
  constexpr int kTurnSteps = kFormat.turn_steps();
  constexpr bool kHasMinima = kType == BlockType::kQ4_K;
  const std::byte* values = task.values + row * task.value_stride;
  const float* scales = task.scales + row * task.group_stride;
  const int32_t* corrections = task.corrections + row * task.group_stride * kParts;
  float* sums = task.sums + row * kPanel;
  __m512 total[kRows][2];
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    total[i][0] = task.load_sums ? _mm512_loadu_ps(sums + i * kPanel) : _mm512_setzero_ps();
    total[i][1] = task.load_sums ? _mm512_loadu_ps(sums + i * kPanel + 16) : _mm512_setzero_ps();
  }
  const std::byte* header = task.blocks;
  const std::byte* group = header + kFormat.header_bytes;
  for (int64_t g = 0; g < task.groups; ++g, group += kFormat.GroupBytes()) {
    const std::byte* weights = group + kScaleBytes;
#pragma GCC unroll 2
    for (int part = 0; part < kParts; ++part) {
      const auto correction = [&](int i) {
        return corrections[(i * task.group_stride + g) * kParts + part];
      };
      __m512i dot[kRows][2];
#pragma GCC unroll 6
      for (int i = 0; i < kRows; ++i) {
        dot[i][0] = dot[i][1] = _mm512_set1_epi32(kHasMinima ? 0 : correction(i));
      }
#pragma GCC unroll 8
      for (int i = 0; i < kSteps / kParts; ++i) {
        const int s = part * kSteps / kParts + i;
#pragma GCC unroll 2
        for (int line = s * kBits / 4; line < (s + 1) * kBits / 4; ++line) {
          _mm_prefetch(weights + line * 64 + kPrefetchBytes, _MM_HINT_T0);
        }
        const int turn = part * kPartTurns + i % kPartTurns;
        const int step = turn * kTurnSteps + i / kPartTurns;
        const __m512i w0 = Weights<kBits>(weights, turn, step, 0);
        const __m512i w1 = Weights<kBits>(weights, turn, step, 1);
#pragma GCC unroll 6
        for (int r = 0; r < kRows; ++r) {
          const __m512i x = Four(values + r * task.value_stride + step * 4);
          dot[r][0] = _mm512_dpbusd_epi32(dot[r][0], w0, x);
          dot[r][1] = _mm512_dpbusd_epi32(dot[r][1], w1, x);
        }
      }
      const __m512 scale0 = Scales<kType>(header, group, part, 0);
      const __m512 scale1 = Scales<kType>(header, group, part, 1);
      if constexpr (kHasMinima) {
        const __m512 minima0 = Minima(header, group, 0);
        const __m512 minima1 = Minima(header, group, 1);
#pragma GCC unroll 6
        for (int i = 0; i < kRows; ++i) {
          const __m512 scale = _mm512_set1_ps(scales[i * task.group_stride + g]);
          const __m512 minus_sum = _mm512_cvtepi32_ps(_mm512_set1_epi32(correction(i)));
          const __m512 value0 = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[i][0]), scale0,
                                                _mm512_mul_ps(minima0, minus_sum));
          const __m512 value1 = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[i][1]), scale1,
                                                _mm512_mul_ps(minima1, minus_sum));
          total[i][0] = _mm512_fmadd_ps(value0, scale, total[i][0]);
          total[i][1] = _mm512_fmadd_ps(value1, scale, total[i][1]);
        }
      } else {
#pragma GCC unroll 6
        for (int i = 0; i < kRows; ++i) {
          const __m512 scale = _mm512_set1_ps(scales[i * task.group_stride + g]);
          total[i][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[i][0]), _mm512_mul_ps(scale0, scale),
                                        total[i][0]);
          total[i][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[i][1]), _mm512_mul_ps(scale1, scale),
                                        total[i][1]);
        }
      }
    }
    values += kGroup;
  }
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    _mm512_storeu_ps(sums + i * kPanel, total[i][0]);
    _mm512_storeu_ps(sums + i * kPanel + 16, total[i][1]);
  }
}

template <BlockType kType, int kBits>
void Tiles(const DotTask& task) {
  const Parts tiles(task.rows, kTileRows);
  for (int64_t i = 0; i < tiles.count(); ++i) {
    const int64_t row = tiles.begin(i);
    switch (tiles.size(i)) {
      case 1:
        Tile<1, kType, kBits>(task, row);
        break;
      case 2:
        Tile<2, kType, kBits>(task, row);
        break;
      case 3:
        Tile<3, kType, kBits>(task, row);
        break;
      case 4:
        Tile<4, kType, kBits>(task, row);
        break;
      case 5:
        Tile<5, kType, kBits>(task, row);
        break;
      default:
        Tile<6, kType, kBits>(task, row);
        break;
    }
  }
}

}  // namespace

bool HasVnni() {
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx2") &&
                          __builtin_cpu_supports("fma");
  return has && vnni_allowed;
}

void MultiplyVnni(const DotTask& task) {
  VisitKind(task, [&]<BlockType kType, int kBits>() { Tiles<kType, kBits>(task); });
}

#else

bool HasVnni() { return false; }

void MultiplyVnni(const DotTask&) { ONEPASS_CHECK(false, "no AVX-512 VNNI here"); }

#endif

}  // namespace onepass
