// Attention of the CPU backend against the oracle, and its promises: runs, batches and threads
// change no bit. On every instruction set.
#include <gtest/gtest.h>

#include <string>

#include "kernels/instruction_sets_for_test.h"
#include "kernels/registry.h"
#include "kernels/testing.h"

namespace onepass {
namespace {

using testing::AttentionCase;
using testing::Block;
using testing::CpuOps;
using testing::Keys;
using testing::RelativeError;
using testing::SameBits;
using testing::ShapeOf;

constexpr uint64_t kSeed = 31337;

std::vector<AttentionCase> Cases() {
  std::vector<AttentionCase> cases;
  for (int64_t head_dim : {8, 16, 32, 64, 80, 128}) {
    cases.push_back({4, 2, head_dim, 33, {33}});
    cases.push_back({3, 1, head_dim, 1, {32, 32, 7}});
  }
  for (auto [heads, kv_heads] : {std::pair<int64_t, int64_t>{2, 2}, {4, 2}, {9, 3}, {8, 1}}) {
    for (int64_t queries : {1, 3, 7, 17, 100}) {
      cases.push_back({heads, kv_heads, 16, queries, {100}});
      cases.push_back({heads, kv_heads, 32, queries, {1, 63, 0, 3, 64, 17, 100}});
    }
  }
  cases.push_back({6, 2, 12, 257, {300}});
  cases.push_back({1, 1, 6, 257, {1, 256}});
  cases.push_back({2, 1, 256, 5, {70}});
  // Chunks of 256 keys: their borders, and few rows, many and those in between.
  for (int64_t queries : {1, 2, 16, 200}) cases.push_back({6, 2, 16, queries, {256, 1, 400, 200}});
  cases.push_back({6, 2, 16, 1, {512}});
  cases.push_back({6, 2, 16, 2, {513}});
  // Backward: several blocks of queries an item, the last one short.
  cases.push_back({6, 2, 16, 600, {100, 500}});
  cases.push_back({8, 1, 16, 200, {70, 0, 230}});
  return cases;
}

class CpuAttention : public testing::OnInstructionSet {};

TEST_P(CpuAttention, ForwardAndBackwardEqualReference) {
  Rng rng(kSeed);
  auto cpu = CpuOps(2);
  auto ref = MakeRefOpsDouble();
  for (const AttentionCase& c : Cases()) {
    SCOPED_TRACE("H=" + std::to_string(c.heads) + " G=" + std::to_string(c.kv_heads) +
                 " D=" + std::to_string(c.head_dim) + " T=" + std::to_string(c.queries) +
                 " runs=" + std::to_string(c.runs.size()) + " seed=" + std::to_string(kSeed));
    const AttentionShape shape = ShapeOf(c.heads, c.kv_heads, c.head_dim);
    const int64_t width = c.heads * c.head_dim;
    Keys<float> keys(c.kv_heads, c.head_dim, c.runs, rng);
    Keys<double> keys_ref = keys.Recut<double>(c.runs);
    auto q = Block<float>(c.queries + 2, width, 3, 1).Fill(rng);
    auto dout = Block<float>(c.queries + 2, width, 1, 2).Fill(rng);
    auto dq = Block<float>(c.queries + 2, width, 2, 1).Fill(rng);
    const auto q_ref = q.As<double>();
    const auto dout_ref = dout.As<double>();
    auto dq_ref = dq.As<double>();
    Block<float> out(c.queries + 2, width, 1, 1);
    Block<float> lse(c.queries + 2, c.heads, 1, 1);
    Block<double> out_ref(c.queries + 2, width);
    Block<double> lse_ref(c.queries + 2, c.heads);
    const AttentionSequence<float> sequence{1, c.queries, keys.runs()};
    const AttentionSequence<double> sequence_ref{1, c.queries, keys_ref.runs()};
    cpu->Attention(q.view(), shape, {&sequence, 1}, out.view(), lse.view());
    ref->Attention(q_ref.view(), shape, {&sequence_ref, 1}, out_ref.view(), lse_ref.view());
    EXPECT_LT(RelativeError(out.view(), out_ref.view()), 3e-6);
    EXPECT_LT(RelativeError(lse.view(), lse_ref.view()), 3e-6);
    cpu->AttentionBackward(q.view(), shape, {&sequence, 1}, out.view(), lse.view(), dout.view(),
                           dq.view());
    ref->AttentionBackward(q_ref.view(), shape, {&sequence_ref, 1}, out_ref.view(), lse_ref.view(),
                           dout_ref.view(), dq_ref.view());
    EXPECT_LT(RelativeError(dq.view(), dq_ref.view()), 6e-6);
    EXPECT_LT(RelativeError(keys.All(2).view(), keys_ref.All(2).view()), 6e-6);
    EXPECT_LT(RelativeError(keys.All(3).view(), keys_ref.All(3).view()), 6e-6);
  }
}

TEST_P(CpuAttention, RunsAreOnlyStorage) {
  Rng rng(kSeed + 1);
  auto cpu = CpuOps(2);
  const AttentionShape shape = ShapeOf(6, 2, 32);
  const std::vector<int64_t> whole = {530};
  Keys<float> keys(2, 32, whole, rng);
  auto q = Block<float>(75, 192).Fill(rng);
  auto dout = Block<float>(75, 192).Fill(rng);
  Block<float> out(75, 192), lse(75, 6), dq(75, 192);
  const AttentionSequence<float> sequence{0, 75, keys.runs()};
  cpu->Attention(q.view(), shape, {&sequence, 1}, out.view(), lse.view());
  cpu->AttentionBackward(q.view(), shape, {&sequence, 1}, out.view(), lse.view(), dout.view(),
                         dq.view());
  for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{1, 529},
                                           {32, 32, 32, 32, 32, 32, 32, 306},
                                           {63, 1, 1, 465},
                                           {64, 64, 64, 64, 64, 210},
                                           {0, 100, 0, 7, 423, 0}}) {
    Keys<float> cut = keys.Recut<float>(cuts);
    Block<float> cut_out(75, 192), cut_lse(75, 6), cut_dq(75, 192);
    const AttentionSequence<float> cut_sequence{0, 75, cut.runs()};
    cpu->Attention(q.view(), shape, {&cut_sequence, 1}, cut_out.view(), cut_lse.view());
    cpu->AttentionBackward(q.view(), shape, {&cut_sequence, 1}, cut_out.view(), cut_lse.view(),
                           dout.view(), cut_dq.view());
    EXPECT_TRUE(SameBits(cut_out.view(), out.view()));
    EXPECT_TRUE(SameBits(cut_lse.view(), lse.view()));
    EXPECT_TRUE(SameBits(cut_dq.view(), dq.view()));
    EXPECT_TRUE(SameBits(cut.All(2).view(), keys.All(2).view()));
    EXPECT_TRUE(SameBits(cut.All(3).view(), keys.All(3).view()));
  }
}

