// Files that are wrong, cut short or made to hurt: one line that names the place, never a crash.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "core/file.h"
#include "core/rng.h"
#include "tokenizer/tokenizer.h"

namespace onepass {
namespace {

using testing::HasSubstr;

// The smallest good file, with places to put something else in.
std::string File(const std::string& vocab = R"({"a": 0, "b": 1, "ab": 2})",
                 const std::string& merges = R"(["a b"])", const std::string& more = "") {
  return R"({"version": "1.0", )" + more + R"("model": {"type": "BPE", "vocab": )" + vocab +
         R"(, "merges": )" + merges + "}}";
}

std::string MessageOf(const std::string& json) {
  const auto tokenizer = ParseTokenizerJson(json, "file.json");
  if (tokenizer.ok()) return "it loaded";
  EXPECT_EQ(tokenizer.status().message().find('\n'), std::string::npos);
  EXPECT_LT(tokenizer.status().message().size(), 600u);
  EXPECT_THAT(tokenizer.status().message(), HasSubstr("(file.json)"));
  return tokenizer.status().message();
}

TEST(HostileTokenizerJson, TheSmallestGoodFileLoads) {
  const auto tokenizer = ParseTokenizerJson(File(), "file.json");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ((*tokenizer)->Encode("aab", {}), (std::vector<TokenId>{0, 2}));
  // Neither unknown token nor bytes: what has no token gives nothing.
  EXPECT_EQ((*tokenizer)->Encode("a?b", {}), (std::vector<TokenId>{2}));
}

TEST(HostileTokenizerJson, EveryTruncationIsAnError) {
  const std::string json = File();
  for (size_t size = 0; size < json.size(); ++size) {
    EXPECT_NE(MessageOf(json.substr(0, size)), "it loaded") << size;
  }
}

TEST(HostileTokenizerJson, NestingIsBounded) {
  const std::string deep(100000, '[');
  EXPECT_THAT(MessageOf(deep), HasSubstr("levels"));
  std::string objects;
  for (int i = 0; i < 5000; ++i) objects += R"({"pre_tokenizer":)";
  EXPECT_THAT(MessageOf(objects), HasSubstr("levels"));
}

TEST(HostileTokenizerJson, WrongTypesNameTheirPlace) {
  EXPECT_THAT(MessageOf("[]"), HasSubstr("want an object at the top"));
  EXPECT_THAT(MessageOf("{}"), HasSubstr("\"model\": want an object, found nothing"));
  EXPECT_THAT(MessageOf(File("[]")), HasSubstr("\"model.vocab\""));
  EXPECT_THAT(MessageOf(File(R"({"a": "0"})")), HasSubstr("\"model.vocab\": want ids"));
  EXPECT_THAT(MessageOf(File(R"({"a": {"b": 1}})")), HasSubstr("\"model.vocab\": want ids"));
  EXPECT_THAT(MessageOf(File("{}", "{}")), HasSubstr("\"model.merges\""));
  EXPECT_THAT(MessageOf(File("{}", "[1]")), HasSubstr("\"model.merges\": want merges, found 1"));
  EXPECT_THAT(MessageOf(File("{}", R"([["a"]])")), HasSubstr("shorter"));
  EXPECT_THAT(MessageOf(File("{}", R"([["a","b","c"]])")), HasSubstr("longer"));
  EXPECT_THAT(MessageOf(File("{}", R"(["a b", ["a","b"]])")), HasSubstr("all through"));
  EXPECT_THAT(MessageOf(File("{}", "[]", R"("added_tokens": [3], )")),
              HasSubstr("\"added_tokens[0]\": want an object, found 3"));
  EXPECT_THAT(MessageOf(File("{}", "[]", R"("decoder": {"type": 7}, )")),
              HasSubstr("\"decoder.type\": want a string, found 7"));
}

TEST(HostileTokenizerJson, IdsAreBoundedAndUnique) {
  EXPECT_THAT(MessageOf(File(R"({"a": 2147483648})")), HasSubstr("found 2147483648"));
  EXPECT_THAT(MessageOf(File(R"({"a": -1})")), HasSubstr("want ids from 0"));
  EXPECT_THAT(MessageOf(File(R"({"a": 1e3})")), HasSubstr("want ids from 0"));
  EXPECT_THAT(MessageOf(File(R"({"a": 0, "a": 1})")), HasSubstr("each token once"));
  EXPECT_THAT(MessageOf(File(R"({"a": 0, "b": 0})")), HasSubstr("each id once"));
  const auto added = [](const std::string& list) {
    return File(R"({"a": 0, "b": 1, "ab": 2})", "[]", R"("added_tokens": )" + list + ", ");
  };
  EXPECT_THAT(MessageOf(added(R"([{"id": 4294967297, "content": "x"}])")),
              HasSubstr("\"added_tokens[0].id\": want an integer"));
  EXPECT_THAT(MessageOf(added(R"([{"id": 1, "content": "x"}])")), HasSubstr("which is \"b\""));
  EXPECT_THAT(MessageOf(added(R"([{"id": 7, "content": "a"}])")), HasSubstr("want id 0"));
  EXPECT_THAT(MessageOf(added(R"([{"id": 7, "content": "x"}, {"id": 7, "content": "y"}])")),
              HasSubstr("want one token for id 7"));
  EXPECT_THAT(MessageOf(added(R"([{"id": 7, "content": "x"}, {"id": 8, "content": "x"}])")),
              HasSubstr("want one id for \"x\""));
}

TEST(HostileTokenizerJson, MergesOfMissingTokensAreNamed) {
  EXPECT_THAT(MessageOf(File(R"({"a": 0, "b": 1})")),
              HasSubstr("\"model.merges[0]\": want tokens of model.vocab, found \"ab\""));
  EXPECT_THAT(MessageOf(File(R"({"a": 0})", R"(["a c"])")), HasSubstr("found \"c\""));
  EXPECT_THAT(MessageOf(File(R"({"a": 0})", R"(["ac"])")), HasSubstr("a space between"));
}

TEST(HostileTokenizerJson, NamesOfTheFileStayOnOneLine) {
  EXPECT_THAT(MessageOf(File(R"({"x\ny": 0, "z": 0})")), HasSubstr("x\\ny"));
  EXPECT_THAT(MessageOf(R"({"a\nb": {"c\nd": 1, "c\nd": 2}})"), HasSubstr("key twice"));
  EXPECT_THAT(MessageOf("{\"a\n\xFF"), HasSubstr("want JSON"));
  EXPECT_THAT(MessageOf(File("{}", "[]", R"("decoder": {"type": "A\nB"}, )")), HasSubstr("A\\nB"));
}

TEST(HostileTokenizerJson, KeysStandOnce) {
  EXPECT_THAT(MessageOf(R"({"model": {"type": "BPE", "vocab": {}, "vocab": {}, "merges": []}})"),
              HasSubstr("\"model.vocab\": want one value"));
  EXPECT_THAT(MessageOf(R"({"decoder": null, "decoder": null})"), HasSubstr("key twice"));
}

TEST(HostileTokenizerJson, WhatIsNotSupportedIsNamedWithItsPlace) {
  EXPECT_THAT(MessageOf(File("{}", "[]",
                             R"("pre_tokenizer": {"type": "Sequence", "pretokenizers":
                             [{"type": "Whitespace"}, {"type": "UnicodeScripts"}]}, )")),
              testing::AllOf(HasSubstr("\"pre_tokenizer.pretokenizers[1].type\": want one of"),
                             HasSubstr("found \"UnicodeScripts\" (file.json)")));
  EXPECT_THAT(MessageOf(R"({"model": {"type": "Unigram", "vocab": [["a", 0.5]]}})"),
              HasSubstr("\"model.type\": want \"BPE\", found \"Unigram\""));
  EXPECT_THAT(MessageOf(File("{}", "[]", R"("normalizer": {"type": "Precompiled"}, )")),
              HasSubstr("\"normalizer.type\""));
  EXPECT_THAT(MessageOf(File("{}", "[]", R"("decoder": {"type": "WordPiece"}, )")),
              HasSubstr("\"decoder.type\""));
  EXPECT_THAT(MessageOf(R"({"model": {"type": "BPE", "dropout": 0.1, "vocab": {}, "merges": []}})"),
              HasSubstr("\"model.dropout\""));
  EXPECT_THAT(
      MessageOf(R"({"model": {"type": "BPE", "unk_token": "?", "vocab": {}, "merges": []}})"),
      HasSubstr("\"model.unk_token\""));
}

std::string WithPattern(const std::string& pattern) {
  return File(R"({"a": 0, "b": 1, "ab": 2})", R"(["a b"])",
              R"("pre_tokenizer": {"type": "Split", "pattern": {"Regex": ")" + pattern +
                  R"("}, "behavior": "Isolated", "invert": false}, )");
}

