#include "eval/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "chain/tiny_chain_for_test.h"

namespace onepass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kPromptLength = 4;

void Save(const std::string& dir, uint64_t seed) {
  const SoftPrompt prompt = RandomPrompt(kPromptLength, TinyConfig().width, seed);
  ASSERT_TRUE(MakeDirectories(dir).ok());
  const Status status = SaveSoftPrompt(prompt, dir);
  ASSERT_TRUE(status.ok()) << status.message();
}

// A folder with a tiny base, a two-stage chain, prompts of two seeds and three records.
class CompareTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = WriteTinyBase("compare_test");
    Write("chain.yaml",
          "base: .\nshared: \"{Q}\\n\"\nstages:\n"
          "  - {name: a, prompt: none, input: \"{D}\\n\", start: <bos>, stop_tokens: [<eos>], "
          "max_tokens: 6}\n"
          "  - {name: b, prompt: none, start: <bos>, stop_tokens: [<eos>], max_tokens: 4}\n");
    Write("plain.yaml", "base: .\nstages:\n  - {name: only, input: \"{Q}\", max_tokens: 3}\n");
    Write("data.jsonl",
          "{\"Q\": \"who\", \"D\": \"the one\", \"O\": \"he\", \"also\": [\"she\", \"they\"]}\n"
          "{\"Q\": \"what\", \"D\": \"that\", \"O\": \" it \", \"also\": []}\n"
          "{\"Q\": \"when\", \"D\": \"then\", \"O\": \"now\", \"also\": \"soon\"}\n");
    for (const int seed : {1, 2}) {
      Save(dir_ + "/prompts/" + std::to_string(seed) + "/a", static_cast<uint64_t>(10 * seed));
      Save(dir_ + "/prompts/" + std::to_string(seed) + "/b", static_cast<uint64_t>(10 * seed + 1));
    }
  }

  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(WriteFileAtomically(dir_ + "/" + name, text).ok());
  }

  SuiteSpec Suite() {
    const Result<SuiteSpec> suite = ParseSuite(
        "data: data.jsonl\nprompts: prompts/{seed}\ngold: O\naliases: also\nseeds: [1, 2]\n"
        "methods:\n"
        "  - {method: plain, chain: plain.yaml}\n"
        "  - {method: text, chain: chain.yaml, handoff: text, prompts: {a: a, b: b}}\n"
        "  - {method: cached, chain: chain.yaml, handoff: text-cached, prompts: {a: a, b: b}}\n"
        "  - {method: kv, chain: chain.yaml, handoff: kv, prompts: {a: a, b: b}, answer: b}\n",
        dir_ + "/suite.yaml");
    EXPECT_TRUE(suite.ok()) << suite.status().message();
    return *suite;
  }

  std::string dir_;
};

TEST_F(CompareTest, TellsMethodsApartByWhatTheyRecompute) {
  const Result<std::vector<MethodResult>> results =
      Compare(Suite(), {.out = dir_ + "/out", .base = {.backend = "ref", .thread_count = 1}});
  ASSERT_TRUE(results.ok()) << results.status().message();
  ASSERT_EQ(results->size(), 4u);
  const MethodResult& plain = (*results)[0];
  const MethodResult& text = (*results)[1];
  const MethodResult& cached = (*results)[2];
  const MethodResult& kv = (*results)[3];
  EXPECT_EQ(plain.runs.size(), 1u);  // it has no prompts, so seeds change nothing
  EXPECT_EQ(plain.runs[0].recomputed_tokens, 0);
  ASSERT_EQ(kv.runs.size(), 2u);
  EXPECT_EQ(kv.runs[1].seed, 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(kv.runs[i].n, 3);
    EXPECT_EQ(kv.runs[i].recomputed_tokens, 0);
    EXPECT_GT(cached.runs[i].recomputed_tokens, 0);
    EXPECT_GT(text.runs[i].recomputed_tokens, cached.runs[i].recomputed_tokens);
    EXPECT_GT(kv.runs[i].peak_kv_bytes, 0);
    EXPECT_GT(kv.runs[i].ms, 0);
  }

  const Result<std::string> json = ReadFile(dir_ + "/out/results.json");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(*json, ResultsToJson(*results));
  for (const char* method : {"plain", "text", "cached", "kv"}) {
    const Result<std::string> samples =
        ReadFile(dir_ + "/out/samples_" + std::string(method) + ".jsonl");
    ASSERT_TRUE(samples.ok());
    const int64_t lines = std::count(samples->begin(), samples->end(), '\n');
    EXPECT_EQ(lines, std::string(method) == "plain" ? 3 : 6);
    const nlohmann::json first = nlohmann::json::parse(samples->substr(0, samples->find('\n')));
    EXPECT_EQ(first["wanted"], (std::vector<std::string>{"he", "she", "they"}));
  }
}

