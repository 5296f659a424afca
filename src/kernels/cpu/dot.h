// Integer products of quantised rows with blocks of a quantised weight: one interface, one
// implementation for each way in which processors multiply bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/panel_format.h"
#include "tensor/blocks.h"

namespace onepass {

// How far ahead blocks that are read once are fetched: past the page, where the processor's own
// prefetch ends.
constexpr int kPrefetchBytes = 4096;

// How a group's 32 values of a row of x lie in memory.
enum class DotLayout {
  kBytes,  // int8, in order
  kPairs,  // int16: of each four neighbours the first and third, then the second and fourth
};

// Rows of x in int8, and a run of blocks of one panel to multiply them with: several without a
// header, or one that has one.
struct DotTask {
  const std::byte* values = nullptr;  // the first row at the run's first group
  const float* scales = nullptr;      // likewise; 0 where all values are
  // -offset * sum of the values of each part of a group; parts * group_stride from row to row.
  const int32_t* corrections = nullptr;
  int64_t value_stride = 0;  // bytes from row to row
  int64_t group_stride = 0;  // scales from row to row
  int64_t rows = 0;
  int64_t groups = 0;
  const std::byte* blocks = nullptr;  // of PanelFormatOf(type).InBits(bits)
  BlockType type = BlockType::kQ8_0;
  int bits = 8;            // of a stored weight: the type's, or 8 after unpacking
  float* sums = nullptr;   // [rows][32]
  bool load_sums = false;  // += instead of =
};

struct DotKernel {
  DotLayout layout = DotLayout::kPairs;
  void (*multiply)(const DotTask& task) = nullptr;
};

// Calls tiles.operator()<kType, kBits>() for the kind of weights that the task has.
template <class Tiles>
void VisitKind(const DotTask& task, const Tiles& tiles) {
  const bool in_bytes = task.bits == 8;
  if (task.type == BlockType::kQ4_K) {
    return in_bytes ? tiles.template operator()<BlockType::kQ4_K, 8>()
                    : tiles.template operator()<BlockType::kQ4_K, 4>();
  }
  if (task.type == BlockType::kQ6_K) {
    return in_bytes ? tiles.template operator()<BlockType::kQ6_K, 8>()
                    : tiles.template operator()<BlockType::kQ6_K, 6>();
  }
  if (task.type == BlockType::kQ4_0) {
    return in_bytes ? tiles.template operator()<BlockType::kQ4_0, 8>()
                    : tiles.template operator()<BlockType::kQ4_0, 4>();
  }
  return tiles.template operator()<BlockType::kQ8_0, 8>();
}

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
