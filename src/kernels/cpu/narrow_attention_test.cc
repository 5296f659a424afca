// Attention over KV in BF16 and I8: the oracle against itself on what the rows stand for, the CPU
// backend, on every instruction set, against the oracle, and its promises.
#include <gtest/gtest.h>

#include <string>

#include "kernels/instruction_sets_for_test.h"
#include "kernels/narrow_keys_for_test.h"
#include "kernels/registry.h"

namespace onepass {
namespace {

using testing::AttentionCase;
using testing::Block;
using testing::CpuOps;
using testing::Keys;
using testing::NarrowKeys;
using testing::RelativeError;
using testing::SameBits;
using testing::ShapeOf;

constexpr uint64_t kSeed = 90210;
constexpr DType kTypes[] = {DType::kBF16, DType::kI8};

std::vector<AttentionCase> Cases() {
  std::vector<AttentionCase> cases;
  for (const int64_t head_dim : {2, 6, 8, 12, 16, 32, 64, 80, 128, 256}) {
    cases.push_back({4, 2, head_dim, 33, {33}});
    cases.push_back({3, 1, head_dim, 1, {32, 32, 7}});
  }
  cases.push_back({9, 3, 64, 17, {1, 63, 0, 3, 64, 17, 100}});
  cases.push_back({8, 1, 32, 100, {300}});
  return cases;
}

struct Answer {
  Answer(int64_t rows, const AttentionShape& shape)
      : out(rows, shape.heads * shape.head_dim, 1, 1), lse(rows, shape.heads, 1, 1) {}
  Block<float> out;
  Block<float> lse;
};

Answer Attend(Ops<float>& ops, const AttentionShape& shape, const Block<float>& q, int64_t queries,
              std::span<const KvRun<float>> runs) {
  Answer answer(q.view().rows(), shape);
  const AttentionSequence<float> sequence{0, queries, runs};
  ops.Attention(q.view(), shape, {&sequence, 1}, answer.out.view(), answer.lse.view());
  return answer;
}

TEST(NarrowAttention, TheOracleReadsTheValuesThatRowsStandFor) {
  Rng rng(kSeed);
  auto ref = MakeRefOpsFloat();
  for (const AttentionCase& c : Cases()) {
    const AttentionShape shape = ShapeOf(c.heads, c.kv_heads, c.head_dim);
    const Keys<float> keys(c.kv_heads, c.head_dim, c.runs, rng);
    const auto q = Block<float>(c.queries, c.heads * c.head_dim).Fill(rng);
    for (const DType dtype : kTypes) {
      const NarrowKeys narrow(keys, dtype, c.kv_heads, c.head_dim, c.runs);
      const Keys<float> values = narrow.Dequantised();
      const Answer mine = Attend(*ref, shape, q, c.queries, narrow.runs<float>());
      const Answer wanted = Attend(*ref, shape, q, c.queries, values.runs());
      EXPECT_TRUE(SameBits(mine.out.view(), wanted.out.view())) << NameOf(dtype);
      EXPECT_TRUE(SameBits(mine.lse.view(), wanted.lse.view())) << NameOf(dtype);
    }
  }
}

class NarrowAttention : public testing::OnInstructionSet {};

TEST_P(NarrowAttention, CpuEqualsReference) {
  Rng rng(kSeed + 1);
  auto cpu = CpuOps(2);
  auto ref = MakeRefOpsDouble();
  for (const AttentionCase& c : Cases()) {
    const AttentionShape shape = ShapeOf(c.heads, c.kv_heads, c.head_dim);
    const Keys<float> keys(c.kv_heads, c.head_dim, c.runs, rng);
    const auto q = Block<float>(c.queries, c.heads * c.head_dim, 3, 1).Fill(rng);
    for (const DType dtype : kTypes) {
      SCOPED_TRACE(std::string(NameOf(dtype)) + " H=" + std::to_string(c.heads) +
                   " G=" + std::to_string(c.kv_heads) + " D=" + std::to_string(c.head_dim) +
                   " T=" + std::to_string(c.queries) + " seed=" + std::to_string(kSeed + 1));
      const NarrowKeys narrow(keys, dtype, c.kv_heads, c.head_dim, c.runs);
      const Answer mine = Attend(*cpu, shape, q, c.queries, narrow.runs<float>());
      const auto q_ref = q.As<double>();
      Block<double> out(c.queries, c.heads * c.head_dim);
      Block<double> lse(c.queries, c.heads);
      const std::vector<KvRun<double>> runs = narrow.runs<double>();
      const AttentionSequence<double> sequence{0, c.queries, runs};
      ref->Attention(q_ref.view(), shape, {&sequence, 1}, out.view(), lse.view());
      EXPECT_LT(RelativeError(mine.out.view(), out.view()), 3e-6);
      EXPECT_LT(RelativeError(mine.lse.view(), lse.view()), 3e-6);
      // And to the bit what attention in f32 makes of the same values.
      const Keys<float> values = narrow.Dequantised();
      const Answer wide = Attend(*cpu, shape, q, c.queries, values.runs());
      EXPECT_TRUE(SameBits(mine.out.view(), wide.out.view()));
      EXPECT_TRUE(SameBits(mine.lse.view(), wide.lse.view()));
    }
  }
}

TEST_P(NarrowAttention, RunsChunksAndThreadsChangeNoBit) {
  Rng rng(kSeed + 2);
  const AttentionShape shape = ShapeOf(6, 2, 24);
  const int64_t count = 630;
  const Keys<float> keys(2, 24, std::vector<int64_t>{count}, rng);
  const auto q = Block<float>(count, 6 * 24).Fill(rng);
  auto cpu = CpuOps(1);
  auto cpu_3 = CpuOps(3);
  for (const DType dtype : kTypes) {
    const NarrowKeys whole(keys, dtype, 2, 24, std::vector<int64_t>{count});
    const Answer wanted = Attend(*cpu, shape, q, count, whole.runs<float>());
    for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{1, 629},
                                             {32, 32, 32, 32, 32, 32, 32, 406},
                                             {0, 100, 0, 7, 523, 0}}) {
      const NarrowKeys cut(keys, dtype, 2, 24, cuts);
      const Answer answer = Attend(*cpu_3, shape, q, count, cut.runs<float>());
      EXPECT_TRUE(SameBits(answer.out.view(), wanted.out.view()));
      EXPECT_TRUE(SameBits(answer.lse.view(), wanted.lse.view()));
    }
    for (const int64_t chunk : {1, 37}) {
      Answer parts(count, shape);
      for (int64_t begin = 0; begin < count; begin += chunk) {
        const int64_t size = std::min(chunk, count - begin);
        KvRun<float> run = whole.runs<float>()[0];
        run.count = begin + size;
        const AttentionSequence<float> part{begin, size, {&run, 1}};
        cpu_3->Attention(q.view(), shape, {&part, 1}, parts.out.view(), parts.lse.view());
      }
      EXPECT_TRUE(SameBits(parts.out.view(), wanted.out.view())) << "chunk " << chunk;
      EXPECT_TRUE(SameBits(parts.lse.view(), wanted.lse.view())) << "chunk " << chunk;
    }
  }
}

