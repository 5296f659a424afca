// Products with a packed weight, forward and backward to inputs, from one packed copy.
#pragma once

#include <cstdint>
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

// A weight [N, K] in panels of 32 outputs, [ceil(N / 32)][K][32], in the type of the file: f32, f16
// or bf16. The last panel is padded with zeros.
class PackedWeight final : public PreparedWeight {
 public:
  // REQUIRES: shape [N, K], dtype F32, F16 or BF16.
  PackedWeight(const RawTensor& weight, WeightMemory& memory, ThreadPool& pool);

  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  int64_t bytes() const override { return f32_.bytes() + f16_.bytes() + bf16_.bytes(); }

  int64_t panel_count() const { return CeilDiv(rows_, kPanel); }
  // Calls body with the first element of panel p, row k: const float*, const F16* or
  // const BF16Pair*; rows are kRowElements of that type apart.
  template <class Body>
  void VisitPanel(int64_t p, int64_t k, const Body& body) const {
    if (bf16_.size() > 0) {
      body(RowOf(bf16_, p, k));
    } else if (f16_.size() > 0) {
      body(RowOf(f16_, p, k));
    } else {
      body(RowOf(f32_, p, k));
    }
  }

 private:
  template <class Stored>
  const Stored* RowOf(const WeightPiece<Stored>& panels, int64_t p, int64_t k) const {
    return panels.data() + (p * cols_ + k) * kRowElements<Stored>;
  }
  // Takes memory for `panels` and calls fill(first output, outputs that exist, panel) for each one.
  template <class Stored, class Fill>
  void PackPanels(WeightPiece<Stored>& panels, const Fill& fill, WeightMemory& memory,
                  ThreadPool& pool);

  int64_t rows_;
  int64_t cols_;
  WeightPiece<float> f32_;
  WeightPiece<F16> f16_;
  WeightPiece<BF16Pair> bf16_;
};

// Scratch memory of products; grows to the largest that it has met. Thread-compatible.
class GemmScratch {
 public:
  // A packed left operand of `floats` floats.
  float* Packed(int64_t floats);
  // A thread's own sums [kRowBlock][32], widened or transposed weights [kDepthBlock][32], and a row
  // of `made_cols` values, as of the last Reserve.
  float* Sums(int thread);
  float* Block(int thread);
  float* Row(int thread);
  void Reserve(int thread_count, int64_t made_cols);

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
  // The memory that Row needs: cols() where rows are made, 0 where they lie ready.
  int64_t made_cols() const { return input_.norm_weight.empty() && input_.up.empty() ? 0 : cols(); }
  // Row r, where it lies or made in `memory` [made_cols()]. Thread-safe for different rows.
  const float* Row(int64_t r, float* memory) const;

 private:
  const MatMulInput<float>& input_;
  const RowOps& ops_;
};

// Ops::MatMuls with weights that are all PackedWeight.
void Gemm(const MatMulInput<float>& input, std::span<const MatMulOutput<float>> outputs,
          GemmScratch& scratch, ThreadPool& pool);
// Ops::MatMulBackward.
void GemmBackward(View<const float> dy, const PackedWeight& w, View<float> dx, bool accumulate,
                  GemmScratch& scratch, ThreadPool& pool);

}  // namespace onepass