TEST_F(CompareTest, ASkippedRecordIsSkippedForEveryMethod) {
  // Record 2 is no JSON, 3 has no gold, 5 lacks what the two-stage chains alone read, "D".
  Write("data.jsonl",
        "{\"Q\": \"who\", \"D\": \"the one\", \"O\": \"he\", \"also\": []}\n{\n"
        "{\"Q\": \"what\", \"D\": \"that\", \"also\": []}\n"
        "{\"Q\": \"when\", \"D\": \"then\", \"O\": \"now\", \"also\": []}\n"
        "{\"Q\": \"why\", \"O\": \"so\", \"also\": []}\n");
  std::vector<std::string> faults;
  CompareOptions options{.out = dir_ + "/out", .base = {.backend = "ref", .thread_count = 1}};
  EXPECT_THAT(Compare(Suite(), options).status().message(), HasSubstr("record 2 (line 2)"));
  options.on_error = OnError::kSkip;
  options.on_skipped = [&](const Status& fault) { faults.push_back(fault.message()); };
  const Result<std::vector<MethodResult>> results = Compare(Suite(), options);
  ASSERT_TRUE(results.ok()) << results.status().message();
  EXPECT_THAT(faults,
              ElementsAre(HasSubstr("record 2"), HasSubstr("record 3"), HasSubstr("record 5")));
  for (const MethodResult& result : *results) {
    for (const MethodRun& run : result.runs) {
      EXPECT_EQ(run.n, 2) << result.method;
      EXPECT_EQ(run.skipped, 3) << result.method;
    }
  }
  const Result<std::string> samples = ReadFile(dir_ + "/out/samples_plain.jsonl");
  ASSERT_TRUE(samples.ok());
  EXPECT_EQ(std::ranges::count(*samples, '\n'), 2);
}

TEST_F(CompareTest, AComparisonOfNoRecordsIsAFault) {
  Write("data.jsonl", "{\n");
  CompareOptions options{.base = {.backend = "ref", .thread_count = 1}, .on_error = OnError::kSkip};
  EXPECT_THAT(Compare(Suite(), options).status().message(),
              HasSubstr("want records that every method can do, found 1"));
}

TEST_F(CompareTest, AcceptedAnswersAreGoldAndAliases) {
  const SuiteSpec suite = Suite();
  const Result<std::vector<Record>> records = LoadRecords(suite.data);
  ASSERT_TRUE(records.ok());
  EXPECT_THAT(*AcceptedAnswers(suite, (*records)[0]), ElementsAre("he", "she", "they"));
  EXPECT_THAT(*AcceptedAnswers(suite, (*records)[1]), ElementsAre("it"));
  EXPECT_THAT(*AcceptedAnswers(suite, (*records)[2]), ElementsAre("now", "soon"));
}

TEST_F(CompareTest, FaultsNameTheirPlace) {
  const CompareOptions options{.base = {.backend = "ref", .thread_count = 1}};
  SuiteSpec suite = Suite();
  suite.n = 4;
  EXPECT_THAT(Compare(suite, options).status().message(), HasSubstr("want 4 records, found 3"));
  suite = Suite();
  suite.gold = "X";
  EXPECT_THAT(Compare(suite, options).status().message(), HasSubstr("data.jsonl: record 1"));
  suite = Suite();
  suite.methods[1].prompts["c"] = "c";
  EXPECT_THAT(Compare(suite, options).status().message(), HasSubstr("\"c\" is no stage of"));
  suite = Suite();
  suite.methods[3].answer = "z";
  EXPECT_THAT(Compare(suite, options).status().message(), HasSubstr("answer: \"z\" is no stage"));
  suite = Suite();
  suite.prompts = dir_ + "/nowhere";
  EXPECT_THAT(Compare(suite, options).status().message(), HasSubstr("nowhere"));
}

TEST_F(CompareTest, UnwritableOutputIsAFaultAndLeavesNothing) {
  Write("file", "x");
  const CompareOptions options{.out = dir_ + "/file/out",
                               .base = {.backend = "ref", .thread_count = 1}};
  EXPECT_FALSE(Compare(Suite(), options).ok());
}

}  // namespace
}  // namespace onepass
