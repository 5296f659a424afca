#include <array>
#include <cstring>
#include <functional>

#include "kernels/cpu/quantised.h"

namespace onepass {
namespace {

// A group of one output as panels store it before bits are packed: word q has depths 4 q to
// 4 q + 3, a byte each. Shifts of words never carry from byte to byte: a mask follows.
using Words = std::array<uint32_t, kSteps>;
constexpr uint32_t kLowHalves = 0x0F0F0F0F;
constexpr uint32_t kLowPairs = 0x03030303;

uint32_t WordAt(const std::byte* from) {
  uint32_t word;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

// Of group `group` of a block of GGML (tensor/blocks.cc has their layouts).
Words StoredWeights(BlockType type, const std::byte* block, int64_t group) {
  Words words;
  for (int64_t q = 0; q < kSteps; ++q) {
    if (type == BlockType::kQ8_0) {
      // A signed byte plus 128 is the same byte with its highest bit turned.
      words[q] = WordAt(block + 2 + 4 * q) ^ 0x80808080;
    } else if (type == BlockType::kQ4_0) {
      words[q] = WordAt(block + 2 + q % 4 * 4) >> (q / 4 * 4) & kLowHalves;
    } else if (type == BlockType::kQ4_K) {
      words[q] = WordAt(block + 16 + group / 2 * 32 + 4 * q) >> (group % 2 * 4) & kLowHalves;
    } else {
      const int64_t half = group / 4;
      const int64_t run = group % 4;
      const uint32_t low = WordAt(block + 64 * half + run % 2 * 32 + 4 * q) >> (run / 2 * 4);
      const uint32_t high = WordAt(block + 128 + 32 * half + 4 * q) >> (2 * run);
      words[q] = (low & kLowHalves) | (high & kLowPairs) << 4;
    }
  }
  return words;
}

void PackWeights(const Words& words, int bits, int64_t output, std::byte* weights) {
  const auto put = [&](int64_t row, uint32_t word) {
    std::memcpy(weights + (row * kPanel + output) * 4, &word, sizeof(word));
  };
  if (bits == 8) {
    for (int64_t q = 0; q < kSteps; ++q) put(q, words[q]);
    return;
  }
  for (int64_t q = 0; q < 4; ++q) {
    put(q, (words[q] & kLowHalves) | (words[q + 4] & kLowHalves) << 4);
  }
  if (bits == 4) return;
  for (int64_t row = 0; row < 2; ++row) {
    uint32_t word = 0;
    for (int64_t q = row; q < kSteps; q += 2) word |= (words[q] >> 4 & kLowPairs) << (q / 2 * 2);
    put(4 + row, word);
  }
}

// header: of the panel's block; scales: of its group.
void PackScales(BlockType type, const std::byte* block, int64_t group, int64_t output,
                std::byte* header, std::byte* scales) {
  if (type == BlockType::kQ4_K) {
    const ScaleAndMinimum found = UnpackQ4_KScale(block, static_cast<int>(group));
    std::memcpy(header + output * 2, block, 2);
    std::memcpy(header + (kPanel + output) * 2, block + 2, 2);
    scales[output] = static_cast<std::byte>(found.scale);
    scales[kPanel + output] = static_cast<std::byte>(found.minimum);
  } else if (type == BlockType::kQ6_K) {
    std::memcpy(header + output * 2, block + 208, 2);
    scales[output] = block[192 + 2 * group];
    scales[kPanel + output] = block[192 + 2 * group + 1];
  } else {
    std::memcpy(scales + output * 2, block, 2);
  }
}

float HalfAt(const std::byte* halves, int64_t index) {
  F16 half;
  std::memcpy(&half, halves + index * 2, sizeof(half));
  return ToFloat(half);
}

}  // namespace

QuantisedWeight::QuantisedWeight(const BlockTensor& weight, WeightMemory& memory, ThreadPool& pool)
    : rows_(weight.shape[0]),
      cols_(weight.shape[1]),
      type_(weight.type),
      format_(PanelFormatOf(weight.type)),
      panels_(memory.Take<std::byte>(BlockOffset(CeilDiv(rows_, kPanel), 0))) {
  const int64_t row_bytes = weight.row_bytes();
  const int64_t block_bytes = FormatOf(type_).bytes;
  auto pack = [&](int64_t begin, int64_t end, int) {
    for (int64_t n = begin * kPanel; n < std::min(end * kPanel, rows_); ++n) {
      const std::byte* row = weight.bytes.data() + n * row_bytes;
      const int64_t output = n % kPanel;
      for (int64_t g = 0; g < groups(); ++g) {
        const std::byte* from = row + g / format_.groups * block_bytes;
        const int64_t group = g % format_.groups;
        std::byte* scales = panels_.data() + GroupOffset(n / kPanel, g);
        PackScales(type_, from, group, output, panels_.data() + BlockOffset(n / kPanel, g), scales);
        PackWeights(StoredWeights(type_, from, group), format_.bits, output, scales + kScaleBytes);
      }
    }
  };
  pool.ParallelFor(CeilDiv(rows_, kPanel), 1, std::ref(pack));
}

QuantisedWeight::Affine QuantisedWeight::AffineOf(int64_t panel, int64_t group,
                                                  int64_t output) const {
  const std::byte* header = block(panel, group);
  const std::byte* scales = this->group(panel, group);
  if (type_ == BlockType::kQ4_K) {
    const float scale =
        HalfAt(header, output) * static_cast<float>(std::to_integer<int>(scales[output]));
    const float minimum = HalfAt(header, kPanel + output) *
                          static_cast<float>(std::to_integer<int>(scales[kPanel + output]));
    return {.scale = {scale, scale}, .zero = {minimum, minimum}};
  }
  const float offset = static_cast<float>(format_.offset);
  if (type_ == BlockType::kQ6_K) {
    const float of_scales = HalfAt(header, output);
    const float first = of_scales * static_cast<float>(static_cast<int8_t>(scales[output]));
    const float last = of_scales * static_cast<float>(static_cast<int8_t>(scales[kPanel + output]));
    return {.scale = {first, last}, .zero = {first * offset, last * offset}};
  }
  const float scale = HalfAt(scales, output);
  return {.scale = {scale, scale}, .zero = {scale * offset, scale * offset}};
}

}  // namespace onepass
