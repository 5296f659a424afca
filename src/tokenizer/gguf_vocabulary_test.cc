// A vocabulary as GGUF files have it must give the very ids that the tokenizer.json it came from
// gives: the goldens of golden_test.cc, said in GGUF's lists.
#include "tokenizer/gguf_vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "tokenizer/conformance_for_test.h"

namespace onepass {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const std::string kGoldens = ONEPASS_SOURCE_DIR "/tests/golden/tokenizer/";
const std::string kShared = ONEPASS_SOURCE_DIR "/../shared/";

// Owns the texts that a vocabulary borrows.
struct OwnedVocabulary {
  std::deque<std::string> texts;
  GgufVocabulary vocabulary;

  std::string_view Keep(std::string text) { return texts.emplace_back(std::move(text)); }
};

// What a converter writes for a tokenizer.json; pre empty: the "llama" model, whose scores fall
// with the rank of the merge that makes a token.
void Convert(const json& from, const std::string& pre, OwnedVocabulary* owned) {
  GgufVocabulary& to = owned->vocabulary;
  to.model = pre.empty() ? "llama" : "gpt2";
  to.pre = pre;
  std::map<TokenId, std::string> by_id;
  const json& model = from["model"];
  for (const auto& [text, id] : model["vocab"].items()) by_id[id] = text;
  std::map<TokenId, json> added;
  for (const json& token : from["added_tokens"]) {
    added[token["id"]] = token;
    by_id[token["id"]] = token["content"];
  }
  const TokenId end = by_id.rbegin()->first + 1;
  for (TokenId id = 0; id < end; ++id) {
    const auto found = by_id.find(id);
    to.tokens.push_back(
        owned->Keep(found == by_id.end() ? "[PAD" + std::to_string(id) + "]" : found->second));
    const bool is_byte = pre.empty() && to.tokens.back().starts_with("<0x");
    to.types.push_back(found == by_id.end() ? 5
                       : added.contains(id) ? (added[id]["special"].get<bool>() ? 3 : 4)
                       : is_byte            ? 6
                                            : 1);
  }
  std::map<std::string, float> scores;
  for (size_t rank = 0; rank < model["merges"].size(); ++rank) {
    const json& merge = model["merges"][rank];
    std::string line = merge.is_string()
                           ? merge.get<std::string>()
                           : merge[0].get<std::string>() + " " + merge[1].get<std::string>();
    if (!pre.empty()) to.merges.push_back(owned->Keep(line));
    line.erase(line.find(' ', 1), 1);
    scores.emplace(line, -static_cast<float>(rank));
  }
  if (pre.empty()) {
    for (const std::string_view token : to.tokens) {
      const auto score = scores.find(std::string(token));
      to.scores.push_back(score == scores.end() ? -1e6f : score->second);
    }
    if (model.contains("unk_token") && model["unk_token"].is_string()) {
      to.unknown = model["vocab"][model["unk_token"].get<std::string>()].get<TokenId>();
    }
  }
}

std::unique_ptr<const Tokenizer> Make(const OwnedVocabulary& owned) {
  auto tokenizer = MakeGgufTokenizer(owned.vocabulary, "x");
  if (!tokenizer.ok()) {
    ADD_FAILURE() << tokenizer.status().message();
    return nullptr;
  }
  return std::move(tokenizer).value();
}

std::string ReplaceAll(std::string text, std::string_view what, std::string_view by) {
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
  return text;
}

json ReadJson(const std::string& path) {
  const auto text = ReadFile(path);
  return text.ok() ? json::parse(*text, nullptr, false) : json();
}

class GgufVocabularyKind : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(GgufVocabularyKind, GivesTheIdsOfItsTokenizerJson) {
  const auto& [kind, pre] = GetParam();
  OwnedVocabulary owned;
  Convert(ReadJson(kGoldens + kind + ".json"), pre, &owned);
  const auto tokenizer = Make(owned);
  ASSERT_NE(tokenizer, nullptr);
  const json cases = ReadJson(kGoldens + std::string(kind) + ".cases.json");
  ASSERT_GE(cases.size(), 20u);
  for (const json& c : cases) {
    const auto input = c["text"].get<std::string>();
    SCOPED_TRACE("text " + c["text"].dump());
    const auto ids = tokenizer->Encode(input, {.parse_special = true});
    EXPECT_EQ(ids, c["ids"].get<std::vector<TokenId>>());
    EXPECT_EQ(tokenizer->Encode(input, {}), c["plain"].get<std::vector<TokenId>>());
    StreamDecoder stream(*tokenizer, false);
    std::string streamed;
    for (const TokenId id : ids) streamed += stream.Push(id);
    EXPECT_EQ(streamed + stream.Finish(), tokenizer->Decode(ids, false));
  }
}

INSTANTIATE_TEST_SUITE_P(Goldens, GgufVocabularyKind,
                         testing::Values(std::pair("llama3", "llama-bpe"),
                                         std::pair("qwen2", "qwen2"),
                                         std::pair("smollm2", "smollm"), std::pair("gpt2", "gpt-2"),
                                         std::pair("llama2", "")),
                         [](const auto& param_info) {
                           return std::string(param_info.param.first);
                         });

TEST(GgufVocabulary, ScoresOfLlama2GiveLlamaCppsIds) {
  const std::string path = kShared + "tokenizers/llama2.tokenizer.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is missing";
  OwnedVocabulary owned;
  const json from = ReadJson(path);
  Convert(from, "", &owned);
  // The model's own scores: from id 259 on, each lower than the one before; runs of spaces last.
  for (size_t id = 259; id < owned.vocabulary.scores.size(); ++id) {
    const std::string text(owned.vocabulary.tokens[id]);
    const bool is_spaces = ReplaceAll(text, "\xE2\x96\x81", "").empty();
    owned.vocabulary.scores[id] = is_spaces ? -1e9f : -static_cast<float>(id - 259);
  }
  const auto tokenizer = Make(owned);
  ASSERT_NE(tokenizer, nullptr);
  CheckConformance(*tokenizer, kShared + "tokenizers/", "llama-spm");
}

GgufVocabulary Scored(std::vector<std::string_view> tokens, std::vector<float> scores) {
  GgufVocabulary vocabulary;
  vocabulary.model = "llama";
  vocabulary.tokens = std::move(tokens);
  vocabulary.scores = std::move(scores);
  vocabulary.add_space_prefix = false;
  return vocabulary;
}

TEST(GgufVocabulary, OfEqualScoresTheLeftmostPairMerges) {
  const auto equal =
      MakeGgufTokenizer(Scored({"a", "b", "c", "ab", "bc"}, {-1, -1, -1, -1, -1}), "x");
  ASSERT_TRUE(equal.ok()) << equal.status().message();
  EXPECT_EQ((*equal)->Encode("abc", {}), (std::vector<TokenId>{3, 2}));
  const auto right_first =
      MakeGgufTokenizer(Scored({"a", "b", "c", "ab", "bc"}, {-1, -1, -1, -1, -0.5f}), "x");
  EXPECT_EQ((*right_first)->Encode("abc", {}), (std::vector<TokenId>{0, 4}));
}

TEST(GgufVocabulary, TextNeverBecomesControlOrByteTokens) {
  GgufVocabulary vocabulary = Scored(
      {"<", "s", ">", "<s>", "<s", "0", "x", "4", "1", "<0", "<0x", "<0x4", "<0x41", "<0x41>"},
      std::vector<float>(14, -1));
  vocabulary.types = {1, 1, 1, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 6};
  const auto tokenizer = MakeGgufTokenizer(vocabulary, "x");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ((*tokenizer)->Encode("<s>", {}), (std::vector<TokenId>{4, 2}));
  EXPECT_EQ((*tokenizer)->Encode("<s>", {.parse_special = true}), (std::vector<TokenId>{3}));
  EXPECT_EQ((*tokenizer)->Encode("<0x41>", {}), (std::vector<TokenId>{12, 2}));
}

TEST(GgufVocabulary, DefaultCutsPunctuationAndThreeDigits) {
  OwnedVocabulary owned;
  GgufVocabulary& vocabulary = owned.vocabulary;
  vocabulary.model = "gpt2";
  vocabulary.tokens = {"1", "2", ".", "a", "12", "121", "1212", ".a"};
  vocabulary.merges = {"1 2", "12 1", "121 2", ". a"};
  const auto tokenizer = Make(owned);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->Encode("1212.a", {}), (std::vector<TokenId>{5, 1, 2, 3}));
  EXPECT_EQ(tokenizer->Info().kind, "BPE (GGUF, default)");
}

