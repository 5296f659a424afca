// What this machine can do at most, measured: the limits that benchmarks are compared with.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/thread_pool.h"

namespace onepass {

// The most f32 multiply-adds of registers only that all threads of the pool reach together, in 10^9
// operations a second (a multiply-add is two). The best of several short trials: about 0.2 s.
double MeasurePeakGflops(ThreadPool& pool);

// The same of 8-bit integers as the products of 8-bit weights multiply them: unsigned by signed
// bytes with VNNI, else bytes widened to 16 bits; the sums are 32 bits wide. Without VNNI, x86
// multiplies weights of fewer bits at up to twice this.
double MeasurePeakInt8Gops(ThreadPool& pool);

// Bytes a second, in 10^9, that all threads together read from memory: each streams its part of
// `bytes` of memory, which should be well above the last cache. The best of several passes.
double MeasureMemoryBandwidth(ThreadPool& pool, int64_t bytes = int64_t{1} << 30);

// The instruction set that the CPU backend uses here, e.g. "AVX2", or "AVX3_VNNI": AVX-512 with
// products of bytes.
const char* InstructionSetName();

// All that it was compiled for and this machine has, the best first.
std::vector<std::string> InstructionSetNames();
// From now on only the named one (one of InstructionSetNames()) is used; "" ends this. For tests
// and measurements; not while ops run.
void ForceInstructionSet(std::string_view name);

}  // namespace onepass
