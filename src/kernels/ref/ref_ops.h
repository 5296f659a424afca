// The oracle backend: scalar loops that follow the formulas, sums in double, one thread.
// A row's result depends on nothing but the row, so batched equals alone, bit for bit; and
// attention depends on the keys in their order, never on how runs cut them.
#pragma once

#include <memory>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/ops.h"

namespace onepass {

// Real is float or double. Thread-compatible.
template <class Real>
class RefOps final : public Ops<Real> {
 public:
  RefOps() : pool_(1) {}

  const char* name() const override { return "ref"; }
  ThreadPool& pool() override { return pool_; }

  Status Supports(const AttentionShape&) const override { return Status::Ok(); }
  Result<std::unique_ptr<const PreparedWeight>> Prepare(const RawTensor& weight) override;
  // Dequantised; x is not quantised.
  Result<std::unique_ptr<const PreparedWeight>> Prepare(const BlockTensor& weight) override;
  void MatMuls(const MatMulInput<Real>& input,
               std::span<const MatMulOutput<Real>> outputs) override;
  void MatMulBackward(View<const Real> dy, const PreparedWeight& w, View<Real> dx,
                      bool accumulate) override;
  void RmsNorm(View<const Real> x, std::span<const Real> weight, double eps, View<Real> y,
               std::span<Real> inv_rms) override;
  void RmsNormBackward(View<const Real> x, std::span<const Real> weight,
                       std::span<const Real> inv_rms, View<const Real> dy, View<Real> dx) override;
  void Rope(View<Real> x, std::span<const int64_t> positions, const RopeTable& table,
            bool inverse) override;
  void Attention(View<const Real> q, const AttentionShape& shape,
                 std::span<const AttentionSequence<Real>> sequences, View<Real> out,
                 View<Real> lse) override;
  void AttentionBackward(View<const Real> q, const AttentionShape& shape,
                         std::span<const AttentionSequence<Real>> sequences, View<const Real> out,
                         View<const Real> lse, View<const Real> dout, View<Real> dq) override;
  void SwiGlu(View<const Real> gate, View<const Real> up, View<Real> y) override;
  void SwiGluBackward(View<const Real> gate, View<const Real> up, View<const Real> dy,
                      View<Real> dgate, View<Real> dup) override;
  void SoftmaxCrossEntropy(View<Real> logits, std::span<const int32_t> targets,
                           std::span<const Real> scale, std::span<Real> loss) override;

 private:
  static void Multiply(View<const Real> x, const MatMulOutput<Real>& output);

  ThreadPool pool_;
  std::vector<double> scratch_;
};

extern template class RefOps<float>;
extern template class RefOps<double>;

}  // namespace onepass
