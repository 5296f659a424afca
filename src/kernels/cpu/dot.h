// Integer products of quantised rows with blocks of a quantised weight: one interface, one
// implementation for each way in which processors multiply bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace onepass {

// How far ahead blocks that are read once are fetched: past the page, where the processor's own
// prefetch ends.
constexpr int kPrefetchBytes = 4096;

// How a group's 32 values of a row of x lie in memory.
enum class DotLayout {
  kBytes,  // int8, in order
  kPairs,  // int16: of each four neighbours the first and third, then the second and fourth
};

// Rows of x in int8, and a run of blocks of one panel (quantised.h) to multiply them with.
struct DotTask {
  const std::byte* values = nullptr;     // the first row at the run's first group
  const float* scales = nullptr;         // likewise; 0 where all values are
  const int32_t* corrections = nullptr;  // -offset * sum of the group's values
  int64_t value_stride = 0;              // bytes from row to row
  int64_t group_stride = 0;              // scales, and corrections, from row to row
  int64_t rows = 0;
  int64_t groups = 0;
  const std::byte* blocks = nullptr;
  int bits = 8;            // of a stored weight
  float* sums = nullptr;   // [rows][32]
  bool load_sums = false;  // += instead of =
};

struct DotKernel {
  DotLayout layout = DotLayout::kPairs;
  void (*multiply)(const DotTask& task) = nullptr;
};

// Bytes of a row of K values in a layout.
constexpr int64_t DotRowBytes(DotLayout layout, int64_t cols) {
  return layout == DotLayout::kPairs ? 2 * cols : cols;
}

// Whether this machine multiplies bytes with AVX-512 VNNI, and nobody has forbidden it.
bool HasVnni();
// For tests of what machines without it run. Not while ops run.
void AllowVnni(bool allowed);
// REQUIRES: HasVnni().
void MultiplyVnni(const DotTask& task);

}  // namespace onepass
