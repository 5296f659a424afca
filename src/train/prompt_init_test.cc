#include "train/prompt_init.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "chain/tiny_chain_for_test.h"

namespace onepass {
namespace {

class PromptInitTest : public ::testing::Test {
 protected:
  void SetUp() override {
    base_ = LoadTinyBase(WriteTinyBase("prompt_init_test"), "ref");
    ASSERT_NE(base_, nullptr);
  }

  Result<Buffer<float>> Init(PromptInit init, const std::string& text, int64_t length,
                             uint64_t seed = 1) {
    return InitPrompt(init, text, length, seed, *base_->model, *base_->tokenizer);
  }

  Buffer<float> Embeddings(const std::vector<TokenId>& ids) {
    Buffer<float> rows(std::ssize(ids), base_->config().width);
    base_->model->Embed(ids, rows.view());
    return rows;
  }

  Buffer<float> WholeEmbedding() {
    std::vector<TokenId> all(base_->config().vocab_size);
    std::iota(all.begin(), all.end(), 0);
    return Embeddings(all);
  }

  static std::vector<float> Row(const Buffer<float>& rows, int64_t i) {
    return {rows.data() + i * rows.cols(), rows.data() + (i + 1) * rows.cols()};
  }

  std::unique_ptr<Base> base_;
};

TEST_F(PromptInitTest, ATextIsRepeatedOrCutToTheLength) {
  const std::string text = "the end";
  const Buffer<float> wanted = Embeddings(base_->tokenizer->Encode(text, {}));
  const int64_t n = wanted.rows();
  ASSERT_GT(n, 2);
  for (const int64_t length : {n - 1, n, 2 * n + 1}) {
    const auto prompt = Init(PromptInit::kText, text, length);
    ASSERT_TRUE(prompt.ok()) << prompt.status().message();
    ASSERT_EQ(prompt->rows(), length);
    for (int64_t i = 0; i < length; ++i) EXPECT_EQ(Row(*prompt, i), Row(wanted, i % n)) << i;
  }
}

TEST_F(PromptInitTest, ATextWithoutTokensIsRefused) {
  EXPECT_EQ(Init(PromptInit::kText, "", 4).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(PromptInitTest, AVocabularySampleIsRowsOfTheEmbedding) {
  const Buffer<float> table = WholeEmbedding();
  std::vector<std::vector<float>> rows;
  for (int64_t i = 0; i < table.rows(); ++i) rows.push_back(Row(table, i));
  const auto prompt = Init(PromptInit::kVocabulary, "", 40);
  ASSERT_TRUE(prompt.ok());
  for (int64_t i = 0; i < 40; ++i) EXPECT_THAT(rows, testing::Contains(Row(*prompt, i))) << i;
}

TEST_F(PromptInitTest, RandomVectorsHaveTheEmbeddingsMeanAndDeviation) {
  const auto moments = [](const Buffer<float>& rows) {
    double sum = 0;
    double squares = 0;
    for (int64_t i = 0; i < rows.size(); ++i) {
      sum += rows.data()[i];
      squares += static_cast<double>(rows.data()[i]) * rows.data()[i];
    }
    const double mean = sum / static_cast<double>(rows.size());
    return std::pair(mean, std::sqrt(squares / static_cast<double>(rows.size()) - mean * mean));
  };
  const auto [mean, deviation] = moments(WholeEmbedding());
  const auto prompt = Init(PromptInit::kRandom, "", 2000);
  ASSERT_TRUE(prompt.ok());
  const auto [our_mean, our_deviation] = moments(*prompt);
  EXPECT_NEAR(our_mean, mean, 0.03 * deviation);
  EXPECT_NEAR(our_deviation / deviation, 1, 0.03);
}

TEST_F(PromptInitTest, TheSeedDecides) {
  for (const PromptInit init : {PromptInit::kRandom, PromptInit::kVocabulary}) {
    const auto first = Init(init, "", 8, 1);
    const auto again = Init(init, "", 8, 1);
    const auto other = Init(init, "", 8, 2);
    ASSERT_TRUE(first.ok() && again.ok() && other.ok());
    EXPECT_TRUE(std::ranges::equal(first->span(), again->span()));
    EXPECT_FALSE(std::ranges::equal(first->span(), other->span()));
  }
}

}  // namespace
}  // namespace onepass
