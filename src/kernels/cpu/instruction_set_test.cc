// The same ops on every instruction set that this machine has, so that a machine with AVX-512 also
// tests what one without it would run.
#include <gtest/gtest.h>

#include <string>

#include "kernels/machine.h"
#include "kernels/narrow_keys_for_test.h"

namespace onepass {
namespace {

using testing::Block;
using testing::Keys;
using testing::NarrowKeys;
using testing::RelativeError;
using testing::StoredWeight;

constexpr uint64_t kSeed = 99;

// Everything that one pass through the ops computes.
struct Outcome {
  Block<float> y{30, 77};
  Block<float> dx{30, 150};
  Block<float> few{2, 77};
  Block<float> normed{30, 96};
  Block<float> out{30, 96};
  Block<float> out_bf16{30, 96};
  Block<float> out_int8{30, 96};
  Block<float> y_of_normed{30, 77};
  Block<float> y_of_gated{30, 77};
  Block<float> dq{30, 96};
  Block<float> dk;
  Block<float> logits;
};

Outcome RunOps(Ops<float>& ops, DType dtype) {
  Rng rng(kSeed);
  Outcome o;
  const StoredWeight stored(77, 150, dtype, rng);
  const auto w = std::move(ops.Prepare(stored.tensor())).value();
  const auto x = Block<float>(30, 150).Fill(rng);
  const auto dy = Block<float>(30, 77).Fill(rng);
  ops.MatMul(x.view(), *w, {}, o.y.view(), false);
  ops.MatMul(x.view().Rows(0, 2), *w, {}, o.few.view(), false);
  ops.MatMulBackward(dy.view(), *w, o.dx.view());
  const auto q = Block<float>(30, 96).Fill(rng);
  const auto weight = Block<float>(1, 96).Fill(rng);
  Block<float> r(1, 30), lse(30, 6);
  ops.RmsNorm(q.view(), weight.span(), 1e-5, o.normed.view(), r.span());
  ops.RmsNormBackward(q.view(), weight.span(), r.span(), q.view(), o.normed.view());
  ops.SwiGlu(q.view(), o.normed.view(), o.normed.view());
  Keys<float> keys(2, 16, std::vector<int64_t>{70, 33}, rng);
  const AttentionSequence<float> sequence{0, 30, keys.runs()};
  const AttentionShape shape{.heads = 6, .kv_heads = 2, .head_dim = 16, .scale = 0.25};
  ops.Attention(q.view(), shape, {&sequence, 1}, o.out.view(), lse.view());
  ops.AttentionBackward(q.view(), shape, {&sequence, 1}, o.out.view(), lse.view(), q.view(),
                        o.dq.view());
  o.dk = keys.All(2);
  for (auto [type, out] : {std::pair{DType::kBF16, &o.out_bf16}, {DType::kI8, &o.out_int8}}) {
    const NarrowKeys narrow(keys, type, 2, 16, std::vector<int64_t>{103});
    const std::vector<KvRun<float>> runs = narrow.runs<float>();
    const AttentionSequence<float> narrow_sequence{0, 30, runs};
    ops.Attention(q.view(), shape, {&narrow_sequence, 1}, out->view(), lse.view());
  }
  const auto norm_weight = Block<float>(1, 150).Fill(rng);
  const auto up = Block<float>(30, 150).Fill(rng);
  const MatMulOutput<float> of_normed{w.get(), {}, o.y_of_normed.view(), false};
  ops.MatMuls(
      {.x = x.view(), .norm_weight = norm_weight.span(), .norm_eps = 1e-5, .inv_rms = r.span()},
      {&of_normed, 1});
  const MatMulOutput<float> of_gated{w.get(), {}, o.y_of_gated.view(), false};
  ops.MatMuls({.x = x.view(), .up = up.view()}, {&of_gated, 1});
  o.logits = Block<float>(5, 1000).Fill(rng);
  const std::vector<int32_t> targets(5, 999);
  const std::vector<float> scale(5, 1);
  std::vector<float> loss(5);
  ops.SoftmaxCrossEntropy(o.logits.view(), targets, scale, loss);
  return o;
}

class InstructionSets : public ::testing::Test {
 protected:
  void TearDown() override { ForceInstructionSet(""); }
};

TEST_F(InstructionSets, EachEqualsReference) {
  const std::vector<std::string> names = InstructionSetNames();
  ASSERT_FALSE(names.empty());
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    const Outcome expected = RunOps(*MakeRefOpsFloat(), dtype);
    for (const std::string& name : names) {
      SCOPED_TRACE(name + " seed=" + std::to_string(kSeed));
      ForceInstructionSet(name);
      ASSERT_EQ(InstructionSetName(), name);
      const Outcome found = RunOps(*std::move(MakeOps("cpu", {.thread_count = 2})).value(), dtype);
      EXPECT_LT(RelativeError(found.y.view(), expected.y.view()), 2e-6);
      EXPECT_LT(RelativeError(found.few.view(), expected.few.view()), 2e-6);
      EXPECT_LT(RelativeError(found.dx.view(), expected.dx.view()), 2e-6);
      EXPECT_LT(RelativeError(found.normed.view(), expected.normed.view()), 3e-6);
      EXPECT_LT(RelativeError(found.out.view(), expected.out.view()), 3e-6);
      EXPECT_LT(RelativeError(found.out_bf16.view(), expected.out_bf16.view()), 3e-6);
      EXPECT_LT(RelativeError(found.out_int8.view(), expected.out_int8.view()), 3e-6);
      EXPECT_LT(RelativeError(found.y_of_normed.view(), expected.y_of_normed.view()), 3e-6);
      EXPECT_LT(RelativeError(found.y_of_gated.view(), expected.y_of_gated.view()), 3e-6);
      EXPECT_LT(RelativeError(found.dq.view(), expected.dq.view()), 6e-6);
      EXPECT_LT(RelativeError(found.dk.view(), expected.dk.view()), 6e-6);
      EXPECT_LT(RelativeError(found.logits.view(), expected.logits.view()), 1e-6);
      // A row alone is the same row, on each instruction set.
      EXPECT_TRUE(testing::SameBits(found.few.view(), found.y.view().Rows(0, 2)));
    }
  }
}

// A weight of one output whose only element is `bits`, times 1.
float ProductWithHalf(uint16_t bits, Ops<float>& ops) {
  const RawTensor weight{.dtype = DType::kF16,
                         .shape = {1, 1},
                         .bytes = std::as_bytes(std::span<const uint16_t>(&bits, 1))};
  const auto w = std::move(ops.Prepare(weight)).value();
  const float one = 1;
  float y = 0;
  ops.MatMul({&one, 1, 1, 1}, *w, {}, {&y, 1, 1, 1}, false);
  return y;
}

TEST_F(InstructionSets, HalvesOfEveryKindKeepTheirValue) {
  for (const std::string& name : InstructionSetNames()) {
    SCOPED_TRACE(name);
    ForceInstructionSet(name);
    const auto cpu = std::move(MakeOps("cpu", {.thread_count = 1})).value();
    for (int bits = 0; bits < 0x10000; bits += 127) {
      const float value = ToFloat(F16{static_cast<uint16_t>(bits)});
      if (!std::isfinite(value)) continue;
      EXPECT_EQ(ProductWithHalf(static_cast<uint16_t>(bits), *cpu), value) << bits;
    }
    EXPECT_EQ(ProductWithHalf(0x0001, *cpu), ToFloat(F16{0x0001}));
    EXPECT_EQ(ProductWithHalf(0x7BFF, *cpu), 65504.0f);
    EXPECT_EQ(ProductWithHalf(0x7C00, *cpu), INFINITY);
    EXPECT_EQ(ProductWithHalf(0xFC00, *cpu), -INFINITY);
    EXPECT_TRUE(std::isnan(ProductWithHalf(0x7C01, *cpu)));
    EXPECT_TRUE(std::isnan(ProductWithHalf(0xFE00, *cpu)));
  }
}

}  // namespace
}  // namespace onepass