// One view may hold runs of every type.
TEST_P(NarrowAttention, GradientsPassConstantsOfAnyType) {
  Rng rng(kSeed + 3);
  auto cpu = CpuOps(2);
  auto ref = MakeRefOpsFloat();
  const AttentionShape shape = ShapeOf(4, 2, 12);
  const std::vector<int64_t> old_runs = {40, 9};
  const Keys<float> old_keys(2, 12, old_runs, rng);
  Keys<float> own(2, 12, std::vector<int64_t>{30}, rng);
  Keys<float> own_ref = own.Recut<float>(std::vector<int64_t>{30});
  const auto q = Block<float>(30, 48).Fill(rng);
  const auto dout = Block<float>(30, 48).Fill(rng);
  std::vector<KvRun<float>> runs;
  const NarrowKeys bf16(old_keys, DType::kBF16, 2, 12, old_runs);
  const NarrowKeys int8(old_keys, DType::kI8, 2, 12, old_runs);
  for (const NarrowKeys* narrow : {&bf16, &int8}) {
    for (const KvRun<float>& run : narrow->runs<float>()) runs.push_back(run);
  }
  Block<float> dq[2] = {{30, 48}, {30, 48}};
  int i = 0;
  for (Ops<float>* ops : {cpu.get(), ref.get()}) {
    std::vector<KvRun<float>> all = runs;
    all.push_back(i == 0 ? own.run(0) : own_ref.run(0));
    Answer answer = Attend(*ops, shape, q, 30, all);
    const AttentionSequence<float> sequence{0, 30, all};
    ops->AttentionBackward(q.view(), shape, {&sequence, 1}, answer.out.view(), answer.lse.view(),
                           dout.view(), dq[i++].view());
  }
  EXPECT_LT(RelativeError(dq[0].view(), dq[1].view()), 6e-6);
  EXPECT_LT(RelativeError(own.All(2).view(), own_ref.All(2).view()), 6e-6);
  EXPECT_LT(RelativeError(own.All(3).view(), own_ref.All(3).view()), 6e-6);
}

TEST_P(NarrowAttention, NotANumberInAKeyReachesThoseWhoSeeIt) {
  Rng rng(kSeed + 4);
  auto cpu = CpuOps(1);
  Keys<float> keys(1, 8, std::vector<int64_t>{90}, rng);
  *keys.At(0, 0, 70, 3) = NAN;
  const auto q = Block<float>(30, 16).Fill(rng);
  for (const DType dtype : kTypes) {
    const NarrowKeys narrow(keys, dtype, 1, 8, std::vector<int64_t>{90});
    const Answer answer = Attend(*cpu, ShapeOf(2, 1, 8), q, 30, narrow.runs<float>());
    EXPECT_FALSE(std::isnan(answer.out.view()(9, 0)));  // sees keys up to 69
    EXPECT_TRUE(std::isnan(answer.out.view()(10, 0)));
    EXPECT_TRUE(std::isnan(answer.out.view()(29, 15)));
  }
}

INSTANTIATE_TEST_SUITE_P(EachInstructionSet, NarrowAttention, testing::InstructionSets(),
                         testing::NameOfSet);

}  // namespace
}  // namespace onepass
