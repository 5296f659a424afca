#include "eval/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "eval/answer_questions.h"
#include "eval/base_error.h"
#include "eval/compare_for_test.h"

namespace onepass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(CompareTest, TellsMethodsApartByWhatTheyRecompute) {
  const Result<Comparison> compared = Compare(Suite(), On(dir_ + "/out"));
  ASSERT_TRUE(compared.ok()) << compared.status().message();
  EXPECT_EQ(compared->runs, 7);
  EXPECT_EQ(compared->runs_taken, 0);
  const std::vector<MethodResult>& methods = compared->results.methods;
  ASSERT_EQ(methods.size(), 4u);
  const MethodResult& plain = methods[0];
  const MethodResult& text = methods[1];
  const MethodResult& cached = methods[2];
  const MethodResult& kv = methods[3];
  EXPECT_THAT(plain.seeds, ElementsAre(1));  // it has no prompts, so seeds change nothing
  EXPECT_EQ(plain.recomputed_tokens, 0);
  EXPECT_THAT(kv.seeds, ElementsAre(1, 2));
  EXPECT_EQ(kv.em.by_seed.size(), 2u);
  EXPECT_EQ(kv.n, 3);
  EXPECT_EQ(kv.recomputed_tokens, 0);
  EXPECT_GT(cached.recomputed_tokens, 0);
  EXPECT_GT(text.recomputed_tokens, cached.recomputed_tokens);
  EXPECT_GT(kv.peak_kv_bytes, 0);
  EXPECT_GT(*kv.ms, 0);
  EXPECT_FALSE(kv.rounds.has_value());
  EXPECT_FALSE(kv.tool_runs.has_value());

