// Every op's output and every gradient tensor against PyTorch's (tools/make_goldens_ops.py), for
// the oracle in double and for both float backends.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "format/safetensors.h"
#include "kernels/registry.h"

namespace onepass {
namespace {

template <class Real>
struct Backend;
template <>
struct Backend<double> {
  static std::vector<std::unique_ptr<Ops<double>>> All() {
    std::vector<std::unique_ptr<Ops<double>>> all;
    all.push_back(MakeRefOpsDouble());
    return all;
  }
  static constexpr double kTolerance = 1e-11;
};
template <>
struct Backend<float> {
  static std::vector<std::unique_ptr<Ops<float>>> All() {
    std::vector<std::unique_ptr<Ops<float>>> all;
    for (const char* name : {"ref", "cpu"}) {
      all.push_back(std::move(MakeOps(name, {.thread_count = 2})).value());
    }
    return all;
  }
  static constexpr double kTolerance = 1e-5;
};

template <class Real>
class OpsGradient : public ::testing::Test {
 protected:
  void SetUp() override {
    auto file = SafetensorsFile::Open(std::string(ONEPASS_SOURCE_DIR) +
                                      "/tests/golden/grad/ops.safetensors");
    ASSERT_TRUE(file.ok()) << file.status().message();
    file_ = std::move(file).value();
  }

  // A golden as [rows, last dimension].
  Buffer<Real> Load(const std::string& name) {
    const RawTensor& tensor = file_->tensors().at(name);
    const int64_t cols = tensor.shape.back();
    Buffer<Real> values(tensor.element_count() / cols, cols);
    ConvertTo<Real>(tensor, 0, values.size(), values.data());
    return values;
  }
  std::vector<int64_t> Integers(const std::string& name) {
    const Buffer<Real> values = Load(name);
    return {values.span().begin(), values.span().end()};
  }

  void ExpectGolden(const std::string& name, View<const Real> found) {
    const RawTensor& tensor = file_->tensors().at(name);
    std::vector<double> expected(tensor.element_count());
    ConvertTo<double>(tensor, 0, tensor.element_count(), expected.data());
    ASSERT_EQ(found.rows() * found.cols(), tensor.element_count()) << name;
    for (int64_t r = 0; r < found.rows(); ++r) {
      for (int64_t c = 0; c < found.cols(); ++c) {
        const double want = expected[r * found.cols() + c];
        ASSERT_NEAR(found(r, c), want, Backend<Real>::kTolerance * std::max(1.0, std::abs(want)))
            << name << " at " << r << ", " << c;
      }
    }
  }
  void ExpectGolden(const std::string& name, const Buffer<Real>& found) {
    ExpectGolden(name, found.view());
  }