TEST(HostileTokenizerJson, BadPatternsAreErrors) {
  for (const char* pattern :
       {"(", "[a", "a{2,1}", "[a&&b]", "(*ACCEPT)", "\\\\p{Nonsense}", "\\\\"}) {
    EXPECT_THAT(MessageOf(WithPattern(pattern)), HasSubstr("\"pre_tokenizer.pattern.Regex\""))
        << pattern;
  }
  EXPECT_THAT(MessageOf(WithPattern(std::string(5000, '('))), HasSubstr("Regex"));
}

TEST(HostileTokenizerJson, PatternsThatBacktrackForEverEnd) {
  for (const char* pattern : {"(a+)+$", "(?:a|a)*c", "((a?){30}){30}c", "(a*)*\\\\1c"}) {
    const auto tokenizer = ParseTokenizerJson(WithPattern(pattern), "file.json");
    if (!tokenizer.ok()) continue;  // refused is as good
    // No text is lost, whether or not the search came to its end.
    EXPECT_EQ((*tokenizer)->Encode(std::string(40, 'a'), {}).size(), 40u) << pattern;
  }
}

TEST(HostileTokenizerJson, DamagedFilesLoadOrFailButNeverCrash) {
  const Result<std::string> good =
      ReadFile(ONEPASS_SOURCE_DIR "/tests/golden/tokenizer/llama3.json");
  ASSERT_TRUE(good.ok());
  Rng rng(17);
  int loaded = 0;
  for (int round = 0; round < 300; ++round) {
    std::string json = *good;
    for (uint64_t edits = 1 + rng.Uniform(3); edits > 0; --edits) {
      const size_t at = rng.Uniform(json.size());
      switch (rng.Uniform(3)) {
        case 0:
          json[at] = static_cast<char>(rng.Uniform(256));
          break;
        case 1:
          json.erase(at, 1 + rng.Uniform(20));
          break;
        default:
          json.insert(at, json.substr(rng.Uniform(json.size()), rng.Uniform(40)));
      }
    }
    const auto tokenizer = ParseTokenizerJson(json, "file.json");
    if (!tokenizer.ok()) continue;
    ++loaded;
    const std::vector<TokenId> ids =
        (*tokenizer)->Encode("The <|special|> 123\n\n x", {true, true});
    (void)(*tokenizer)->Decode(ids, false);
  }
  EXPECT_LT(loaded, 300);
}

