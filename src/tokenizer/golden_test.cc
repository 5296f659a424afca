// The reference libraries' ids and texts: tiny tokenizers of every kind (tests/golden/tokenizer,
// made by tools/make_goldens_tokenizer.py) and the conformance files beside the project.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/file.h"
#include "tokenizer/conformance_for_test.h"
#include "tokenizer/tokenizer.h"

namespace onepass {
namespace {

const std::string kGoldenFolder = ONEPASS_SOURCE_DIR "/tests/golden/tokenizer/";
const std::string kRealTokenizers = ONEPASS_SOURCE_DIR "/../shared/";

std::unique_ptr<const Tokenizer> LoadKind(const std::string& kind) {
  Result<std::unique_ptr<const Tokenizer>> tokenizer =
      kind == "tiny.tiktoken"
          ? LoadTiktoken(kGoldenFolder + kind, {.pattern = "",
                                                .special_tokens = {{"<|begin_of_text|>", {}},
                                                                   {"<|special|>", {}},
                                                                   {"<|eot|>", {}}},
                                                .bos_token = "<|begin_of_text|>"})
          : LoadTokenizerJson(kGoldenFolder + kind + ".json");
  if (!tokenizer.ok()) {
    ADD_FAILURE() << tokenizer.status().message();
    return nullptr;
  }
  return std::move(tokenizer).value();
}

class TokenizerKind : public testing::TestWithParam<const char*> {};

TEST_P(TokenizerKind, EncodesAndDecodesAsTheReferenceDoes) {
  const auto tokenizer = LoadKind(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  const Result<std::string> text = ReadFile(kGoldenFolder + GetParam() + ".cases.json");
  ASSERT_TRUE(text.ok()) << text.status().message();
  const nlohmann::json cases = nlohmann::json::parse(*text);
  ASSERT_GE(cases.size(), 20u);
  for (const nlohmann::json& c : cases) {
    const auto input = c["text"].get<std::string>();
    SCOPED_TRACE("text " + c["text"].dump());
    const auto added = c["added"].get<std::vector<TokenId>>();
    EXPECT_EQ(tokenizer->Encode(input, {.parse_special = true}),
              c["ids"].get<std::vector<TokenId>>());
    EXPECT_EQ(tokenizer->Encode(input, {}), c["plain"].get<std::vector<TokenId>>());
    EXPECT_EQ(tokenizer->Encode(input, {.add_special_tokens = true, .parse_special = true}), added);
    for (const bool skip : {false, true}) {
      const char* key = skip ? "skipped" : "decoded";
      if (!c.contains(key)) continue;
      EXPECT_EQ(tokenizer->Decode(added, skip), c[key].get<std::string>());
      EXPECT_EQ(Streamed(*tokenizer, added, skip), c[key].get<std::string>());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Goldens, TokenizerKind,
                         testing::Values("llama3", "qwen2", "smollm2", "gpt2", "gpt2_prefix",
                                         "llama2", "phi3", "metaspace_first", "metaspace_split",
                                         "clip", "wordpieces", "tiny.tiktoken"));

TEST(Tiktoken, NamedPatternsAndRanksWithAGapAreThoseOfTheReference) {
  const Result<std::string> text = ReadFile(kGoldenFolder + "gap.tiktoken.cases.json");
  ASSERT_TRUE(text.ok()) << text.status().message();
  std::map<std::string, std::unique_ptr<const Tokenizer>> tokenizers;
  for (const nlohmann::json& c : nlohmann::json::parse(*text)) {
    const auto pattern = c["pattern"].get<std::string>();
    SCOPED_TRACE(pattern + ", text " + c["text"].dump());
    std::unique_ptr<const Tokenizer>& tokenizer = tokenizers[pattern];
    if (tokenizer == nullptr) {
      auto loaded = LoadTiktoken(kGoldenFolder + "gap.tiktoken",
                                 {.pattern = NamedTiktokenPattern(pattern),
                                  .special_tokens = {{"<|eot|>", 302}, {"<|special|>", 500}}});
      ASSERT_TRUE(loaded.ok()) << loaded.status().message();
      tokenizer = std::move(loaded).value();
      EXPECT_EQ(tokenizer->Info().vocab_size, 501);
    }
    const auto input = c["text"].get<std::string>();
    const auto ids = c["ids"].get<std::vector<TokenId>>();
    EXPECT_EQ(tokenizer->Encode(input, {.parse_special = true}), ids);
    EXPECT_EQ(tokenizer->Encode(input, {}), c["plain"].get<std::vector<TokenId>>());
    EXPECT_EQ(tokenizer->Decode(ids, true), c["skipped"].get<std::string>());
  }
  EXPECT_EQ(tokenizers.size(), 3u);
}

TEST(TokenizerConformance, Llama3IdsEqualLlamaCpps) {
  const std::string path = kRealTokenizers + "tokenizers/llama3.tiktoken";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is missing";
  const auto tokenizer = LoadTiktoken(path, Llama3TiktokenOptions());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ((*tokenizer)->Info().vocab_size, 128256);
  EXPECT_EQ((*tokenizer)->IdOf("<|begin_of_text|>"), 128000);
  EXPECT_EQ((*tokenizer)->IdOf("<|eot_id|>"), 128009);
  CheckConformance(**tokenizer, kRealTokenizers + "tokenizers/", "llama-bpe");
}

TEST(TokenizerConformance, Llama2IdsEqualLlamaCpps) {
  const std::string path = kRealTokenizers + "tokenizers/llama2.tokenizer.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is missing";
  const auto tokenizer = LoadTokenizerJson(path);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ((*tokenizer)->Info().vocab_size, 32000);
  CheckConformance(**tokenizer, kRealTokenizers + "tokenizers/", "llama-spm");
}

TEST(TokenizerConformance, SharedModelsRoundTrip) {
  for (const char* model : {"stories260k", "tinystories-656k"}) {
    const std::string path = kRealTokenizers + "models/" + model + "/tokenizer.json";
    if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is missing";
    const auto tokenizer = LoadTokenizerJson(path);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    const std::string text = "Once upon a time, there was a little girl.\nShe was happy!";
    const std::vector<TokenId> ids = (*tokenizer)->Encode(text, {.add_special_tokens = true});
    EXPECT_EQ(ids[0], 1);
    EXPECT_EQ((*tokenizer)->Decode(ids, true), text);
  }
}

}  // namespace
}  // namespace onepass
