// The properties that everything above relies on. Numbers against transformers: tests/compat;
// gradients against PyTorch and finite differences: tests/grad.
#include "model/transformer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/rng.h"
#include "kernels/registry.h"

namespace onepass {
namespace {

constexpr int64_t kPageTokens = 4;

ModelConfig TestConfig() {
  ModelConfig config;
  config.architecture = "llama";
  config.vocab_size = 61;
  config.width = 32;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 8;
  config.feed_forward = 48;
  config.max_positions = 128;
  config.tied_head = true;
  return config;
}

std::shared_ptr<const Checkpoint> RandomBase(const ModelConfig& config = TestConfig()) {
  const std::string dir = ::testing::TempDir() + "/onepass_transformer_test";
  std::filesystem::remove_all(dir);
  const Status written = InitBase(config, DType::kF32, 7, dir);
  ONEPASS_CHECK(written.ok(), written.message());
  Result<std::shared_ptr<const Checkpoint>> opened = Checkpoint::Open(dir);
  ONEPASS_CHECK(opened.ok(), opened.status().message());
  return *opened;
}

std::vector<int32_t> Tokens(int64_t count, uint64_t seed) {
  Rng rng(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& t : tokens) t = static_cast<int32_t>(rng.Uniform(TestConfig().vocab_size));
  return tokens;
}

class TransformerTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    ops_ = std::move(MakeOps(GetParam(), {.thread_count = 2})).value();
    model_ = std::move(Transformer<float>::Create(RandomBase(), *ops_)).value();
    pool_ = std::make_unique<PagePool>(model_->config().Layout(kPageTokens, DType::kF32), 256);
  }

  // Appends `tokens` to the tail under the view; the logits of every new token, row by row.
  Buffer<float> Append(Segment& tail, const std::vector<int32_t>& tokens, const KvView& view) {
    ONEPASS_CHECK(tail.Extend(tokens).ok(), "pages");
    const ForwardItem<float> item{.view = &view,
                                  .tail = &tail,
                                  .new_count = static_cast<int64_t>(tokens.size()),
                                  .vectors = {}};
    const View<const float> hidden = model_->Forward({&item, 1}, nullptr);
    Buffer<float> logits(hidden.rows(), model_->config().vocab_size);
    model_->Logits(hidden, logits.view());
    return logits;
  }

  SegmentRef Written(const std::vector<int32_t>& tokens, int64_t start, const KvView& view) {
    auto segment = std::make_unique<Segment>(*pool_, start, Provenance{});
    Append(*segment, tokens, view);
    return segment;
  }

  std::unique_ptr<Ops<float>> ops_;
  std::unique_ptr<Transformer<float>> model_;
  std::unique_ptr<PagePool> pool_;
};

void ExpectBitwise(std::span<const float> want, std::span<const float> got) {
  ASSERT_EQ(want.size(), got.size());
  for (size_t i = 0; i < want.size(); ++i) ASSERT_EQ(want[i], got[i]) << "element " << i;
}

TEST(Transformer, WhatTheBackendCannotRunIsRefused) {
  ModelConfig wide = TestConfig();
  wide.head_dim = 258;
  ModelConfig many = TestConfig();
  many.heads = 257;
  many.kv_heads = 1;
  many.head_dim = 2;
  for (const auto& [config, found] : {std::pair(wide, "found 258"), std::pair(many, "found 257")}) {
    const std::shared_ptr<const Checkpoint> base = RandomBase(config);
    const auto cpu = std::move(MakeOps("cpu", {.thread_count = 1})).value();
    const Status status = Transformer<float>::Create(base, *cpu).status();
    EXPECT_EQ(status.code(), StatusCode::kUnsupported) << status.message();
    EXPECT_TRUE(status.message().ends_with(found)) << status.message();
    const auto ref = std::move(MakeOps("ref", {})).value();
    EXPECT_TRUE(Transformer<float>::Create(base, *ref).ok());
  }
}

TEST_P(TransformerTest, TokensOneByOneGiveTheLogitsOfAllAtOnce) {
  const std::vector<int32_t> tokens = Tokens(11, 1);
  Segment whole(*pool_, 0, {});
  const Buffer<float> want = Append(whole, tokens, {});
  Segment grown(*pool_, 0, {});
  for (size_t i = 0; i < tokens.size(); ++i) {
    const Buffer<float> got = Append(grown, {tokens[i]}, {});
    ExpectBitwise({want.view().row(i), static_cast<size_t>(want.cols())}, got.span());
  }
}

