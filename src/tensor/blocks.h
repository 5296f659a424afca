// Weights stored in blocks: the quantised element types of GGML, their sizes, and plain
// dequantisation, which judges every faster reader of the same blocks. Dense types (F32, F16, BF16)
// are blocks of one element. No arithmetic on blocks here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"

namespace onepass {

// The values are those that GGUF files hold.
enum class BlockType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ8_1 = 9,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kQ8_K = 15,
  kIQ2_XXS = 16,
  kIQ2_XS = 17,
  kIQ3_XXS = 18,
  kIQ1_S = 19,
  kIQ4_NL = 20,
  kIQ3_S = 21,
  kIQ2_S = 22,
  kIQ4_XS = 23,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kIQ1_M = 29,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kMXFP4 = 39,
};

struct BlockFormat {
  BlockType type;
  std::string_view name;  // "Q4_K"
  int64_t elements;       // of one block, neighbours in a row
  int64_t bytes;          // of one block
};

// Null: no type of this program has that number.
const BlockFormat* FindBlockFormat(uint32_t type);
const BlockFormat& FormatOf(BlockType type);

// The dtype whose elements the blocks are, for types of one plain element a block.
std::optional<DType> DenseDType(BlockType type);

// Whether Dequantise knows the type: F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q6_K.
bool CanDequantise(BlockType type);

// out[out.size()] = the values of the blocks, in order, exactly as GGML's own scalar code gives
// them (each product and difference rounded to f32). Layouts: docs/formats/gguf.md.
// REQUIRES: CanDequantise(type); whole blocks; as many bytes as out has blocks.
void Dequantise(BlockType type, std::span<const std::byte> blocks, std::span<float> out);

// Of group 0 to 7 of a block of Q4_K, 6 bits each, in units of the block's f16 scales.
struct ScaleAndMinimum {
  int scale = 0;
  int minimum = 0;
};
ScaleAndMinimum UnpackQ4_KScale(const std::byte* block, int group);

// A stored tensor in blocks; rows are the last dimension and hold whole blocks. Borrows its bytes,
// which are not always aligned. Cheap to copy.
struct BlockTensor {
  BlockType type = BlockType::kF32;
  std::vector<int64_t> shape;  // [rows, cols] for a matrix
  std::span<const std::byte> bytes;

  int64_t element_count() const {
    int64_t n = 1;
    for (int64_t d : shape) n *= d;
    return n;
  }
  // Bytes of one row. REQUIRES: the shape is not empty.
  int64_t row_bytes() const {
    const BlockFormat& format = FormatOf(type);
    return shape.back() / format.elements * format.bytes;
  }
};

}  // namespace onepass
