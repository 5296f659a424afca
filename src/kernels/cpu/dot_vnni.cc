// The integer product with AVX-512 VNNI, whose vpdpbusd adds four products of an unsigned and a
// signed byte to a 32-bit sum, exactly. Highway 1.0.3 has no target for it, so it is written in
// intrinsics; callers ask HasVnni() first.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "core/check.h"
#include "kernels/cpu/dot.h"
#include "kernels/cpu/intrinsics.h"
#include "kernels/cpu/quantised.h"

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

template <int kRows, int kBits>
ONEPASS_VNNI void Tile(const DotTask& task, int64_t row) {
  const std::byte* values = task.values + row * task.value_stride;
  const float* scales = task.scales + row * task.group_stride;
  const int32_t* corrections = task.corrections + row * task.group_stride;
  float* sums = task.sums + row * kPanel;
  __m512 total[kRows][2];
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    total[i][0] = task.load_sums ? _mm512_loadu_ps(sums + i * kPanel) : _mm512_setzero_ps();
    total[i][1] = task.load_sums ? _mm512_loadu_ps(sums + i * kPanel + 16) : _mm512_setzero_ps();
  }
  const std::byte* block = task.blocks;
  for (int64_t g = 0; g < task.groups; ++g, block += QuantisedWeight::BlockBytes(kBits)) {
    const std::byte* weights = block + QuantisedWeight::kScaleBytes;
    __m512i dot[kRows][2];
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      dot[i][0] = dot[i][1] = _mm512_set1_epi32(corrections[i * task.group_stride + g]);
    }
#pragma GCC unroll 8
    for (int q = 0; q < kBits; ++q) {  // 8 steps of four depths, or 4 of twice four
      if constexpr (kRows <= 2) {      // few rows: the blocks come from memory
        _mm_prefetch(weights + q * 128 + kPrefetchBytes, _MM_HINT_T0);
        _mm_prefetch(weights + q * 128 + 64 + kPrefetchBytes, _MM_HINT_T0);
      }
      const __m512i w0 = _mm512_loadu_si512(weights + q * 128);
      const __m512i w1 = _mm512_loadu_si512(weights + q * 128 + 64);
      if constexpr (kBits == 8) {
#pragma GCC unroll 6
        for (int i = 0; i < kRows; ++i) {
          const __m512i x = Four(values + i * task.value_stride + q * 4);
          dot[i][0] = _mm512_dpbusd_epi32(dot[i][0], w0, x);
          dot[i][1] = _mm512_dpbusd_epi32(dot[i][1], w1, x);
        }
      } else {
        const __m512i half = _mm512_set1_epi8(15);
        const __m512i low0 = _mm512_and_si512(w0, half);
        const __m512i low1 = _mm512_and_si512(w1, half);
        const __m512i high0 = _mm512_and_si512(_mm512_srli_epi16(w0, 4), half);
        const __m512i high1 = _mm512_and_si512(_mm512_srli_epi16(w1, 4), half);
#pragma GCC unroll 6
        for (int i = 0; i < kRows; ++i) {
          const std::byte* x = values + i * task.value_stride + q * 4;
          const __m512i x_low = Four(x);
          const __m512i x_high = Four(x + kGroup / 2);
          dot[i][0] = _mm512_dpbusd_epi32(dot[i][0], low0, x_low);
          dot[i][1] = _mm512_dpbusd_epi32(dot[i][1], low1, x_low);
          dot[i][0] = _mm512_dpbusd_epi32(dot[i][0], high0, x_high);
          dot[i][1] = _mm512_dpbusd_epi32(dot[i][1], high1, x_high);
        }
      }
    }
    values += kGroup;
    const __m512i halves = _mm512_loadu_si512(block);
    const __m512 scale0 = _mm512_cvtph_ps(_mm512_castsi512_si256(halves));
    const __m512 scale1 = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1));
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      const __m512 scale = _mm512_set1_ps(scales[i * task.group_stride + g]);
      total[i][0] =
          _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[i][0]), _mm512_mul_ps(scale0, scale), total[i][0]);
      total[i][1] =
          _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[i][1]), _mm512_mul_ps(scale1, scale), total[i][1]);
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    _mm512_storeu_ps(sums + i * kPanel, total[i][0]);
    _mm512_storeu_ps(sums + i * kPanel + 16, total[i][1]);
  }
}

template <int kBits>
void Tiles(const DotTask& task) {
  const Parts tiles(task.rows, kTileRows);
  for (int64_t i = 0; i < tiles.count(); ++i) {
    const int64_t row = tiles.begin(i);
    switch (tiles.size(i)) {
      case 1:
        Tile<1, kBits>(task, row);
        break;
      case 2:
        Tile<2, kBits>(task, row);
        break;
      case 3:
        Tile<3, kBits>(task, row);
        break;
      case 4:
        Tile<4, kBits>(task, row);
        break;
      case 5:
        Tile<5, kBits>(task, row);
        break;
      default:
        Tile<6, kBits>(task, row);
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
  if (task.bits == 8) {
    Tiles<8>(task);
  } else {
    Tiles<4>(task);
  }
}

#else

bool HasVnni() { return false; }

void MultiplyVnni(const DotTask&) { ONEPASS_CHECK(false, "no AVX-512 VNNI here"); }

#endif

}  // namespace onepass
