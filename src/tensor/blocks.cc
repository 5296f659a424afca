#include "tensor/blocks.h"

#include <array>
#include <cstring>

#include "core/check.h"

namespace onepass {
namespace {

constexpr int64_t kSuper = 256;  // elements of a super-block ("_K")

// In the order of their numbers.
constexpr auto kFormats = std::to_array<BlockFormat>({
    {BlockType::kF32, "F32", 1, 4},
    {BlockType::kF16, "F16", 1, 2},
    {BlockType::kQ4_0, "Q4_0", 32, 18},
    {BlockType::kQ4_1, "Q4_1", 32, 20},
    {BlockType::kQ5_0, "Q5_0", 32, 22},
    {BlockType::kQ5_1, "Q5_1", 32, 24},
    {BlockType::kQ8_0, "Q8_0", 32, 34},
    {BlockType::kQ8_1, "Q8_1", 32, 40},
    {BlockType::kQ2_K, "Q2_K", kSuper, 84},
    {BlockType::kQ3_K, "Q3_K", kSuper, 110},
    {BlockType::kQ4_K, "Q4_K", kSuper, 144},
    {BlockType::kQ5_K, "Q5_K", kSuper, 176},
    {BlockType::kQ6_K, "Q6_K", kSuper, 210},
    {BlockType::kQ8_K, "Q8_K", kSuper, 292},
    {BlockType::kIQ2_XXS, "IQ2_XXS", kSuper, 66},
    {BlockType::kIQ2_XS, "IQ2_XS", kSuper, 74},
    {BlockType::kIQ3_XXS, "IQ3_XXS", kSuper, 98},
    {BlockType::kIQ1_S, "IQ1_S", kSuper, 50},
    {BlockType::kIQ4_NL, "IQ4_NL", 32, 18},
    {BlockType::kIQ3_S, "IQ3_S", kSuper, 110},
    {BlockType::kIQ2_S, "IQ2_S", kSuper, 82},
    {BlockType::kIQ4_XS, "IQ4_XS", kSuper, 136},
    {BlockType::kI8, "I8", 1, 1},
    {BlockType::kI16, "I16", 1, 2},
    {BlockType::kI32, "I32", 1, 4},
    {BlockType::kI64, "I64", 1, 8},
    {BlockType::kF64, "F64", 1, 8},
    {BlockType::kIQ1_M, "IQ1_M", kSuper, 56},
    {BlockType::kBF16, "BF16", 1, 2},
    {BlockType::kTQ1_0, "TQ1_0", kSuper, 54},
    {BlockType::kTQ2_0, "TQ2_0", kSuper, 66},
    {BlockType::kMXFP4, "MXFP4", 32, 17},
});

template <class Stored>
Stored Load(const std::byte* bytes) {
  Stored value;
  std::memcpy(&value, bytes, sizeof(Stored));
  return value;
}

float LoadHalf(const std::byte* bytes) { return ToFloat(Load<F16>(bytes)); }
int LowHalf(std::byte b) { return std::to_integer<int>(b) & 15; }
int HighHalf(std::byte b) { return std::to_integer<int>(b) >> 4; }

// f16 scale, 32 signed bytes.
void DequantiseQ8_0(const std::byte* block, float* out) {
  const float scale = LoadHalf(block);
  for (int i = 0; i < 32; ++i) {
    out[i] = static_cast<float>(Load<int8_t>(block + 2 + i)) * scale;
  }
}

// f16 scale, 16 bytes: byte i has element i in its low half and element 16 + i in its high half.
void DequantiseQ4_0(const std::byte* block, float* out) {
  const float scale = LoadHalf(block);
  for (int i = 0; i < 16; ++i) {
    out[i] = scale * static_cast<float>(LowHalf(block[2 + i]) - 8);
    out[16 + i] = scale * static_cast<float>(HighHalf(block[2 + i]) - 8);
  }
}

// f16 scale of scales, f16 scale of minima, 12 bytes of 8 scales and minima, 128 bytes: 8 groups of
// 32 elements; bytes 32 j to 32 j + 31 have group 2 j in their low halves and 2 j + 1 in the high.
void DequantiseQ4_K(const std::byte* block, float* out) {
  const float scale_scale = LoadHalf(block);
  const float minimum_scale = LoadHalf(block + 2);
  const std::byte* quants = block + 16;
  for (int group = 0; group < 8; ++group) {
    const ScaleAndMinimum unpacked = UnpackQ4_KScale(block, group);
    const float scale = scale_scale * static_cast<float>(unpacked.scale);
    const float minimum = minimum_scale * static_cast<float>(unpacked.minimum);
    for (int i = 0; i < 32; ++i) {
      const std::byte b = quants[32 * (group / 2) + i];
      const int q = group % 2 == 0 ? LowHalf(b) : HighHalf(b);
      const float product = scale * static_cast<float>(q);
      out[32 * group + i] = product - minimum;
    }
  }
}

// 128 bytes of low 4 bits, 64 bytes of high 2 bits, 16 signed scales of 16 elements each, f16 scale
// of scales. Two halves of 128 elements, each of 4 runs of 32: runs 0 and 1 have their low bits in
// the low halves of the half's bytes 0 to 31 and 32 to 63, runs 2 and 3 in the high halves; run r
// has its high bits at bits 2 r of the half's 32 bytes.
void DequantiseQ6_K(const std::byte* block, float* out) {
  const std::byte* low = block;
  const std::byte* high = block + 128;
  const std::byte* scales = block + 192;
  const float scale_scale = LoadHalf(block + 208);
  for (int e = 0; e < kSuper; ++e) {
    const int half = e / 128;
    const int run = e % 128 / 32;
    const int i = e % 32;
    const std::byte low_byte = low[64 * half + 32 * (run % 2) + i];
    const int low_bits = run < 2 ? LowHalf(low_byte) : HighHalf(low_byte);
    const int high_bits = std::to_integer<int>(high[32 * half + i]) >> (2 * run) & 3;
    const float scale = scale_scale * static_cast<float>(Load<int8_t>(scales + e / 16));
    out[e] = scale * static_cast<float>((low_bits | high_bits << 4) - 32);
  }
}

}  // namespace

const BlockFormat* FindBlockFormat(uint32_t type) {
  for (const BlockFormat& format : kFormats) {
    if (static_cast<uint32_t>(format.type) == type) return &format;
  }
  return nullptr;
}

const BlockFormat& FormatOf(BlockType type) {
  const BlockFormat* format = FindBlockFormat(static_cast<uint32_t>(type));
  ONEPASS_CHECK(format != nullptr, "unknown block type");
  return *format;
}

std::optional<DType> DenseDType(BlockType type) {
  switch (type) {
    case BlockType::kF64:
      return DType::kF64;
    case BlockType::kF32:
      return DType::kF32;
    case BlockType::kF16:
      return DType::kF16;
    case BlockType::kBF16:
      return DType::kBF16;
    case BlockType::kI64:
      return DType::kI64;
    case BlockType::kI32:
      return DType::kI32;
    case BlockType::kI16:
      return DType::kI16;
    case BlockType::kI8:
      return DType::kI8;
    default:
      return std::nullopt;
  }
}

bool CanDequantise(BlockType type) {
  switch (type) {
    case BlockType::kF32:
    case BlockType::kF16:
    case BlockType::kBF16:
    case BlockType::kQ8_0:
    case BlockType::kQ4_0:
    case BlockType::kQ4_K:
    case BlockType::kQ6_K:
      return true;
    default:
      return false;
  }
}

// Bytes 4 to 15 of a block hold them all: scales and minima of groups 0 to 3 are the low 6 bits of
// bytes 0 to 3 and 4 to 7; of groups 4 to 7, bytes 8 to 11 hold the low 4 bits (scale low, minimum
// high) and the two top bits of bytes 0 to 7 the rest.
ScaleAndMinimum UnpackQ4_KScale(const std::byte* block, int group) {
  const auto at = [block](int i) { return std::to_integer<int>(block[4 + i]); };
  if (group < 4) return {.scale = at(group) & 63, .minimum = at(group + 4) & 63};
  return {.scale = (at(group + 4) & 15) | (at(group - 4) >> 6) << 4,
          .minimum = at(group + 4) >> 4 | (at(group) >> 6) << 4};
}

void Dequantise(BlockType type, std::span<const std::byte> blocks, std::span<float> out) {
  const BlockFormat& format = FormatOf(type);
  const int64_t block_count = std::ssize(blocks) / format.bytes;
  ONEPASS_CHECK(CanDequantise(type), format.name);
  ONEPASS_CHECK(block_count * format.bytes == std::ssize(blocks) &&
                    block_count * format.elements == std::ssize(out),
                "want whole blocks, one for every part of out");
  for (int64_t b = 0; b < block_count; ++b) {
    const std::byte* block = blocks.data() + b * format.bytes;
    float* values = out.data() + b * format.elements;
    switch (type) {
      case BlockType::kF32:
        *values = Load<float>(block);
        break;
      case BlockType::kF16:
        *values = LoadHalf(block);
        break;
      case BlockType::kBF16:
        *values = ToFloat(Load<BF16>(block));
        break;
      case BlockType::kQ8_0:
        DequantiseQ8_0(block, values);
        break;
      case BlockType::kQ4_0:
        DequantiseQ4_0(block, values);
        break;
      case BlockType::kQ4_K:
        DequantiseQ4_K(block, values);
        break;
      default:
        DequantiseQ6_K(block, values);
        break;
    }
  }
}

}  // namespace onepass