TEST(GgufVocabulary, BeginAndEndTokensAreAddedWhereTheFileSaysSo) {
  GgufVocabulary vocabulary = Scored({"a", "<s>", "</s>"}, {0, 0, 0});
  vocabulary.types = {1, 3, 3};
  vocabulary.bos = 1;
  vocabulary.eos = 2;
  const auto encoded = [&vocabulary] {
    return MakeGgufTokenizer(vocabulary, "x").value()->Encode("a", {.add_special_tokens = true});
  };
  EXPECT_EQ(encoded(), (std::vector<TokenId>{1, 0}));
  vocabulary.add_bos = false;
  vocabulary.add_eos = true;
  EXPECT_EQ(encoded(), (std::vector<TokenId>{0, 2}));
  vocabulary.eos.reset();
  EXPECT_THAT(MakeGgufTokenizer(vocabulary, "x").status().message(),
              HasSubstr("\"tokenizer.ggml.eos_token_id\": want an id of a token, found nothing"));
}

TEST(GgufVocabulary, FaultsNameTheKey) {
  const auto fault = [](const GgufVocabulary& vocabulary) {
    const auto tokenizer = MakeGgufTokenizer(vocabulary, "x");
    return tokenizer.ok() ? "(none)" : tokenizer.status().message();
  };
  GgufVocabulary good = Scored({"a", "b"}, {0, 0});
  EXPECT_EQ(fault(good), "(none)");
  GgufVocabulary bad = good;
  bad.model = "bert";
  EXPECT_EQ(fault(bad),
            "gguf: \"tokenizer.ggml.model\": want \"gpt2\" or \"llama\", found \"bert\" (x)");
  bad = good;
  bad.tokens.clear();
  EXPECT_THAT(fault(bad), HasSubstr("tokens\": want 1 to 8388608 tokens, found 0"));
  bad = good;
  bad.tokens[1] = "a";
  EXPECT_THAT(fault(bad), HasSubstr("tokens[1]\": want each token once, found \"a\", which 0 is"));
  bad = good;
  bad.tokens[1] = "\xff";
  EXPECT_THAT(fault(bad), HasSubstr("tokens[1]\": want UTF-8, found \"\\xff\""));
  bad = good;
  bad.types = {1};
  EXPECT_THAT(fault(bad), HasSubstr("token_type\": want one for each of 2 tokens, found 1"));
  bad.types = {1, 7};
  EXPECT_THAT(fault(bad), HasSubstr("token_type[1]\": want 1 to 6, found 7"));
  bad = good;
  bad.scores = {1};
  EXPECT_THAT(fault(bad), HasSubstr("scores\": want one for each of 2 tokens, found 1"));
  bad.scores = {1, NAN};
  EXPECT_THAT(fault(bad), HasSubstr("scores[1]\": want a number, found NaN"));
  bad = good;
  bad.add_bos = true;
  bad.bos = 2;
  EXPECT_THAT(fault(bad), HasSubstr("bos_token_id\": want an id of a token, found 2"));
  bad = good;
  const std::string long_token(513, 'a');
  bad.tokens[1] = long_token;
  EXPECT_THAT(fault(bad), HasSubstr("tokens[1]\": want a token of at most 512 bytes, found 513"));
  bad = good;
  bad.model = "gpt2";
  EXPECT_EQ(fault(bad), "(none)");
  bad.pre = "o9";
  EXPECT_THAT(fault(bad), HasSubstr("pre\": want one of default, llama-bpe"));
  bad.pre = "gpt-2";
  bad.merges = {"ab"};
  EXPECT_THAT(fault(bad), HasSubstr("merges[0]\": want two tokens with a space between"));
  bad.merges = {"a b"};
  EXPECT_THAT(fault(bad), HasSubstr("merges[0]\": want tokens of the vocabulary, found \"ab\""));
}

}  // namespace
}  // namespace onepass