class HostileTiktoken : public testing::Test {
 protected:
  std::string MessageOf(const std::string& content, const TiktokenOptions& options = {}) {
    const auto path = std::filesystem::temp_directory_path() /
                      ("onepass_" + std::to_string(::getpid()) + ".tiktoken");
    std::ofstream(path, std::ios::binary) << content;
    const auto tokenizer = LoadTiktoken(path.string(), options);
    std::filesystem::remove(path);
    return tokenizer.ok() ? "it loaded" : tokenizer.status().message();
  }
  // All single bytes, ranks 0 to 255.
  static std::string Bytes() {
    const Result<std::string> file =
        ReadFile(ONEPASS_SOURCE_DIR "/tests/golden/tokenizer/tiny.tiktoken");
    std::string bytes;
    size_t line = 0;
    for (const char c : *file) {
      if (line < 256) bytes.push_back(c);
      if (c == '\n') ++line;
    }
    return bytes;
  }
};

TEST_F(HostileTiktoken, LinesAreChecked) {
  const std::string bytes = Bytes();
  EXPECT_EQ(MessageOf(bytes), "it loaded");
  EXPECT_EQ(MessageOf(bytes + "dGhl 256\n"), "it loaded");
  EXPECT_THAT(MessageOf(""), HasSubstr("every single byte"));
  EXPECT_THAT(MessageOf(bytes.substr(0, bytes.size() / 2)), HasSubstr("tiktoken: "));
  EXPECT_THAT(MessageOf(bytes + "dGhl 255\n"), HasSubstr("line 257: want each rank once"));
  EXPECT_THAT(MessageOf(bytes + "dGhl 256\ndGhl 257\n"), HasSubstr("want each token once"));
  EXPECT_EQ(MessageOf(bytes + "dGhl 300\n"), "it loaded");  // a gap
  EXPECT_THAT(MessageOf(bytes + "dGh 256\n"), HasSubstr("line 257: want base64"));
  EXPECT_THAT(MessageOf(bytes + "dG!l 256\n"), HasSubstr("want base64"));
  EXPECT_THAT(MessageOf(bytes + "dGhl\n"), HasSubstr("want base64 and a rank"));
  EXPECT_THAT(MessageOf(bytes + "dGhl 99999999999\n"), HasSubstr("want a rank"));
  EXPECT_THAT(MessageOf(bytes + "dGhl -1\n"), HasSubstr("want a rank"));
}