  std::shared_ptr<const SafetensorsFile> file_;
};

template <class Real>
View<const Real> Const(const Buffer<Real>& buffer) {
  return buffer.view();
}

using Reals = ::testing::Types<double, float>;
TYPED_TEST_SUITE(OpsGradient, Reals);

TYPED_TEST(OpsGradient, MatMul) {
  using Real = TypeParam;
  for (auto& ops : Backend<Real>::All()) {
    SCOPED_TRACE(ops->name());
    const Buffer<Real> x = this->Load("matmul.x");
    const Buffer<Real> bias = this->Load("matmul.bias");
    // The float backends take no F64 weights: the values rounded to F32.
    Buffer<Real> rounded = this->Load("matmul.weight");
    RawTensor weight;
    weight.dtype = DTypeOf<Real>::kValue;
    weight.shape = {rounded.rows(), rounded.cols()};
    weight.bytes = std::as_bytes(rounded.span());
    const auto w = std::move(ops->Prepare(weight)).value();
    Buffer<Real> y(x.rows(), w->rows());
    ops->MatMul(Const(x), *w, bias.span(), y.view(), false);
    this->ExpectGolden("matmul.out", y);
    Buffer<Real> dx(x.rows(), x.cols());
    ops->MatMulBackward(Const(this->Load("matmul.d_out")), *w, dx.view(), true);
    this->ExpectGolden("matmul.d_x", dx);
  }
}

TYPED_TEST(OpsGradient, RmsNorm) {
  using Real = TypeParam;
  for (auto& ops : Backend<Real>::All()) {
    SCOPED_TRACE(ops->name());
    const Buffer<Real> x = this->Load("rms_norm.x");
    const Buffer<Real> weight = this->Load("rms_norm.weight");
    Buffer<Real> y(x.rows(), x.cols());
    Buffer<Real> r(1, x.rows());
    ops->RmsNorm(Const(x), weight.span(), 1e-3, y.view(), r.span());
    this->ExpectGolden("rms_norm.out", y);
    Buffer<Real> dx(x.rows(), x.cols());
    const Buffer<Real> dy = this->Load("rms_norm.d_out");
    ops->RmsNormBackward(Const(x), weight.span(), r.span(), Const(dy), dx.view());
    this->ExpectGolden("rms_norm.d_x", dx);
  }
}

TYPED_TEST(OpsGradient, Rope) {
  using Real = TypeParam;
  for (auto& ops : Backend<Real>::All()) {
    SCOPED_TRACE(ops->name());
    const std::vector<int64_t> positions = this->Integers("rope.positions");
    const RawTensor& stored = this->file_->tensors().at("rope.inv_freq");
    std::vector<double> frequencies(stored.element_count());
    ConvertTo<double>(stored, 0, stored.element_count(), frequencies.data());
    Buffer<Real> x = this->Load("rope.x");
    ops->Rope(x.view(), positions, {frequencies}, false);
    this->ExpectGolden("rope.out", x);
    Buffer<Real> dy = this->Load("rope.d_out");
    ops->Rope(dy.view(), positions, {frequencies}, true);
    this->ExpectGolden("rope.d_x", dy);
  }
}

TYPED_TEST(OpsGradient, SwiGlu) {
  using Real = TypeParam;
  for (auto& ops : Backend<Real>::All()) {
    SCOPED_TRACE(ops->name());
    const Buffer<Real> gate = this->Load("swiglu.gate");
    const Buffer<Real> up = this->Load("swiglu.up");
    const Buffer<Real> dy = this->Load("swiglu.d_out");
    Buffer<Real> y(gate.rows(), gate.cols());
    ops->SwiGlu(Const(gate), Const(up), y.view());
    this->ExpectGolden("swiglu.out", y);
    Buffer<Real> dgate(gate.rows(), gate.cols());
    Buffer<Real> dup(gate.rows(), gate.cols());
    ops->SwiGluBackward(Const(gate), Const(up), Const(dy), dgate.view(), dup.view());
    this->ExpectGolden("swiglu.d_gate", dgate);
    this->ExpectGolden("swiglu.d_up", dup);
  }
}

TYPED_TEST(OpsGradient, SoftmaxCrossEntropy) {
  using Real = TypeParam;
  for (auto& ops : Backend<Real>::All()) {
    SCOPED_TRACE(ops->name());
    Buffer<Real> logits = this->Load("cross_entropy.logits");
    const Buffer<Real> scale = this->Load("cross_entropy.scale");
    const std::vector<int64_t> stored = this->Integers("cross_entropy.targets");
    const std::vector<int32_t> targets(stored.begin(), stored.end());
    Buffer<Real> loss(1, logits.rows());
    ops->SoftmaxCrossEntropy(logits.view(), targets, scale.span(), loss.span());
    this->ExpectGolden("cross_entropy.loss", loss);
    this->ExpectGolden("cross_entropy.d_logits", logits);
  }
}

TYPED_TEST(OpsGradient, AttentionOfTwoSequencesThatShareAPrefix) {
  using Real = TypeParam;
  constexpr int64_t kHeads = 6;
  constexpr int64_t kKvHeads = 2;
  constexpr int64_t kHeadDim = 8;
  for (auto& ops : Backend<Real>::All()) {
    SCOPED_TRACE(ops->name());
    const AttentionShape shape{
        .heads = kHeads, .kv_heads = kKvHeads, .head_dim = kHeadDim, .scale = 1 / std::sqrt(8.0)};
    const std::vector<std::string> names = {"prefix", "a", "b"};
    std::vector<Buffer<Real>> buffers;  // k, v, dk, dv of each
    std::vector<KvRun<Real>> runs;
    for (const std::string& name : names) {
      const size_t first = buffers.size();
      buffers.push_back(this->Load("attention." + name + "_k"));
      buffers.push_back(this->Load("attention." + name + "_v"));
      const int64_t rows = buffers.back().rows();
      buffers.emplace_back(rows, kHeadDim);
      buffers.emplace_back(rows, kHeadDim);
      runs.push_back({.k = buffers[first].data(),
                      .v = buffers[first + 1].data(),
                      .head_stride = rows / kKvHeads * kHeadDim,
                      .count = rows / kKvHeads,
                      .dk = buffers[first + 2].data(),
                      .dv = buffers[first + 3].data()});
    }
    const std::vector<KvRun<Real>> runs_a = {runs[0], runs[1]};
    const std::vector<KvRun<Real>> runs_b = {runs[0], runs[2]};
    const std::vector<AttentionSequence<Real>> sequences = {{0, runs[1].count, runs_a},
                                                            {runs[1].count, runs[2].count, runs_b}};
    const Buffer<Real> q = this->Load("attention.q");
    const Buffer<Real> dout = this->Load("attention.d_out");
    Buffer<Real> out(q.rows(), q.cols());
    Buffer<Real> lse(q.rows(), kHeads);
    Buffer<Real> dq(q.rows(), q.cols());
    ops->Attention(Const(q), shape, sequences, out.view(), lse.view());
    this->ExpectGolden("attention.out", out);
    this->ExpectGolden("attention.lse", lse);
    ops->AttentionBackward(Const(q), shape, sequences, Const(out), Const(lse), Const(dout),
                           dq.view());
    this->ExpectGolden("attention.d_q", dq);
    for (size_t i = 0; i < names.size(); ++i) {
      this->ExpectGolden("attention.d_" + names[i] + "_k", buffers[4 * i + 2]);
      this->ExpectGolden("attention.d_" + names[i] + "_v", buffers[4 * i + 3]);
    }
  }
}

}  // namespace
}  // namespace onepass
