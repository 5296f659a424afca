// As cpu/dot_vnni.cc, in intrinsics, since Highway has no target with VNNI.
#include "kernels/machine_vnni.h"

#include "core/check.h"
#include "kernels/cpu/intrinsics.h"

namespace onepass {

#if defined(__x86_64__)

__attribute__((target("avx512f,avx512vnni"))) float MultiplyAddVnni(int64_t rounds,
                                                                    double* operations) {
  constexpr int kSums = 12;
  __m512i sums[kSums];
#pragma GCC unroll 12
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_set1_epi32(i);
  const __m512i a = _mm512_set1_epi32(0x03020100);
  const __m512i b = _mm512_set1_epi32(0x01FF01FF);
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) sums[i] = _mm512_dpbusd_epi32(sums[i], a, b);
  }
  __m512i total = sums[0];
#pragma GCC unroll 12
  for (int i = 1; i < kSums; ++i) total = _mm512_add_epi32(total, sums[i]);
  *operations = static_cast<double>(rounds) * kSums * 2 * 64;
  return static_cast<float>(_mm512_reduce_add_epi32(total));
}

#else

float MultiplyAddVnni(int64_t, double*) {
  ONEPASS_CHECK(false, "no AVX-512 VNNI here");
  return 0;
}

#endif

}  // namespace onepass
