#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <limits>

#include "core/file.h"
#include "core/rng.h"
#include "engine/base_tokenizer.h"

namespace onepass {
namespace {

// A vocabulary of byte-level letters, "ab" and one special token, small enough to read.
constexpr char kTokenizer[] = R"({
  "version": "1.0", "truncation": null, "padding": null,
  "added_tokens": [{"id": 26, "content": "<eos>", "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false, "special": true}],
  "normalizer": null,
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                    "use_regex": true},
  "post_processor": null, "decoder": {"type": "ByteLevel", "add_prefix_space": true,
                    "trim_offsets": true, "use_regex": true},
  "model": {"type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
            "byte_fallback": false, "ignore_merges": false,
            "vocab": {"a":0,"b":1,"c":2,"d":3,"e":4,"f":5,"g":6,"h":7,"i":8,"j":9,"k":10,"l":11,
                      "m":12,"n":13,"o":14,"p":15,"q":16,"r":17,"s":18,"t":19,"u":20,"v":21,
                      "w":22,"x":23,"y":24,"z":25,"ab":27},
            "merges": ["a b"]}})";

class EngineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = ::testing::TempDir() + "/onepass_engine_test";
    std::filesystem::remove_all(dir_);
    ModelConfig config;
    config.architecture = "llama";
    config.vocab_size = 28;
    config.width = 16;
    config.layers = 2;
    config.heads = 2;
    config.kv_heads = 1;
    config.head_dim = 8;
    config.feed_forward = 32;
    config.max_positions = 64;
    config.tied_head = true;
    ASSERT_TRUE(InitBase(config, DType::kF32, 11, dir_).ok());
    ASSERT_TRUE(WriteFileAtomically(dir_ + "/tokenizer.json", kTokenizer).ok());
    Result<std::unique_ptr<Base>> base = LoadBase(dir_, {.backend = "ref", .thread_count = 1});
    ASSERT_TRUE(base.ok()) << base.status().message();
    base_ = std::move(base).value();
    pool_ = std::make_unique<PagePool>(base_->config().Layout(4, DType::kF32), 32);
    engine_ = std::make_unique<Engine>(*base_, *pool_);
  }

  DecodeRequest Request(int64_t max_tokens) {
    DecodeRequest request;
    request.start_tokens = {3};
    request.stop.max_tokens = max_tokens;
    return request;
  }

  // A request of random text that stops at two letters of it. whole: what it would be otherwise.
  DecodeRequest CutRequest(std::string* whole) {
    DecodeRequest all = Request(8);
    all.sampling = {.temperature = 3, .seed = 2};
    EXPECT_TRUE(engine_->Decode({&all, 1}).ok());
    EXPECT_GE(all.text.size(), 4u);
    *whole = all.text;
    DecodeRequest cut = Request(8);
    cut.sampling = all.sampling;
    cut.stop.strings = {all.text.substr(std::min<size_t>(all.text.size(), 2), 2)};
    return cut;
  }

  // The segment is what a prefill of `start` and `tokens` gives, in tokens and KV.
  void ExpectPrefilled(const Segment& segment, std::vector<TokenId> start,
                       const std::vector<TokenId>& tokens) {
    start.insert(start.end(), tokens.begin(), tokens.end());
    PrefillRequest request;
    request.tokens = start;
    ASSERT_TRUE(engine_->Prefill({&request, 1}).ok());
    ASSERT_EQ(segment.tokens(), start);
    EXPECT_EQ(segment.provenance().content_hash, request.segment->provenance().content_hash);
    const KvLayout layout = pool_->layout();
    for (int64_t token = 0; token < segment.token_count(); ++token) {
      const int64_t page = token / layout.page_tokens;
      const int64_t at = token % layout.page_tokens * layout.head_dim;
      for (int64_t layer = 0; layer < layout.layers; ++layer) {
        const float* ours = segment.k_plane<float>(page, layer) + at;
        const float* fresh = request.segment->k_plane<float>(page, layer) + at;
        EXPECT_TRUE(std::equal(ours, ours + layout.head_dim, fresh)) << "token " << token;
      }
    }
  }

  std::string dir_;
  std::unique_ptr<Base> base_;
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineTest, TargetsHaveTheLossesOfTheLogitsBeforeThem) {
  const std::vector<TokenId> tokens = {3, 0, 27, 9, 14};
  PrefillRequest whole[2];
  for (PrefillRequest& request : whole) request.tokens.assign(tokens.begin(), tokens.end());
  whole[0].targets = {27, 9, 14, 26};  // behind all but the first token
  whole[0].want_logits = true;
  ASSERT_TRUE(engine_->Prefill(whole).ok());
  EXPECT_TRUE(whole[1].losses.empty());
  ASSERT_EQ(whole[0].losses.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    PrefillRequest prefix;
    prefix.tokens.assign(tokens.begin(), tokens.begin() + static_cast<int64_t>(i) + 2);
    prefix.want_logits = true;
    ASSERT_TRUE(engine_->Prefill({&prefix, 1}).ok());
    double sum = 0;
    for (const float logit : prefix.logits) sum += std::exp(static_cast<double>(logit));
    EXPECT_NEAR(whole[0].losses[i], std::log(sum) - prefix.logits[whole[0].targets[i]], 1e-5);
    if (i == 3) {
      EXPECT_EQ(prefix.logits, whole[0].logits);
    }
  }
}