  const Result<std::string> json = ReadFile(dir_ + "/out/results.json");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(*json, ResultsToJson(compared->results));
  for (const char* file : {"report.md", "report.html", "runs/plain-1.jsonl", "runs/kv-2.jsonl"}) {
    EXPECT_TRUE(std::filesystem::exists(dir_ + "/out/" + file)) << file;
  }
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

TEST_F(CompareTest, InLockstepAnswersAreTheSameAndTimesAreNone) {
  SuiteSpec suite = Suite();
  const Result<Comparison> single = Compare(suite, On(dir_ + "/single"));
  suite.batch = 2;
  const Result<Comparison> batch = Compare(suite, On(dir_ + "/batch"));
  ASSERT_TRUE(single.ok());
  ASSERT_TRUE(batch.ok()) << batch.status().message();
  for (size_t i = 0; i < 4; ++i) {
    MethodResult expected = single->results.methods[i];
    expected.ms.reset();
    expected.handoff_ms.reset();
    EXPECT_EQ(batch->results.methods[i], expected) << expected.method;
  }
  const auto answers = [&](const std::string& folder) {
    std::vector<std::string> texts;
    std::stringstream lines(*ReadFile(dir_ + folder + "/samples_kv.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      texts.push_back(nlohmann::json::parse(line)["outputs"].dump());
    }
    return texts;
  };
  EXPECT_EQ(answers("/batch"), answers("/single"));
}

TEST_F(CompareTest, ASkippedRecordIsSkippedForEveryMethod) {
  // Record 2 is no JSON, 3 has no gold, 5 lacks what the two-stage chains alone read, "D".
  Write("data.jsonl",
        "{\"Q\": \"who\", \"D\": \"the one\", \"O\": \"he\", \"also\": []}\n{\n"
        "{\"Q\": \"what\", \"D\": \"that\", \"also\": []}\n"
        "{\"Q\": \"when\", \"D\": \"then\", \"O\": \"now\", \"also\": []}\n"
        "{\"Q\": \"why\", \"O\": \"so\", \"also\": []}\n");
  std::vector<std::string> faults;
  CompareOptions options = On(dir_ + "/out");
  EXPECT_THAT(Compare(Suite(), options).status().message(), HasSubstr("record 2 (line 2)"));
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/out"));
  options.on_error = OnError::kSkip;
  options.on_skipped = [&](const Status& fault) { faults.push_back(fault.message()); };
  const Result<Comparison> compared = Compare(Suite(), options);
  ASSERT_TRUE(compared.ok()) << compared.status().message();
  EXPECT_THAT(faults,
              ElementsAre(HasSubstr("record 2"), HasSubstr("record 3"), HasSubstr("record 5")));
  for (const MethodResult& method : compared->results.methods) {
    EXPECT_EQ(method.n, 2) << method.method;
    EXPECT_EQ(method.skipped, 3) << method.method;
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

TEST_F(CompareTest, NothingIsNoAcceptedAnswer) {
  Write("data.jsonl",
        "{\"Q\": \"who\", \"D\": \"a\", \"O\": \"he\", \"also\": \"\"}\n"
        "{\"Q\": \"who\", \"D\": \"a\", \"O\": \"he\", \"also\": [\"\", \" \\n\", \"she\"]}\n"
        "{\"Q\": \"who\", \"D\": \"a\", \"O\": \" \", \"also\": [\"he\"]}\n");
  const SuiteSpec suite = Suite();
  const Result<std::vector<Record>> records = LoadRecords(suite.data);
  ASSERT_TRUE(records.ok());
  EXPECT_THAT(*AcceptedAnswers(suite, (*records)[0]), ElementsAre("he"));
  EXPECT_THAT(*AcceptedAnswers(suite, (*records)[1]), ElementsAre("he", "she"));
  EXPECT_EQ(AcceptedAnswers(suite, (*records)[2]).status().message(),
            "record 3 (line 3): \"O\": want an answer, found \" \"");
  CompareOptions options{.base = {.backend = "ref", .thread_count = 1}};
  EXPECT_THAT(Compare(suite, options).status().message(), HasSubstr("record 3 (line 3)"));
  options.on_error = OnError::kSkip;
  const Result<Comparison> compared = Compare(suite, options);
  ASSERT_TRUE(compared.ok()) << compared.status().message();
  EXPECT_EQ(compared->results.methods[0].n, 2);
  EXPECT_EQ(compared->results.methods[0].skipped, 1);
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
  suite = Suite();
  suite.indexes = {"find=" + dir_};
  EXPECT_EQ(Compare(suite, options).status().message(),
            "--index: want TOOL=FOLDER of a chain's tool, found \"find=" + dir_ + "\"");
}

TEST_F(CompareTest, UnwritableOutputIsAFaultAndLeavesNothing) {
  Write("file", "x");
  const CompareOptions options{.out = dir_ + "/file/out",
                               .base = {.backend = "ref", .thread_count = 1}};
  EXPECT_FALSE(Compare(Suite(), options).ok());
}

TEST_F(CompareTest, AFaultLeavesNoEmptyFolderAndKeepsWhatIsDone) {
  SuiteSpec suite = Suite();
  suite.methods[0].chain = dir_ + "/none.yaml";
  EXPECT_FALSE(Compare(suite, On(dir_ + "/new/out")).ok());
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/new"));
  std::filesystem::create_directories(dir_ + "/mine");
  EXPECT_FALSE(Compare(suite, On(dir_ + "/mine")).ok());
  EXPECT_TRUE(std::filesystem::is_empty(dir_ + "/mine"));
  suite = Suite();
  suite.methods[3].prompts["b"] = "none";  // found before anything is run
  EXPECT_THAT(Compare(suite, On(dir_ + "/new/out")).status().message(),
              HasSubstr("method \"kv\": \"b\": prompt: want the folder of a trained prompt"));
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/new"));
  std::filesystem::create_directories(dir_ + "/prompts/1/empty");
  suite.methods[3].prompts["b"] = "b";
  suite.methods[1].prompts["a"] = "empty";
  suite.seeds = {1};
  EXPECT_FALSE(Compare(suite, On(dir_ + "/new/out")).ok());
  EXPECT_TRUE(std::filesystem::exists(dir_ + "/new/out/runs/plain-1.jsonl"));
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/new/out/results.json"));
}

TEST(BaseError, WindowsFitTheShorterContext) {
  ModelConfig config = TinyConfig();
  const auto wide = LoadTinyBase(WriteTinyBase("base_error_wide", config), "ref");
  config.max_positions = 64;
  const auto narrow = LoadTinyBase(WriteTinyBase("base_error_narrow", config), "ref");
  ASSERT_TRUE(wide != nullptr && narrow != nullptr);
  for (const auto& [reference, other] : {std::pair(&*wide, &*narrow), {&*narrow, &*wide}}) {
    std::vector<int64_t> done;
    const Result<BaseError> error =
        CompareBases(*reference, *other, std::string(100, 'x'), {},
                     [&](int64_t tokens, int64_t) { done.push_back(tokens); });
    ASSERT_TRUE(error.ok()) << error.status().message();
    EXPECT_THAT(done, ElementsAre(64, 100));
  }
}

}  // namespace
}  // namespace onepass
