// The processor's own intrinsics, for the few operations that Highway has no name for. Functions
// that use them name their target, and callers ask first whether the processor has it.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__GNUC__) && !defined(__clang__)
// GCC's own intrinsics begin with registers of undefined content, and it warns of them.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
