// The loop that the integer peak of a machine with AVX-512 VNNI is measured with.
#pragma once

#include <cstdint>

namespace onepass {

// Runs `rounds` times 12 independent products of bytes, each added to 32-bit sums, and returns a
// value that depends on all; their number of operations, a multiply-add being two, goes to
// *operations. REQUIRES: HasVnni() (cpu/dot.h).
float MultiplyAddVnni(int64_t rounds, double* operations);

}  // namespace onepass
