// Products with a weight in 8 to 4 bits. The forward multiplies integers: rows of x are quantised
// to int8 in groups of 32 along the depth, each with a scale of its own, and
//   y[t, n] = sum over groups g, in order, of (sum over the group of w x) * (scale_w * scale_x)
// whose inner sums are exact, so that nothing but the rounding of its floats differs between
// instruction sets, and nothing at all between threads and batches. Q6_K has two scales a group and
// adds its two halves one after the other; of Q4_K the group adds
//   (scale_w * sum of w x - minimum_w * sum of x) * scale_x.
// ref/quantised_product.h computes the same plainly. The backward to inputs multiplies dequantised
// weights in f32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/thread_pool.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/panel_format.h"
#include "kernels/cpu/weight_memory.h"
#include "kernels/ops.h"
#include "tensor/blocks.h"
#include "tensor/tensor.h"

namespace onepass {

// A weight [N, K] of blocks in 8 to 4 bits, in panels as panel_format.h lays them out. Immutable.
class QuantisedWeight final : public PreparedWeight {
 public:
  // REQUIRES: a type that panels hold, shape [N, K], whole blocks.
  QuantisedWeight(const BlockTensor& weight, WeightMemory& memory, ThreadPool& pool);

  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  int64_t bytes() const override { return panels_.bytes(); }

  BlockType type() const { return type_; }
  const PanelFormat& format() const { return format_; }
  int64_t groups() const { return cols_ / kGroup; }
  // The block that a group lies in, and the group in it.
  const std::byte* block(int64_t panel, int64_t group) const {
    return panels_.data() + BlockOffset(panel, group);
  }
  const std::byte* group(int64_t panel, int64_t group) const {
    return panels_.data() + GroupOffset(panel, group);
  }

  // A value is stored * scale - zero: of the first 16 depths of a group, and of the last.
  struct Affine {
    float scale[2];
    float zero[2];
  };
  Affine AffineOf(int64_t panel, int64_t group, int64_t output) const;

 private:
  int64_t BlockOffset(int64_t panel, int64_t group) const {
    return (panel * groups() + group) / format_.groups * format_.BlockBytes();
  }
  int64_t GroupOffset(int64_t panel, int64_t group) const {
    return BlockOffset(panel, group) + format_.header_bytes +
           group % format_.groups * format_.GroupBytes();
  }

  int64_t rows_;
  int64_t cols_;
  BlockType type_;
  PanelFormat format_;
  WeightPiece<std::byte> panels_;
};

// Ops::MatMuls with weights that are all QuantisedWeight, of one type.
void QuantisedGemm(const MatMulInput<float>& input, std::span<const MatMulOutput<float>> outputs,
                   GemmScratch& scratch, ThreadPool& pool);

// Ops::MatMulBackward.
void QuantisedGemmBackward(View<const float> dy, const QuantisedWeight& w, View<float> dx,
                           bool accumulate, GemmScratch& scratch, ThreadPool& pool);

}  // namespace onepass