// Decoding token by token, prefilling at once and prefilling in chunks give the same bits.
TEST_P(CpuAttention, AQueryIsTheSameToTheBitAloneAndInAnyBatch) {
  Rng rng(kSeed + 2);
  auto cpu = CpuOps(2);
  for (auto [heads, kv_heads] : {std::pair<int64_t, int64_t>{4, 4}, {9, 3}, {8, 1}}) {
    const AttentionShape shape = ShapeOf(heads, kv_heads, 16);
    const int64_t width = heads * 16;
    const int64_t count = 610;
    Keys<float> keys(kv_heads, 16, std::vector<int64_t>{count}, rng);
    auto q = Block<float>(count, width).Fill(rng);
    Block<float> out(count, width), lse(count, heads);
    const AttentionSequence<float> sequence{0, count, keys.runs()};
    cpu->Attention(q.view(), shape, {&sequence, 1}, out.view(), lse.view());
    for (int64_t chunk : {1, 5, 64, 100}) {
      Block<float> parts(count, width), parts_lse(count, heads);
      for (int64_t begin = 0; begin < count; begin += chunk) {
        const int64_t size = std::min(chunk, count - begin);
        KvRun<float> run = keys.run(0);
        run.count = begin + size;
        const AttentionSequence<float> part{begin, size, {&run, 1}};
        cpu->Attention(q.view(), shape, {&part, 1}, parts.view(), parts_lse.view());
      }
      EXPECT_TRUE(SameBits(parts.view(), out.view())) << "chunk " << chunk;
      EXPECT_TRUE(SameBits(parts_lse.view(), lse.view())) << "chunk " << chunk;
    }
  }
}