TEST_F(EngineTest, AStopTokenEndsTheOutputAndIsNotFed) {
  DecodeRequest free_run = Request(6);
  ASSERT_TRUE(engine_->Decode({&free_run, 1}).ok());
  ASSERT_EQ(free_run.tokens.size(), 6u);
  EXPECT_EQ(free_run.finish, FinishReason::kLength);

  // Sampling makes the tokens vary, so that the third is not a repetition of the first.
  DecodeRequest sampled = Request(6);
  sampled.sampling = {.temperature = 2, .seed = 5};
  ASSERT_TRUE(engine_->Decode({&sampled, 1}).ok());
  DecodeRequest stopped = Request(6);
  stopped.sampling = sampled.sampling;
  const TokenId stop = sampled.tokens[2];
  stopped.stop.tokens = {stop};
  ASSERT_TRUE(engine_->Decode({&stopped, 1}).ok());
  EXPECT_EQ(stopped.finish, FinishReason::kStopToken);
  const auto first = std::find(sampled.tokens.begin(), sampled.tokens.end(), stop);
  EXPECT_EQ(stopped.tokens, std::vector<TokenId>(sampled.tokens.begin(), first));
  // KV: the start token and every sampled token but the stop token.
  EXPECT_EQ(stopped.segment->token_count(), 1 + static_cast<int64_t>(stopped.tokens.size()));
}

TEST_F(EngineTest, AnOutputThatIsReadLaterHasTheKvOfItsLastToken) {
  DecodeRequest unread = Request(4);
  DecodeRequest read = Request(4);
  read.read_later = true;
  ASSERT_TRUE(engine_->Decode({&unread, 1}).ok());
  ASSERT_TRUE(engine_->Decode({&read, 1}).ok());
  EXPECT_EQ(unread.tokens, read.tokens);
  EXPECT_EQ(unread.segment->token_count(), 4);
  EXPECT_EQ(read.segment->token_count(), 5);
}

TEST_F(EngineTest, AStopStringCutsTheText) {
  std::string whole;
  DecodeRequest cut = CutRequest(&whole);
  ASSERT_TRUE(engine_->Decode({&cut, 1}).ok());
  EXPECT_EQ(cut.finish, FinishReason::kStopString);
  EXPECT_EQ(cut.text, whole.substr(0, whole.find(cut.stop.strings[0])));
}

TEST_F(EngineTest, AStopStringIsInNoTokenAndInNoKv) {
  std::string whole;
  DecodeRequest cut = CutRequest(&whole);
  cut.read_later = true;
  ASSERT_TRUE(engine_->Decode({&cut, 1}).ok());
  EXPECT_EQ(base_->tokenizer->Decode(cut.tokens, true), cut.text);
  // The stop string's first token was fed before anybody could know what it was.
  EXPECT_GT(cut.fed_tokens, cut.segment->token_count());
  ExpectPrefilled(*cut.segment, {3}, cut.tokens);
}

TEST_F(EngineTest, OfATokenThatAStopStringSplitsThePartBeforeItIsHandedOver) {
  DecodeRequest request;
  request.first_logits.assign(28, 0);
  request.first_logits[27] = 9;  // "ab"
  request.stop = {.tokens = {}, .strings = {"b"}, .max_tokens = 8};
  request.read_later = true;
  ASSERT_TRUE(engine_->Decode({&request, 1}).ok());
  EXPECT_EQ(request.finish, FinishReason::kStopString);
  EXPECT_EQ(request.text, "a");
  EXPECT_EQ(request.tokens, (std::vector<TokenId>{0}));
  ExpectPrefilled(*request.segment, {}, request.tokens);
}

