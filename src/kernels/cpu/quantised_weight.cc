#include <cstring>
#include <functional>

#include "kernels/cpu/quantised.h"

namespace onepass {
namespace {

// The 32 weights of a group of one output, as stored, to its places in a block of 8 or 4 bits.
// `from` is a block of GGML: f16 scale, then 32 signed bytes, or 16 bytes of two halves.
void PackGroup(const std::byte* from, int bits, int64_t output, std::byte* block) {
  std::memcpy(block + output * 2, from, 2);
  std::byte* words = block + QuantisedWeight::kScaleBytes + output * 4;
  for (int q = 0; q < bits; ++q) {
    std::memcpy(words + q * kPanel * 4, from + 2 + q * 4, 4);
    if (bits == 4) continue;
    // A signed byte plus 128 is the same byte with its highest bit turned.
    for (int i = 0; i < 4; ++i) words[q * kPanel * 4 + i] ^= std::byte{0x80};
  }
}

}  // namespace

QuantisedWeight::QuantisedWeight(const BlockTensor& weight, WeightMemory& memory, ThreadPool& pool)
    : rows_(weight.shape[0]),
      cols_(weight.shape[1]),
      bits_(weight.type == BlockType::kQ8_0 ? 8 : 4),
      blocks_(memory.Take<std::byte>(CeilDiv(rows_, kPanel) * groups() * BlockBytes(bits_))) {
  const int64_t row_bytes = weight.row_bytes();
  const int64_t group_bytes = FormatOf(weight.type).bytes;
  auto pack = [&](int64_t begin, int64_t end, int) {
    for (int64_t n = begin * kPanel; n < std::min(end * kPanel, rows_); ++n) {
      const std::byte* row = weight.bytes.data() + n * row_bytes;
      for (int64_t g = 0; g < groups(); ++g) {
        std::byte* to = blocks_.data() + ((n / kPanel) * groups() + g) * BlockBytes(bits_);
        PackGroup(row + g * group_bytes, bits_, n % kPanel, to);
      }
    }
  };
  pool.ParallelFor(CeilDiv(rows_, kPanel), 1, std::ref(pack));
}

}  // namespace onepass
