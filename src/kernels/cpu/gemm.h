// Products with a packed weight, forward and backward to inputs, from one packed copy.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "core/thread_pool.h"
#include "kernels/cpu/blocking.h"
#include "kernels/cpu/weight_memory.h"
#include "kernels/ops.h"
#include "tensor/blocks.h"
#include "tensor/tensor.h"

namespace onepass {

// A weight [N, K] in panels of 32 outputs, [ceil(N / 32)][K][32]: f32, or bf16 where the file has
// bf16 (F16 is widened to f32, since bf16 would round it). The last panel is padded with zeros.
class PackedWeight final : public PreparedWeight {
 public:
  // REQUIRES: shape [N, K], dtype F32, F16 or BF16.
  PackedWeight(const RawTensor& weight, WeightMemory& memory, ThreadPool& pool);
  // Of blocks that Dequantise knows: their values in f32.
  PackedWeight(const BlockTensor& weight, WeightMemory& memory, ThreadPool& pool);

  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  int64_t bytes() const override { return f32_.bytes() + bf16_.bytes(); }

  int64_t panel_count() const { return CeilDiv(rows_, kPanel); }
  bool is_bf16() const { return bf16_.size() > 0; }
  const float* f32_panel(int64_t p) const { return f32_.data() + p * cols_ * kPanel; }
  const BF16Pair* bf16_panel(int64_t p) const { return bf16_.data() + p * cols_ * (kPanel / 2); }

 private:
  // Fills f32_ with the rows that read_row(n, row) gives.
  void PackFloats(const std::function<void(int64_t n, std::span<float> row)>& read_row,
                  WeightMemory& memory, ThreadPool& pool);

  int64_t rows_;
  int64_t cols_;
  WeightPiece<float> f32_;
  WeightPiece<BF16Pair> bf16_;
};

// Scratch memory of products; grows to the largest that it has met. Thread-compatible.
class GemmScratch {
 public:
  // A packed left operand of `floats` floats.
  float* Packed(int64_t floats);
  // A thread's own sums [kRowBlock][32] and widened or transposed weights [kDepthBlock][32].
  float* Sums(int thread);
  float* Block(int thread);
  void Reserve(int thread_count);

 private:
  Buffer<float> packed_;
  Buffer<float> per_thread_;
};

// y[T, N] = x[T, K] W^T + bias; accumulate: y += instead.
void Gemm(View<const float> x, const PackedWeight& w, std::span<const float> bias, View<float> y,
          bool accumulate, GemmScratch& scratch, ThreadPool& pool);
// dx[T, K] += dy[T, N] W.
void GemmBackward(View<const float> dy, const PackedWeight& w, View<float> dx, GemmScratch& scratch,
                  ThreadPool& pool);

}  // namespace onepass