TEST_F(EngineTest, LogitsThatAreNoNumbersAreTheBasesFault) {
  for (const float bad : {std::nanf(""), HUGE_VALF}) {
    DecodeRequest request;
    request.first_logits.assign(28, 0);
    request.first_logits[5] = bad;
    request.sampling = {.temperature = 1, .top_p = 0.5};
    EXPECT_EQ(engine_->Decode({&request, 1}).message(),
              "base: want finite logits, found others after 0 tokens (" + dir_ + ")");
    EXPECT_EQ(request.segment, nullptr);
  }
  EXPECT_EQ(pool_->pages_used(), 0);
}

TEST_F(EngineTest, OutputsTogetherEqualOutputsAlone) {
  std::vector<DecodeRequest> together;
  std::vector<std::vector<TokenId>> alone;
  for (int32_t i = 0; i < 4; ++i) {
    DecodeRequest request = Request(3 + 2 * i);
    request.start_tokens = std::vector<TokenId>(i + 1, i);
    request.sampling = {.temperature = 1, .seed = static_cast<uint64_t>(i)};
    DecodeRequest copy = request;
    ASSERT_TRUE(engine_->Decode({&copy, 1}).ok());
    alone.push_back(copy.tokens);
    together.push_back(request);
  }
  ASSERT_TRUE(engine_->Decode(together).ok());
  for (size_t i = 0; i < together.size(); ++i) EXPECT_EQ(together[i].tokens, alone[i]);
}

TEST_F(EngineTest, DecodingFromLogitsEqualsDecodingFromTheTokenBefore) {
  std::vector<PrefillRequest> prefill(1);
  prefill[0].tokens = {1, 2, 3};
  prefill[0].want_logits = true;
  ASSERT_TRUE(engine_->Prefill(prefill).ok());
  DecodeRequest request;
  request.view = KvView({prefill[0].segment});
  request.first_logits = prefill[0].logits;
  request.start_position = 3;
  request.stop.max_tokens = 5;
  ASSERT_TRUE(engine_->Decode({&request, 1}).ok());

  DecodeRequest from_start;
  from_start.start_tokens = {1, 2, 3};
  from_start.stop.max_tokens = 5;
  ASSERT_TRUE(engine_->Decode({&from_start, 1}).ok());
  EXPECT_EQ(request.tokens, from_start.tokens);
}

TEST_F(EngineTest, TooFewPagesIsScarcityAndLeavesNothing) {
  std::vector<PrefillRequest> prefill(2);
  prefill[0].tokens = std::vector<int32_t>(60, 1);
  prefill[1].tokens = std::vector<int32_t>(100, 1);
  EXPECT_EQ(engine_->Prefill(prefill).code(), StatusCode::kExhausted);
  EXPECT_EQ(pool_->pages_used(), 0);
  EXPECT_EQ(engine_->counters().tokens_computed, 0);
}

TEST_F(EngineTest, EqualHistoriesHaveEqualHashes) {
  const auto hash = [&](std::vector<int32_t> tokens, int64_t start) {
    std::vector<PrefillRequest> prefill(1);
    prefill[0].tokens = std::move(tokens);
    prefill[0].start_position = start;
    ONEPASS_CHECK(engine_->Prefill(prefill).ok(), "pages");
    return prefill[0].segment->provenance().content_hash;
  };
  EXPECT_EQ(hash({1, 2}, 0), hash({1, 2}, 0));
  EXPECT_NE(hash({1, 2}, 0), hash({2, 1}, 0));
  EXPECT_NE(hash({1, 2}, 0), hash({1, 2}, 1));
}