TEST_P(TransformerTest, CuttingASequenceIntoSegmentsChangesNothing) {
  const std::vector<int32_t> tokens = Tokens(13, 2);
  Segment whole(*pool_, 0, {});
  const Buffer<float> want = Append(whole, tokens, {});
  KvView view;
  view.Append(Written({tokens.begin(), tokens.begin() + 5}, 0, view));
  view.Append(Written({tokens.begin() + 5, tokens.begin() + 6}, 5, view));
  Segment tail(*pool_, 6, {});
  const Buffer<float> got = Append(tail, {tokens.begin() + 6, tokens.end()}, view);
  ExpectBitwise(want.span().subspan(6 * want.cols()), got.span());
}

TEST_P(TransformerTest, ARaggedBatchEqualsEachSequenceAlone) {
  const KvView shared({Written(Tokens(6, 3), 0, {})});
  const KvView empty;
  std::vector<Buffer<float>> alone;
  std::vector<std::unique_ptr<Segment>> tails;
  std::vector<ForwardItem<float>> items;
  for (int64_t i = 0; i < 3; ++i) {
    const std::vector<int32_t> tokens = Tokens(3 * i + 1, 10 + i);
    const KvView& view = i == 1 ? empty : shared;
    const int64_t start = view.token_count();
    Segment tail(*pool_, start, {});
    alone.push_back(Append(tail, tokens, view));
    tails.push_back(std::make_unique<Segment>(*pool_, start, Provenance{}));
    ASSERT_TRUE(tails.back()->Extend(tokens).ok());
    items.push_back({.view = &view,
                     .tail = tails.back().get(),
                     .new_count = static_cast<int64_t>(tokens.size()),
                     .vectors = {}});
  }
  const View<const float> hidden = model_->Forward(items, nullptr);
  Buffer<float> logits(hidden.rows(), model_->config().vocab_size);
  model_->Logits(hidden, logits.view());
  int64_t begin = 0;
  for (const Buffer<float>& want : alone) {
    ExpectBitwise(want.span(), logits.span().subspan(begin, want.size()));
    begin += want.size();
  }
}

TEST_P(TransformerTest, WhatIsNotReadOfTheLastLayerChangesNothing) {
  const KvView shared({Written(Tokens(6, 3), 0, {})});
  constexpr int64_t kCount = 5;
  const auto run = [&](const std::vector<int64_t>& read_counts, Buffer<float>* next_logits) {
    std::vector<std::unique_ptr<Segment>> tails;
    std::vector<ForwardItem<float>> items;
    for (size_t i = 0; i < read_counts.size(); ++i) {
      tails.push_back(std::make_unique<Segment>(*pool_, 6, Provenance{}));
      ONEPASS_CHECK(tails.back()->Extend(Tokens(kCount, 20 + i)).ok(), "pages");
      items.push_back({.view = &shared,
                       .tail = tails.back().get(),
                       .new_count = kCount,
                       .vectors = {},
                       .read_count = read_counts[i]});
    }
    const View<const float> hidden = model_->Forward(items, nullptr);
    Buffer<float> copy(hidden.rows(), hidden.cols());
    std::copy_n(hidden.data(), hidden.rows() * hidden.cols(), copy.data());
    if (next_logits != nullptr) *next_logits = Append(*tails[1], {7}, shared);
    return copy;
  };
  Buffer<float> want_next, got_next;
  const Buffer<float> want = run({-1, -1, -1, -1}, &want_next);
  const Buffer<float> got = run({2, 0, -1, 1}, &got_next);
  ASSERT_EQ(got.rows(), 2 + kCount + 1);
  const int64_t width = want.cols();
  const auto rows = [&](int64_t begin, int64_t count) {
    return want.span().subspan(begin * width, count * width);
  };
  ExpectBitwise(rows(kCount - 2, 2), got.span().first(2 * width));
  ExpectBitwise(rows(2 * kCount, kCount), got.span().subspan(2 * width, kCount * width));
  ExpectBitwise(rows(4 * kCount - 1, 1), got.span().last(width));
  ExpectBitwise(want_next.span(), got_next.span());
  EXPECT_EQ(run({0, 0}, nullptr).rows(), 0);
}

