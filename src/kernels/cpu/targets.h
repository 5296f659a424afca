// Which instruction sets the CPU backend is compiled for; the best of them is chosen at run time.
// On x86: SSSE3 (the build's baseline for this module), AVX2 with FMA, AVX-512. Left out are those
// that bring nothing to float arithmetic, and those whose vectors have no compile-time size.
// Include before any Highway header.
#pragma once

#define HWY_DISABLED_TARGETS \
  (HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