// Three sequences read one prompt, two of them more that only they share, with gradients to all.
struct SharedProblem {
  explicit SharedProblem(uint64_t seed) : rng(seed) {
    prompt.Freeze(1);
    for (int i = 0; i < 3; ++i) {
      runs[i] = {prompt.run(0), prompt.run(1)};
      if (i < 2) runs[i].push_back(shared.run(0));
      runs[i].push_back(own[i].run(0));
      sequences.push_back({begins[i], counts[i], runs[i]});
    }
  }
  Rng rng;
  Keys<float> prompt{2, 16, std::vector<int64_t>{21, 70}, rng};
  Keys<float> shared{2, 16, std::vector<int64_t>{33}, rng};
  Keys<float> own[3] = {{2, 16, std::vector<int64_t>{40}, rng},
                        {2, 16, std::vector<int64_t>{17}, rng},
                        {2, 16, std::vector<int64_t>{101}, rng}};
  const int64_t begins[3] = {0, 40, 57};
  const int64_t counts[3] = {40, 17, 101};
  std::vector<KvRun<float>> runs[3];
  std::vector<AttentionSequence<float>> sequences;
  Block<float> q = Block<float>(158, 96).Fill(rng);
  Block<float> dout = Block<float>(158, 96).Fill(rng);
  Block<float> out{158, 96};
  Block<float> lse{158, 6};
  Block<float> dq{158, 96};

  void Run(Ops<float>& ops) {
    const AttentionShape shape = ShapeOf(6, 2, 16);
    ops.Attention(q.view(), shape, sequences, out.view(), lse.view());
    ops.AttentionBackward(q.view(), shape, sequences, out.view(), lse.view(), dout.view(),
                          dq.view());
  }
};

TEST_P(CpuAttention, SequencesOfOneCallMayShareRuns) {
  SharedProblem mine(kSeed + 3);
  SharedProblem oracle(kSeed + 3);
  mine.Run(*CpuOps(2));
  oracle.Run(*MakeRefOpsFloat());
  EXPECT_LT(RelativeError(mine.out.view(), oracle.out.view()), 3e-6);
  EXPECT_LT(RelativeError(mine.dq.view(), oracle.dq.view()), 6e-6);
  for (int what : {2, 3}) {
    EXPECT_LT(RelativeError(mine.prompt.All(what).view(), oracle.prompt.All(what).view()), 6e-6);
    EXPECT_LT(RelativeError(mine.shared.All(what).view(), oracle.shared.All(what).view()), 6e-6);
    for (int i = 0; i < 3; ++i) {
      EXPECT_LT(RelativeError(mine.own[i].All(what).view(), oracle.own[i].All(what).view()), 6e-6);
    }
  }
}

TEST_P(CpuAttention, ConstantRunsTakeNoGradient) {
  SharedProblem mine(kSeed + 4);
  mine.Run(*CpuOps(2));
  for (int64_t j = 21; j < 91; ++j) {
    EXPECT_EQ(*mine.prompt.At(2, 0, j, 0), 0);
    EXPECT_EQ(*mine.prompt.At(3, 1, j, 5), 0);
  }
  EXPECT_NE(*mine.prompt.At(2, 0, 0, 0), 0);
}

