// Values become blocks of 32 with one scale: the reverse of Dequantise (blocks.h), for Q8_0 and
// Q4_0.
#pragma once

#include <cstddef>
#include <span>

#include "core/status.h"
#include "tensor/blocks.h"

namespace onepass {

// blocks = the blocks of `values`, in order. Each block's scale is, of Q8_0, its largest |value| /
// 127; of Q4_0, that of a few candidates around (value of largest size) / -8 which leaves the least
// squared error. Quants are the values over the scale as it is stored (f16), rounded to nearest.
// kInvalidArgument: a value that is no number, or above what a scale can hold; the message does not
// say where, the caller knows.
// REQUIRES: type Q8_0 or Q4_0; whole blocks; as many bytes as `values` has blocks.
Status Quantise(BlockType type, std::span<const float> values, std::span<std::byte> blocks);

}  // namespace onepass