TEST_F(HostileTiktoken, SpecialTokensAreDifferentAndNoRanks) {
  const std::string ranks = Bytes() + "dGhl 300\n";
  const auto message = [&](std::vector<TiktokenOptions::Special> special) {
    return MessageOf(ranks, {.pattern = "", .special_tokens = std::move(special), .bos_token = ""});
  };
  EXPECT_EQ(message({{"<a>", 256}, {"<b>", {}}, {"<c>", 302}}), "it loaded");
  EXPECT_THAT(message({{"<a>", 300}}), HasSubstr("\"<a>\": want an id up to"));
  EXPECT_THAT(message({{"<a>", -1}}), HasSubstr("that is no rank, found -1"));
  EXPECT_THAT(message({{"<a>", 301}, {"<b>", 301}}), HasSubstr("found \"<b>\" or its id twice"));
  EXPECT_THAT(message({{"", {}}}), HasSubstr("want different special tokens"));
}

TEST(HostileTokenizerJson, NothingStandsBehindAZeroByte) {
  Result<std::string> good = ReadFile(ONEPASS_SOURCE_DIR "/tests/golden/tokenizer/llama3.json");
  ASSERT_TRUE(good.ok());
  const std::string zero = *good + std::string("\0", 1) + "more";
  EXPECT_EQ(ParseTokenizerJson(zero, "file").status().message(),
            "tokenizer.json: byte " + std::to_string(good->size()) + ": a zero byte (file)");
  EXPECT_EQ(ParseTokenizerJson("\xef\xbb\xbf" + *good, "file").status().message(),
            "tokenizer.json: byte 0: a byte order mark (file)");
}

TEST(HostileTokenizer, MissingFilesAreNamed) {
  EXPECT_THAT(LoadTokenizerJson("/nowhere/tokenizer.json").status().message(),
              HasSubstr("/nowhere/tokenizer.json"));
  EXPECT_THAT(LoadTiktoken("/nowhere/x.tiktoken", {}).status().message(),
              HasSubstr("/nowhere/x.tiktoken"));
}

}  // namespace
}  // namespace onepass
