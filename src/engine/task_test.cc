// Steps over inputs and outputs that come and go: each has the bits that it has alone.
#include "engine/task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "engine/real_base_for_test.h"

namespace onepass {
namespace {

class TaskTest : public ::testing::Test {
 protected:
  void SetUp() override {
    base_ = LoadRealBase("cpu", 2);
    pool_ = std::make_unique<PagePool>(base_->config().Layout(8, DType::kF32), 64);
    engine_ = std::make_unique<Engine>(*base_, *pool_);
  }

  std::vector<TokenId> Tokens(std::string_view text) { return base_->tokenizer->Encode(text, {}); }

  PrefillRequest Input(std::string_view text) {
    PrefillRequest request;
    request.tokens = Tokens(text);
    request.want_logits = true;
    return request;
  }

  DecodeRequest Output(int64_t max_tokens, uint64_t seed = 0) {
    DecodeRequest request;
    request.start_tokens = Tokens("Question");
    request.stop.max_tokens = max_tokens;
    request.sampling = {.temperature = 1, .seed = seed};
    return request;
  }

  DecodeTask Started(DecodeRequest& request) {
    DecodeTask task(request, *pool_, *base_->tokenizer, base_->config().max_positions);
    engine_->Begin(task);
    return task;
  }

  void ExpectSameKv(const Segment& a, const Segment& b) {
    ASSERT_EQ(a.token_count(), b.token_count());
    EXPECT_EQ(a.provenance().content_hash, b.provenance().content_hash);
    const KvLayout& layout = pool_->layout();
    for (int64_t t = 0; t < a.token_count(); ++t) {
      for (int64_t layer = 0; layer < layout.layers; ++layer) {
        for (int64_t g = 0; g < layout.kv_heads; ++g) {
          const int64_t at =
              g * layout.HeadStride() + t % layout.page_tokens * layout.RowElements();
          const int64_t page = t / layout.page_tokens;
          ASSERT_EQ(std::memcmp(a.k_plane<float>(page, layer) + at,
                                b.k_plane<float>(page, layer) + at, layout.RowBytes()),
                    0);
          ASSERT_EQ(std::memcmp(a.v_plane<float>(page, layer) + at,
                                b.v_plane<float>(page, layer) + at, layout.RowBytes()),
                    0);
        }
      }
    }
  }

