// How panels of 32 outputs hold weights in blocks of 8 to 4 bits. Plain numbers, known when kernels
// are compiled.
#pragma once

#include <cstdint>

#include "kernels/cpu/blocking.h"
#include "tensor/blocks.h"

namespace onepass {

// Neighbours along the depth that share a scale in rows of x.
constexpr int64_t kGroup = 32;
// A group is multiplied in steps of four neighbours.
constexpr int kSteps = kGroup / 4;
// Bytes of the scales of a panel's group, whatever its type.
constexpr int64_t kScaleBytes = kPanel * 2;

// A weight [N, K] of 32-element or of 256-element blocks lies in panels, each [K / 32 or K / 256]
// blocks of
//   header  Q4_K: 32 scales of scales d, then 32 scales of minima, f16; Q6_K: 32 d; else nothing
//   groups  1 or 8, each of
//     64 bytes of scales    Q8_0, Q4_0: 32 f16
//                           Q4_K: 32 scales u8, then 32 minima u8
//                           Q6_K: 32 scales i8 of the first 16 depths, then 32 of the last 16
//     weights, unsigned     8 bits: [8][32][4] bytes: row q has depths 4 q to 4 q + 3, output by
//                           output, so that a vector has four neighbours of as many outputs as it
//                           has 32-bit lanes
//                           4 bits: [4][32][4] bytes: row q of 8 bits in the low halves of row q,
//                           row 4 + q in the high ones
//                           6 bits: their low four bits as 4 bits, then [2][32][4] bytes: the top
//                           two bits of row q at bits 2 (q / 2) of row q % 2
// A value is scale * (stored - offset), of Q4_K scale * stored - minimum * offset, where scales
// (and minima) are products with those of the header. Outputs past N have scale 0.
struct PanelFormat {
  int bits = 0;    // of a stored weight; 0: panels hold no such type
  int offset = 0;  // see above
  int parts = 1;   // of a group, one after the other, each with a scale
  int64_t groups = 1;
  int64_t header_bytes = 0;

  constexpr int64_t GroupBytes() const { return kScaleBytes + kPanel * kGroup * bits / 8; }
  constexpr int64_t BlockBytes() const { return header_bytes + groups * GroupBytes(); }
  // Steps whose weights lie at the same bits of a byte make a turn: turn i has steps
  // i * turn_steps() on. Whole turns belong to a part.
  constexpr int turns() const { return bits == 8 ? parts : bits == 4 ? 2 : 4; }
  constexpr int turn_steps() const { return kSteps / turns(); }
  // The same with its weights in other bits: 8 after unpacking.
  constexpr PanelFormat InBits(int other) const {
    PanelFormat format = *this;
    format.bits = other;
    return format;
  }
};

constexpr PanelFormat PanelFormatOf(BlockType type) {
  switch (type) {
    case BlockType::kQ8_0:
      return {.bits = 8, .offset = 128};
    case BlockType::kQ4_0:
      return {.bits = 4, .offset = 8};
    case BlockType::kQ4_K:
      return {.bits = 4, .offset = 1, .groups = 8, .header_bytes = kPanel * 4};
    case BlockType::kQ6_K:
      return {.bits = 6, .offset = 32, .parts = 2, .groups = 8, .header_bytes = kPanel * 2};
    default:
      return {};
  }
}

}  // namespace onepass
