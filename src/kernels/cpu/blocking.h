// The sizes that the CPU backend's kernels share. They are the same on every instruction set, so
// that a packed weight is too.
#pragma once

#include <cstdint>

namespace onepass {

// Columns of a packed panel. A panel holds 32 outputs of a weight, [K][32].
constexpr int kPanel = 32;
// Depth of a block: a panel's block (256 * 32 floats) stays in the first-level cache.
constexpr int64_t kDepthBlock = 256;
// Distance between rows of packed left operands: a block and a line, so that rows spread over sets.
constexpr int kStride = kDepthBlock + 16;
// Rows of x that are packed together and share one pass over a panel's block; longer batches go in
// turns, so that packed rows stay in the second-level cache.
constexpr int64_t kRowBlock = 264;

// Two bf16 weights of one panel row: column j in the low half, column j + 16 in the high half.
enum class BF16Pair : uint32_t {};

// Elements of a panel's row as it is stored: float, BF16Pair or F16.
template <class Stored>
constexpr int kRowElements = kPanel;
template <>
inline constexpr int kRowElements<BF16Pair> = kPanel / 2;

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t RoundUp(int64_t a, int64_t b) { return CeilDiv(a, b) * b; }

// [0, count) in the fewest parts of `largest` at most, their sizes nearly equal.
class Parts {
 public:
  constexpr Parts(int64_t count, int64_t largest)
      : count_(count), parts_(CeilDiv(count, largest)) {}

  constexpr int64_t count() const { return parts_; }
  constexpr int64_t begin(int64_t i) const { return i * count_ / parts_; }
  constexpr int64_t size(int64_t i) const { return begin(i + 1) - begin(i); }

 private:
  int64_t count_;
  int64_t parts_;
};

}  // namespace onepass