TEST_P(CpuAttention, ThreadsChangeNoBit) {
  SharedProblem one(kSeed + 5);
  one.Run(*CpuOps(1));
  for (int threads : {2, 4}) {
    SharedProblem many(kSeed + 5);
    many.Run(*CpuOps(threads));
    EXPECT_TRUE(SameBits(many.out.view(), one.out.view()));
    EXPECT_TRUE(SameBits(many.lse.view(), one.lse.view()));
    EXPECT_TRUE(SameBits(many.dq.view(), one.dq.view()));
    for (int what : {2, 3}) {
      EXPECT_TRUE(SameBits(many.prompt.All(what).view(), one.prompt.All(what).view()));
      EXPECT_TRUE(SameBits(many.shared.All(what).view(), one.shared.All(what).view()));
      for (int i = 0; i < 3; ++i) {
        EXPECT_TRUE(SameBits(many.own[i].All(what).view(), one.own[i].All(what).view()));
      }
    }
  }
}

// A sequence of many blocks of queries, with constant keys in the midst, alone and behind another:
// its gradients have the same bits, on any number of threads.
TEST_P(CpuAttention, GradientsOfASequenceAreTheSameToTheBitAloneAndInAnyBatch) {
  const AttentionShape shape = ShapeOf(8, 1, 16);
  const auto run = [&](int threads, bool alone, Block<float>& dq, Keys<float>& keys) {
    Rng rng(kSeed + 9);
    const auto q = Block<float>(300, 128).Fill(rng);
    const auto dout = Block<float>(300, 128).Fill(rng);
    keys = Keys<float>(1, 16, std::vector<int64_t>{20, 77, 203}, rng);
    keys.Freeze(1);
    Keys<float> other(1, 16, std::vector<int64_t>{400}, rng);
    Block<float> out(300, 128), lse(300, 8);
    std::vector<AttentionSequence<float>> sequences = {{0, 203, keys.runs()}};
    if (!alone) sequences.insert(sequences.begin(), {203, 97, other.runs()});
    const auto cpu = CpuOps(threads);
    cpu->Attention(q.view(), shape, sequences, out.view(), lse.view());
    cpu->AttentionBackward(q.view(), shape, sequences, out.view(), lse.view(), dout.view(),
                           dq.view());
  };
  Rng rng(kSeed + 9);
  Block<float> dq(300, 128);
  Keys<float> keys(1, 16, std::vector<int64_t>{1}, rng);
  run(1, true, dq, keys);
  for (int64_t j = 20; j < 97; ++j) EXPECT_EQ(*keys.At(2, 0, j, 3), 0);
  EXPECT_NE(*keys.At(2, 0, 97, 3), 0);
  for (int threads : {1, 2, 5}) {
    for (bool alone : {true, false}) {
      SCOPED_TRACE(std::to_string(threads) + (alone ? " alone" : " together"));
      Block<float> other_dq(300, 128);
      Keys<float> other_keys(1, 16, std::vector<int64_t>{1}, rng);
      run(threads, alone, other_dq, other_keys);
      EXPECT_TRUE(SameBits(other_dq.view().Rows(0, 203), dq.view().Rows(0, 203)));
      EXPECT_TRUE(SameBits(other_keys.All(2).view(), keys.All(2).view()));
      EXPECT_TRUE(SameBits(other_keys.All(3).view(), keys.All(3).view()));
    }
  }
}

// Few rows behind many keys: with several threads, chunks of keys are items of their own.
TEST_P(CpuAttention, SharingKeysBetweenThreadsChangesNoBit) {
  struct Case {
    int64_t queries, key_count;
  };
  // Alone and together: split, of too few keys, and of too many rows to be split.
  for (const std::vector<Case>& cases : {std::vector<Case>{{1, 257}},
                                         {{1, 1030}},
                                         {{2, 512}},
                                         {{16, 300}},
                                         {{1, 1030}, {16, 300}, {30, 300}, {1, 100}}}) {
    Rng rng(kSeed + 8);
    const AttentionShape shape = ShapeOf(3, 1, 16);
    std::vector<Keys<float>> keys;
    std::vector<AttentionSequence<float>> sequences;
    int64_t rows = 0;
    for (const Case& c : cases) {
      keys.emplace_back(1, 16, std::vector<int64_t>{0, 70, 0, c.key_count - 70, 0}, rng);
    }
    for (size_t i = 0; i < cases.size(); ++i) {
      sequences.push_back({rows, cases[i].queries, keys[i].runs()});
      rows += cases[i].queries;
    }
    const auto q = Block<float>(rows, 3 * 16).Fill(rng);
    Block<float> alone(rows, 3 * 16), alone_lse(rows, 3);
    CpuOps(1)->Attention(q.view(), shape, sequences, alone.view(), alone_lse.view());
    for (int threads : {2, 3}) {
      const auto cpu = CpuOps(threads);
      for (int repeat = 0; repeat < 5; ++repeat) {
        Block<float> out(rows, 3 * 16), lse(rows, 3);
        cpu->Attention(q.view(), shape, sequences, out.view(), lse.view());
        EXPECT_TRUE(SameBits(out.view(), alone.view())) << cases[0].key_count;
        EXPECT_TRUE(SameBits(lse.view(), alone_lse.view())) << cases[0].key_count;
      }
    }
  }
}

