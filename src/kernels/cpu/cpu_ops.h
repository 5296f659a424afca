// The SIMD backend: float, all cores. Which thread computes what, how many rows a batch has and how
// KV is cut into runs change no bit of any result.
#pragma once

#include <memory>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/weight_memory.h"
#include "kernels/ops.h"

namespace onepass {

// Thread-compatible: one call at a time.
class CpuOps final : public Ops<float> {
 public:
  // thread_count 0: one per hardware thread.
  explicit CpuOps(int thread_count) : pool_(thread_count) {}

  const char* name() const override { return "cpu"; }
  ThreadPool& pool() override { return pool_; }

  Status Supports(const AttentionShape& shape) const override;
  Result<std::unique_ptr<const PreparedWeight>> Prepare(const RawTensor& weight) override;
  Result<std::unique_ptr<const PreparedWeight>> Prepare(const BlockTensor& weight) override;
  void MatMuls(const MatMulInput<float>& input,
               std::span<const MatMulOutput<float>> outputs) override;
  void MatMulBackward(View<const float> dy, const PreparedWeight& w, View<float> dx,
                      bool accumulate) override;
  void RmsNorm(View<const float> x, std::span<const float> weight, double eps, View<float> y,
               std::span<float> inv_rms) override;
  void RmsNormBackward(View<const float> x, std::span<const float> weight,
                       std::span<const float> inv_rms, View<const float> dy,
                       View<float> dx) override;
  void Rope(View<float> x, std::span<const int64_t> positions, const RopeTable& table,
            bool inverse) override;
  void Attention(View<const float> q, const AttentionShape& shape,
                 std::span<const AttentionSequence<float>> sequences, View<float> out,
                 View<float> lse) override;
  void AttentionBackward(View<const float> q, const AttentionShape& shape,
                         std::span<const AttentionSequence<float>> sequences, View<const float> out,
                         View<const float> lse, View<const float> dout, View<float> dq) override;
  void SwiGlu(View<const float> gate, View<const float> up, View<float> y) override;
  void SwiGluBackward(View<const float> gate, View<const float> up, View<const float> dy,
                      View<float> dgate, View<float> dup) override;
  void SoftmaxCrossEntropy(View<float> logits, std::span<const int32_t> targets,
                           std::span<const float> scale, std::span<float> loss) override;

 private:
  // Calls body(row) for every row, on more threads where rows * cols * cost_per_element is worth
  // it.
  template <class Body>
  void ForRows(int64_t rows, int64_t cols, int64_t cost_per_element, const Body& body);
  // Fills rope_ unless it already holds these positions and frequencies: the layers of one forward
  // pass all ask for the same.
  void PrepareRope(std::span<const int64_t> positions, const RopeTable& table);

  ThreadPool pool_;
  WeightMemory weight_memory_;
  GemmScratch gemm_;
  AttentionScratch attention_;
  std::vector<int64_t> rope_positions_;
  std::vector<double> rope_frequencies_;
  std::vector<float> rope_;  // [T][cos D/2, sin D/2]
};

}  // namespace onepass
