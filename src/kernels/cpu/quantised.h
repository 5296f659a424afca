// Products with a weight in 8 or 4 bits. The forward multiplies integers: rows of x are quantised to
// int8 in groups of 32 along the depth, each with a scale of its own, and
//   y[t, n] = sum over groups g, in order, of (sum over the group of w x) * (scale_w * scale_x),
// whose inner sums are exact, so that nothing but the rounding of the outer chain differs between
// instruction sets, and nothing at all between threads and batches. ref/quantised_product.h computes
// the same plainly. The backward to inputs multiplies dequantised weights in f32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/thread_pool.h"
#include "kernels/cpu/blocking.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/weight_memory.h"
#include "kernels/ops.h"
#include "tensor/blocks.h"
#include "tensor/tensor.h"

namespace onepass {

// Neighbours along the depth that share a scale, in weights and in rows of x.
constexpr int64_t kGroup = 32;

// A weight [N, K] of Q8_0 or Q4_0 blocks in panels of 32 outputs, [ceil(N / 32)][K / 32] blocks of
//   32 scales, f16
//   8 bits: [8][32][4] bytes: weight + 128 of depths 4 q to 4 q + 3 of the group, output by output,
//           so that a vector has four neighbours of as many outputs as it has 32-bit lanes
//   4 bits: [4][32][4] bytes: weight + 8 of depths 4 q + i in the low halves, 16 + 4 q + i in the
//           high ones.
// Outputs past N have scale 0. Immutable.
class QuantisedWeight final : public PreparedWeight {
 public:
  // REQUIRES: Q8_0 or Q4_0, shape [N, K], K a multiple of 32.
  QuantisedWeight(const BlockTensor& weight, WeightMemory& memory, ThreadPool& pool);

  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  int64_t bytes() const override { return blocks_.bytes(); }

  static constexpr int64_t kScaleBytes = kPanel * 2;
  static constexpr int64_t BlockBytes(int bits) { return kScaleBytes + kPanel * kGroup * bits / 8; }

  int bits() const { return bits_; }
  int offset() const { return bits_ == 8 ? 128 : 8; }  // a stored weight is this above its value
  int64_t groups() const { return cols_ / kGroup; }
  const std::byte* block(int64_t panel, int64_t group) const {
    return blocks_.data() + (panel * groups() + group) * BlockBytes(bits_);
  }

 private:
  int64_t rows_;
  int64_t cols_;
  int bits_;
  WeightPiece<std::byte> blocks_;
};

// Ops::MatMuls with weights that are all QuantisedWeight, of as many bits.
void QuantisedGemm(const MatMulInput<float>& input, std::span<const MatMulOutput<float>> outputs,
                   GemmScratch& scratch, ThreadPool& pool);

// dx[T, K] += dy[T, N] W.
void QuantisedGemmBackward(View<const float> dy, const QuantisedWeight& w, View<float> dx,
                           GemmScratch& scratch, ThreadPool& pool);

}  // namespace onepass