TEST_F(EngineTest, OfAnotherBaseTheHashIsAnother) {
  const auto hash = [](Base& base) {
    PagePool pool(base.config().Layout(4, DType::kF32), 4);
    Engine engine(base, pool);
    PrefillRequest prefill;
    prefill.tokens = {1, 2};
    ONEPASS_CHECK(engine.Prefill({&prefill, 1}).ok(), "pages");
    DecodeRequest decode;
    decode.start_tokens = {1, 2};
    decode.stop.max_tokens = 1;
    ONEPASS_CHECK(engine.Decode({&decode, 1}).ok(), "pages");
    return std::pair(prefill.segment->provenance().content_hash,
                     decode.segment->provenance().content_hash);
  };
  const auto load = [this](uint64_t seed) {
    const std::string dir = dir_ + "_" + std::to_string(seed);
    std::filesystem::remove_all(dir);
    ONEPASS_CHECK(InitBase(base_->config(), DType::kF32, seed, dir).ok(), dir);
    ONEPASS_CHECK(WriteFileAtomically(dir + "/tokenizer.json", kTokenizer).ok(), dir);
    return std::move(LoadBase(dir, {.backend = "ref", .thread_count = 1})).value();
  };
  const auto ours = hash(*base_);
  EXPECT_EQ(hash(*load(11)), ours) << "the same weights elsewhere";
  const auto other = hash(*load(12));
  EXPECT_NE(other.first, ours.first);
  EXPECT_NE(other.second, ours.second);
}

TEST(BaseTokenizer, AFolderWithoutTokenizerJsonMayHaveTiktokensRanks) {
  const std::string dir = ::testing::TempDir() + "/onepass_rank_tokenizer";
  std::filesystem::remove_all(dir);
  std::filesystem::create_directories(dir);
  EXPECT_EQ(FolderTokenizerPath(dir), "");
  EXPECT_THAT(LoadBaseTokenizer(dir).status().message(), testing::HasSubstr("found neither"));
  std::filesystem::copy_file(ONEPASS_SOURCE_DIR "/tests/golden/tokenizer/tiny.tiktoken",
                             dir + "/tokenizer.model");
  const auto tokenizer = LoadBaseTokenizer(dir);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ((*tokenizer)->Info().kind, "tiktoken");
  const std::string text = "The end, in 12 words.";
  EXPECT_EQ((*tokenizer)->Decode((*tokenizer)->Encode(text, {}), true), text);
  EXPECT_TRUE((*tokenizer)->IdOf("<|begin_of_text|>").has_value());

  ASSERT_TRUE(WriteFileAtomically(dir + "/tokenizer.json", kTokenizer).ok());
  EXPECT_THAT((*LoadBaseTokenizer(dir))->Info().kind, testing::HasSubstr("tokenizer.json"));
}

// A base of F32 matrices, loaded as BF16, is the base that was written so from the same numbers.
TEST_F(EngineTest, Bf16RoundsMatricesAsAFileOfBf16HoldsThem) {
  const std::string dir = dir_ + "_bf16";
  std::filesystem::remove_all(dir);
  ASSERT_TRUE(InitBase(base_->config(), DType::kBF16, 11, dir).ok());
  ASSERT_TRUE(WriteFileAtomically(dir + "/tokenizer.json", kTokenizer).ok());
  Buffer<float> vectors(5, base_->config().width);
  Rng rng(3);
  for (float& value : vectors.span()) value = static_cast<float>(rng.Normal());
  const auto logits = [&](const std::string& path, const std::string& backend, bool bf16) {
    const auto base =
        std::move(LoadBase(path, {.backend = backend, .thread_count = 1, .bf16 = bf16})).value();
    PagePool pool(base->config().Layout(4, DType::kF32), 8);
    Engine engine(*base, pool);
    // Vectors, since the embedding's rows stay as they are stored.
    PrefillRequest request;
    request.vectors = std::as_const(vectors).view();
    request.want_logits = true;
    ONEPASS_CHECK(engine.Prefill({&request, 1}).ok(), "pages");
    return request.logits;
  };
  for (const char* backend : {"ref", "cpu"}) {
    EXPECT_EQ(logits(dir_, backend, true), logits(dir, backend, false)) << backend;
    EXPECT_NE(logits(dir_, backend, true), logits(dir_, backend, false)) << backend;
    EXPECT_EQ(logits(dir, backend, true), logits(dir, backend, false)) << backend;
  }
}

int32_t Next(Sampler& sampler, std::span<const float> logits) {
  SamplerScratch scratch;
  return sampler.Next(logits, scratch);
}

TEST(Sampler, GreedyTakesTheLargestAndTheSmallestIdOfEquals) {
  Sampler sampler({});
  const std::vector<float> logits{1, 3, 3, 2};
  EXPECT_EQ(Next(sampler, logits), 1);
}