  std::unique_ptr<Base> base_;
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<Engine> engine_;
};

constexpr char kText[] = "Bert moved to the kitchen. Mary took the milk. Where is Bert?";

TEST_F(TaskTest, AnInputInPartsBesideOutputsHasTheBitsOfOneCall) {
  PrefillRequest whole = Input(kText);
  ASSERT_TRUE(engine_->Prefill({&whole, 1}).ok());
  DecodeRequest alone = Output(12, 3);
  ASSERT_TRUE(engine_->Decode({&alone, 1}).ok());

  PrefillRequest parts = Input(kText);
  PrefillTask input(parts, *pool_);
  DecodeRequest beside = Output(12, 3);
  DecodeTask output = Started(beside);
  PrefillTask* inputs[] = {&input};
  DecodeTask* outputs[] = {&output};
  for (int64_t rows = 1; input.rows_left() > 0; rows += 3) {
    ASSERT_FALSE(input.done());
    ASSERT_TRUE(input.Take(std::min(rows, input.rows_left())).ok());
    engine_->Step(inputs, outputs);
  }
  ASSERT_TRUE(input.done());
  ExpectSameKv(*parts.segment, *whole.segment);
  EXPECT_EQ(parts.logits, whole.logits);
  while (!output.done()) engine_->Step({}, outputs);
  EXPECT_EQ(beside.tokens, alone.tokens);
  EXPECT_EQ(beside.text, alone.text);
  ExpectSameKv(*beside.segment, *alone.segment);
}

TEST_F(TaskTest, VectorsInPartsAreThoseInOne) {
  Buffer<float> vectors(11, base_->config().width);
  for (int64_t r = 0; r < 11; ++r) {
    for (int64_t c = 0; c < vectors.cols(); ++c) {
      vectors.view().row(r)[c] = std::sin(static_cast<float>(r * 31 + c));
    }
  }
  PrefillRequest whole, parts;
  whole.vectors = parts.vectors = vectors.view();
  ASSERT_TRUE(engine_->Prefill({&whole, 1}).ok());
  PrefillTask task(parts, *pool_);
  PrefillTask* tasks[] = {&task};
  for (const int64_t rows : {4, 6, 1}) {
    ASSERT_TRUE(task.Take(rows).ok());
    engine_->Step(tasks, {});
  }
  ASSERT_TRUE(task.done());
  ExpectSameKv(*parts.segment, *whole.segment);
}

TEST_F(TaskTest, OutputsThatBeginAndEndAtAnyTimeAreThoseAlone) {
  std::vector<DecodeRequest> alone, together;
  for (uint64_t i = 0; i < 5; ++i) {
    alone.push_back(Output(4 + 3 * static_cast<int64_t>(i), i));
    together.push_back(alone.back());
    ASSERT_TRUE(engine_->Decode({&alone.back(), 1}).ok());
  }
  std::vector<DecodeTask> tasks;
  tasks.reserve(together.size());
  std::vector<DecodeTask*> running;
  for (int step = 0; step < 60; ++step) {
    if (step % 2 == 0 && tasks.size() < together.size()) {
      tasks.push_back(Started(together[tasks.size()]));
      running.push_back(&tasks.back());
    }
    engine_->Step({}, running);
    std::erase_if(running, [](const DecodeTask* task) { return task->done(); });
  }
  ASSERT_TRUE(running.empty());
  for (size_t i = 0; i < alone.size(); ++i) EXPECT_EQ(together[i].tokens, alone[i].tokens);
}

TEST_F(TaskTest, WhoseKvFindsNoPageFailsAlone) {
  DecodeRequest alone = Output(20, 1);
  ASSERT_TRUE(engine_->Decode({&alone, 1}).ok());
  alone.segment = nullptr;

  DecodeRequest first = Output(20, 1), second = Output(20, 2);
  DecodeTask a = Started(first);
  DecodeTask b = Started(second);
  Result<PageList> rest = pool_->Allocate((64 - pool_->pages_used() - 2) * 8);
  ASSERT_TRUE(rest.ok());
  DecodeTask* both[] = {&a, &b};
  // Two pages for what needs four: the first that asks has them.
  while (!a.done() || !b.done()) engine_->Step({}, both);
  EXPECT_NE(a.status().ok(), b.status().ok());
  const DecodeTask& failed = a.status().ok() ? b : a;
  EXPECT_EQ(failed.status().code(), StatusCode::kExhausted);
  EXPECT_EQ(failed.request().segment, nullptr);
  EXPECT_TRUE((a.status().ok() ? first : second).segment != nullptr);
  if (a.status().ok()) {
    EXPECT_EQ(first.tokens, alone.tokens);
  }
}

TEST_F(TaskTest, ATaskThatDiesGivesItsPagesBack) {
  {
    PrefillRequest request = Input(kText);
    PrefillTask input(request, *pool_);
    ASSERT_TRUE(input.Take(9).ok());
    DecodeRequest decode = Output(20);
    DecodeTask output = Started(decode);
    PrefillTask* inputs[] = {&input};
    DecodeTask* outputs[] = {&output};
    engine_->Step(inputs, outputs);
    EXPECT_GT(pool_->pages_used(), 0);
  }
  EXPECT_EQ(pool_->pages_used(), 0);
}

TEST_F(TaskTest, LogprobsAreThoseOfTheBaseWhateverTheTemperature) {
  DecodeRequest request = Output(6, 5);
  request.logprobs = 3;
  ASSERT_TRUE(engine_->Decode({&request, 1}).ok());
  ASSERT_EQ(request.token_logprobs.size(), request.tokens.size());
  for (size_t i = 0; i < request.tokens.size(); ++i) {
    PrefillRequest before;
    before.tokens = request.start_tokens;
    before.tokens.insert(before.tokens.end(), request.tokens.begin(), request.tokens.begin() + i);
    before.targets = {request.tokens[i]};
    before.want_logits = true;
    ASSERT_TRUE(engine_->Prefill({&before, 1}).ok());
    const TokenLogprobs& got = request.token_logprobs[i];
    EXPECT_NEAR(got.logprob, -before.losses[0], 1e-4);
    ASSERT_EQ(got.likeliest.size(), 3u);
    const auto best = std::ranges::max_element(before.logits) - before.logits.begin();
    EXPECT_EQ(got.likeliest[0].first, best);
    EXPECT_GE(got.likeliest[0].second, got.likeliest[1].second);
    EXPECT_GE(got.likeliest[1].second, got.likeliest[2].second);
    EXPECT_GE(got.likeliest[0].second, got.logprob);
  }
}

TEST(LogprobsOf, AllTokensTogetherAreCertain) {
  const std::vector<float> logits = {1.5f, -2, 700, 699, 0};
  const TokenLogprobs all = LogprobsOf(logits, 3, 9);
  ASSERT_EQ(all.likeliest.size(), 5u);
  EXPECT_EQ(all.likeliest[1].first, 3);
  EXPECT_EQ(all.likeliest[1].second, all.logprob);
  double sum = 0;
  for (const auto& [token, logprob] : all.likeliest) sum += std::exp(logprob);
  EXPECT_NEAR(sum, 1, 1e-6);
  EXPECT_TRUE(LogprobsOf(logits, 0, 0).likeliest.empty());
}

}  // namespace
}  // namespace onepass