TEST_P(TransformerTest, VectorsOfTheTokensEqualTheTokens) {
  const std::vector<int32_t> tokens = Tokens(5, 4);
  Segment by_ids(*pool_, 0, {});
  const Buffer<float> want = Append(by_ids, tokens, {});
  Buffer<float> vectors(5, model_->config().width);
  model_->Embed(tokens, vectors.view());
  Segment by_vectors(*pool_, 0, {});
  ASSERT_TRUE(by_vectors.ExtendWithVectors(5).ok());
  const KvView empty;
  const ForwardItem<float> item{
      .view = &empty, .tail = &by_vectors, .new_count = 5, .vectors = vectors.view()};
  const View<const float> hidden = model_->Forward({&item, 1}, nullptr);
  Buffer<float> got(5, model_->config().vocab_size);
  model_->Logits(hidden, got.view());
  ExpectBitwise(want.span(), got.span());
}

TEST_P(TransformerTest, OnlyDifferencesOfPositionsCount) {
  const std::vector<int32_t> tokens = Tokens(9, 5);
  Segment near(*pool_, 0, {});
  const Buffer<float> want = Append(near, tokens, {});
  Segment far(*pool_, 90, {});
  const Buffer<float> got = Append(far, tokens, {});
  for (int64_t i = 0; i < want.size(); ++i) EXPECT_NEAR(want.data()[i], got.data()[i], 1e-4);
}

// Three blocks of at most 256 rows, the last one not full.
TEST_P(TransformerTest, LossInBlocksEqualsLossRowByRowAndThatOfLogits) {
  constexpr int64_t kCount = 600;
  const int64_t width = model_->config().width;
  const std::vector<int32_t> targets = Tokens(kCount, 7);
  Rng rng(6);
  Buffer<float> hidden(kCount, width), dhidden(kCount, width), dhidden_by_row(kCount, width);
  for (float& value : hidden.span()) value = static_cast<float>(rng.Normal());
  // Gradients are added to what is there.
  for (float& value : dhidden.span()) value = static_cast<float>(rng.Normal());
  std::ranges::copy(dhidden.span(), dhidden_by_row.data());
  std::vector<float> scale(kCount), losses(kCount), losses_by_row(kCount);
  for (float& value : scale) value = static_cast<float>(rng.UniformDouble());

  model_->Loss(hidden.view(), targets, scale, losses, dhidden.view());
  for (int64_t t = 0; t < kCount; ++t) {
    const auto row = [&](auto& of_all) { return std::span(of_all).subspan(t, 1); };
    model_->Loss(hidden.view().Rows(t, 1), row(targets), row(scale), row(losses_by_row),
                 dhidden_by_row.view().Rows(t, 1));
  }
  ExpectBitwise(losses_by_row, losses);
  ExpectBitwise(dhidden_by_row.span(), dhidden.span());
  // The losses alone.
  model_->Loss(hidden.view(), targets, scale, losses, {});
  ExpectBitwise(losses_by_row, losses);

  Buffer<float> logits(kCount, model_->config().vocab_size);
  model_->Logits(hidden.view(), logits.view());
  for (int64_t t = 0; t < kCount; ++t) {
    double sum = 0;
    for (int64_t v = 0; v < logits.cols(); ++v) sum += std::exp(logits.view()(t, v));
    EXPECT_NEAR(losses[t], std::log(sum) - logits.view()(t, targets[t]), 1e-4);
  }
}

TEST_P(TransformerTest, AnUntapedSegmentIsAConstantAndCostsNothing) {
  const KvView constant({Written(Tokens(20, 8), 0, {})});
  Tape<float> tape;
  Segment tail(*pool_, 20, {});
  ASSERT_TRUE(tail.Extend(Tokens(2, 9)).ok());
  const ForwardItem<float> item{.view = &constant, .tail = &tail, .new_count = 2, .vectors = {}};
  model_->Forward({&item, 1}, &tape);
  const int64_t with_constant = tape.bytes();
  Tape<float> alone;
  Segment other(*pool_, 20, {});
  ASSERT_TRUE(other.Extend(Tokens(2, 9)).ok());
  const KvView empty;
  const ForwardItem<float> lonely{.view = &empty, .tail = &other, .new_count = 2, .vectors = {}};
  model_->Forward({&lonely, 1}, &alone);
  EXPECT_GT(with_constant, 0);
  EXPECT_EQ(with_constant, alone.bytes());
}

INSTANTIATE_TEST_SUITE_P(Backends, TransformerTest, ::testing::Values("ref", "cpu"));

}  // namespace
}  // namespace onepass