TEST(Sampler, GreedyAgreesWithComparisonsOfFloats) {
  Sampler sampler({});
  EXPECT_EQ(Next(sampler, std::vector<float>{-3, -1, -2}), 1);
  EXPECT_EQ(Next(sampler, std::vector<float>{-1, -0.0f, 0.0f}), 1);
  EXPECT_EQ(Next(sampler, std::vector<float>{-3.4e38f, -1e-40f, 3.4e38f, 1e-40f}), 2);
  Rng rng(20241121);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<float> logits(1 + rng.Uniform(100));
    // Few different values, so that there are ties.
    for (float& v : logits) v = static_cast<float>(rng.UniformInt(-4, 4)) * 0.75f;
    const auto best = std::max_element(logits.begin(), logits.end());
    EXPECT_EQ(Next(sampler, logits), best - logits.begin());
  }
}

TEST(Sampler, KnowsNumbersFromOthers) {
  std::vector<float> values(37, -1.5f);
  EXPECT_TRUE(AllFinite(values));
  EXPECT_TRUE(AllFinite(std::vector<float>{3.4e38f, -3.4e38f, 1e-45f, 0}));
  for (const float other :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()}) {
    for (const size_t at : {0, 17, 36}) {
      std::vector<float> spoilt = values;
      spoilt[at] = other;
      EXPECT_FALSE(AllFinite(spoilt));
    }
  }
}

TEST(Sampler, TopKAndTopPKeepOnlyTheLikeliest) {
  // Probabilities 0.6, 0.3, 0.1.
  const std::vector<float> logits{std::log(0.6f), std::log(0.3f), std::log(0.1f)};
  Sampler top_k({.temperature = 1, .top_k = 2, .seed = 1});
  Sampler top_p({.temperature = 1, .top_p = 0.5, .seed = 1});
  for (int i = 0; i < 500; ++i) {
    EXPECT_NE(Next(top_k, logits), 2);
    EXPECT_EQ(Next(top_p, logits), 0);
  }
}

TEST(Sampler, TopPKeepsOneTokenAtLeast) {
  Sampler sampler({.temperature = 1, .top_p = 1e-300, .seed = 1});
  EXPECT_EQ(Next(sampler, std::vector<float>{-3, 2, 1}), 1);
}

// Whatever draws of more or fewer candidates left in it.
TEST(Sampler, WhatStandsInTheScratchChangesNoDraw) {
  SCOPED_TRACE("seed 9");
  Rng rng(9);
  SamplerScratch used;
  for (uint64_t trial = 0; trial < 300; ++trial) {
    const SamplingOptions options{.temperature = 1,
                                  .top_k = std::array{0, 2, 7, 40}[rng.Uniform(4)],
                                  .top_p = rng.Uniform(2) == 0 ? 1 : 0.8,
                                  .seed = trial};
    std::vector<float> logits(1 + rng.Uniform(100));
    for (float& v : logits) v = static_cast<float>(rng.Normal());
    Sampler with_used(options);
    Sampler with_fresh(options);
    for (int draw = 0; draw < 5; ++draw) {
      ASSERT_EQ(with_used.Next(logits, used), Next(with_fresh, logits)) << trial;
    }
  }
}

TEST(Sampler, FrequenciesFollowTheTemperature) {
  const std::vector<float> logits{std::log(0.6f), std::log(0.3f), std::log(0.1f)};
  Sampler sampler({.temperature = 1, .seed = 42});
  std::vector<int> counts(3);
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) ++counts[Next(sampler, logits)];
  EXPECT_NEAR(counts[0] / double{kDraws}, 0.6, 0.015);
  EXPECT_NEAR(counts[1] / double{kDraws}, 0.3, 0.015);
}

TEST(Sampler, OptionsOutOfRangeAreNamed) {
  EXPECT_FALSE(SamplingOptions{.temperature = -1}.Validate().ok());
  EXPECT_FALSE(SamplingOptions{.top_k = -1}.Validate().ok());
  EXPECT_FALSE(SamplingOptions{.top_p = 0}.Validate().ok());
  EXPECT_EQ(SamplingOptions{.top_p = 1.5}.Validate().message(),
            "top_p: want a number in (0, 1], found 1.500000");
}

}  // namespace
}  // namespace onepass
