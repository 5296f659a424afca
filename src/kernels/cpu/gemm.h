// Products with a packed weight, forward and backward to inputs, from one packed copy.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "core/thread_pool.h"
#include "kernels/cpu/blocking.h"
#include "kernels/cpu/rows.h"
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
  // A thread's own sums [kRowBlock][32], widened or transposed weights [kDepthBlock][32], and a row
  // of `cols` values, as of the last Reserve.
  float* Sums(int thread);
  float* Block(int thread);
  float* Row(int thread);
  void Reserve(int thread_count, int64_t cols);

 private:
  Buffer<float> packed_;
  Buffer<float> per_thread_;
};

// The rows that products read, made as they are packed. Borrows what it reads.
class InputRows {
 public:
  explicit InputRows(const MatMulInput<float>& input) : input_(input), ops_(BestRowOps()) {}

  int64_t rows() const { return input_.x.rows(); }
  int64_t cols() const { return input_.x.cols(); }
  // Row r, where it lies or made in `memory` [cols]. Thread-safe for different rows.
  const float* Row(int64_t r, float* memory) const;

 private:
  const MatMulInput<float>& input_;
  const RowOps& ops_;
};

// Ops::MatMuls with weights that are all PackedWeight.
void Gemm(const MatMulInput<float>& input, std::span<const MatMulOutput<float>> outputs,
          GemmScratch& scratch, ThreadPool& pool);
// dx[T, K] += dy[T, N] W.
void GemmBackward(View<const float> dy, const PackedWeight& w, View<float> dx, GemmScratch& scratch,
                  ThreadPool& pool);

}  // namespace onepass