TEST_P(CpuAttention, HugeScoresNeitherOverflowNorVanish) {
  Rng rng(kSeed + 6);
  auto cpu = CpuOps(1);
  const AttentionShape shape = ShapeOf(1, 1, 8);
  Keys<float> keys(1, 8, std::vector<int64_t>{130}, rng);
  for (int64_t j = 0; j < 130; ++j) {
    for (int64_t e = 0; e < 8; ++e) *keys.At(0, 0, j, e) *= 1000;
  }
  auto q = Block<float>(4, 8).Fill(rng, 100);
  Block<float> out(4, 8), lse(4, 1), out_ref(4, 8), lse_ref(4, 1);
  const AttentionSequence<float> sequence{0, 4, keys.runs()};
  cpu->Attention(q.view(), shape, {&sequence, 1}, out.view(), lse.view());
  MakeRefOpsFloat()->Attention(q.view(), shape, {&sequence, 1}, out_ref.view(), lse_ref.view());
  EXPECT_LT(RelativeError(out.view(), out_ref.view()), 1e-3);
  EXPECT_LT(RelativeError(lse.view(), lse_ref.view()), 1e-5);
}

TEST_P(CpuAttention, NotANumberInAKeyReachesThoseWhoSeeIt) {
  Rng rng(kSeed + 7);
  auto cpu = CpuOps(1);
  const AttentionShape shape = ShapeOf(2, 1, 8);
  Keys<float> keys(1, 8, std::vector<int64_t>{90}, rng);
  *keys.At(0, 0, 70, 3) = NAN;
  auto q = Block<float>(30, 16).Fill(rng);
  Block<float> out(30, 16), lse(30, 2);
  const AttentionSequence<float> sequence{0, 30, keys.runs()};
  cpu->Attention(q.view(), shape, {&sequence, 1}, out.view(), lse.view());
  EXPECT_FALSE(std::isnan(out.view()(9, 0)));  // sees keys up to 69
  EXPECT_TRUE(std::isnan(out.view()(10, 0)));
  EXPECT_TRUE(std::isnan(out.view()(29, 15)));
}

TEST_P(CpuAttention, NoSequencesAndNoQueriesAreFine) {
  auto cpu = CpuOps(2);
  Block<float> nothing(0, 16), lse(0, 2);
  cpu->Attention(nothing.view(), ShapeOf(2, 1, 8), {}, nothing.view(), lse.view());
  cpu->AttentionBackward(nothing.view(), ShapeOf(2, 1, 8), {}, nothing.view(), lse.view(),
                         nothing.view(), nothing.view());
  Rng rng(1);
  Keys<float> keys(1, 8, std::vector<int64_t>{5}, rng);
  const AttentionSequence<float> sequence{0, 0, keys.runs()};
  cpu->Attention(nothing.view(), ShapeOf(2, 1, 8), {&sequence, 1}, nothing.view(), lse.view());
  cpu->AttentionBackward(nothing.view(), ShapeOf(2, 1, 8), {&sequence, 1}, nothing.view(),
                         lse.view(), nothing.view(), nothing.view());
  EXPECT_EQ(*keys.At(2, 0, 0, 0), 0);
}

INSTANTIATE_TEST_SUITE_P(EachInstructionSet, CpuAttention, testing::InstructionSets(),
                         testing::NameOfSet);

}  // namespace
}  // namespace onepass
