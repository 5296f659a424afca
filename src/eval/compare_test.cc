#include "eval/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "chain/tiny_chain_for_test.h"
#include "eval/answer_questions.h"
#include "retrieval/bm25_index_builder.h"

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

CompareOptions On(const std::string& out) {
  return {.out = out, .base = {.backend = "ref", .thread_count = 1}};
}

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

TEST_F(CompareTest, TakesRunsThatWouldBeTheSame) {
  const std::string out = dir_ + "/out";
  const Result<Comparison> first = Compare(Suite(), On(out));
  ASSERT_TRUE(first.ok()) << first.status().message();
  const auto runs_taken = [&](const SuiteSpec& suite) {
    const Result<Comparison> again = Compare(suite, On(out));
    EXPECT_TRUE(again.ok()) << again.status().message();
    return again.ok() ? again->runs_taken : -1;
  };
  const std::string kept = *ReadFile(out + "/results.json");
  EXPECT_EQ(runs_taken(Suite()), 7);
  EXPECT_EQ(*ReadFile(out + "/results.json"), kept);  // its times too
  CompareOptions restart = On(out);
  restart.restart = true;
  EXPECT_EQ(Compare(Suite(), restart)->runs_taken, 0);

  // What a report says of the runs may change, and what they do not hold.
  SuiteSpec suite = Suite();
  suite.task = "another";
  suite.reference = "text";
  suite.methods.pop_back();
  EXPECT_EQ(runs_taken(suite), 5);
  // A file that is cut, changed or gone.
  const std::string plain = *ReadFile(out + "/runs/plain-1.jsonl");
  Write("out/runs/plain-1.jsonl", plain.substr(0, plain.size() - 9));
  Write("out/runs/kv-1.jsonl", "x");
  std::filesystem::remove(out + "/runs/kv-2.jsonl");
  EXPECT_EQ(runs_taken(Suite()), 4);

  // All that decides an answer or its score.
  Save(dir_ + "/prompts/2/b", 77);
  EXPECT_EQ(runs_taken(Suite()), 4);
  const auto expect_none = [&](const char* what, const SuiteSpec& changed) {
    EXPECT_EQ(runs_taken(changed), 0) << what;
    EXPECT_EQ(runs_taken(changed), 7) << what;
  };
  suite = Suite();
  suite.metric = Metric::kAccuracy;
  expect_none("metric", suite);
  suite.choices = "AB";
  expect_none("choices", suite);
  suite = Suite();
  for (MethodSpec& method : suite.methods) method.after = "x";
  expect_none("after", suite);
  suite = Suite();
  suite.aliases.clear();
  expect_none("aliases", suite);
  suite = Suite();
  suite.n = 2;
  expect_none("records", suite);
  suite = Suite();
  for (MethodSpec& method : suite.methods) method.kv_dtype = DType::kBF16;
  expect_none("kv", suite);
  suite = Suite();
  suite.batch = 2;
  expect_none("batch", suite);
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

TEST_F(CompareTest, CountsRoundsAndToolsAndKnowsAnIndexByItsContent) {
  const auto build = [&](const std::string& more) {
    auto builder = Bm25IndexBuilder::Create(dir_ + "/index");
    ASSERT_TRUE(builder.ok());
    ASSERT_TRUE((*builder)->Add({.id = "1", .text = "the one who is that" + more}).ok());
    ASSERT_TRUE((*builder)->Finish().ok());
  };
  build("");
  Write("loop.yaml",
        "base: .\nstages:\n"
        "  - {name: a, input: \"{Q} {find}\\n\", start: <bos>, max_tokens: 2}\n"
        "tools: [{name: find, index: index, query: \"{Q}\", top: 1}]\n"
        "flow: [{loop: [find, a], rounds: 3}]\n");
  SuiteSpec suite = Suite();
  suite.methods.resize(1);
  suite.methods.push_back({.method = "loop", .chain = dir_ + "/loop.yaml"});
  const Result<Comparison> compared = Compare(suite, On(dir_ + "/out"));
  ASSERT_TRUE(compared.ok()) << compared.status().message();
  EXPECT_EQ(compared->results.methods[0].rounds, std::nullopt);
  EXPECT_EQ(compared->results.methods[0].tool_runs, std::nullopt);
  EXPECT_EQ(compared->results.methods[1].rounds, 3);
  EXPECT_EQ(compared->results.methods[1].tool_runs, 3);
  EXPECT_EQ(Compare(suite, On(dir_ + "/out"))->runs_taken, 2);
  build(" and then");
  EXPECT_EQ(Compare(suite, On(dir_ + "/out"))->runs_taken, 1);
  Write("loop.yaml", *ReadFile(dir_ + "/loop.yaml") + "# changed\n");
  EXPECT_EQ(Compare(suite, On(dir_ + "/out"))->runs_taken, 1);
}

TEST_F(CompareTest, AKeptRunRemembersWhatItCouldNotDo) {
  Write("data.jsonl",
        "{\"Q\": \"who\", \"D\": \"the one\", \"O\": \"he\", \"also\": []}\n"
        "{\"Q\": \"why\", \"O\": \"so\", \"also\": []}\n");
  CompareOptions options = On(dir_ + "/out");
  options.on_error = OnError::kSkip;
  const Result<Comparison> first = Compare(Suite(), options);
  ASSERT_TRUE(first.ok()) << first.status().message();
  std::vector<std::string> faults;
  options.on_skipped = [&](const Status& fault) { faults.push_back(fault.message()); };
  const Result<Comparison> again = Compare(Suite(), options);
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(again->runs_taken, 7);
  EXPECT_EQ(again->results, first->results);
  EXPECT_THAT(faults, ElementsAre(HasSubstr("record 2")));
  options.on_error = OnError::kStop;
  EXPECT_THAT(Compare(Suite(), options).status().message(), HasSubstr("record 2"));
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

TEST_F(CompareTest, AFaultLeavesNoEmptyFolderAndKeepsWhatIsDone) {
  SuiteSpec suite = Suite();
  suite.methods[0].chain = dir_ + "/none.yaml";
  EXPECT_FALSE(Compare(suite, On(dir_ + "/new/out")).ok());
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/new"));
  std::filesystem::create_directories(dir_ + "/mine");
  EXPECT_FALSE(Compare(suite, On(dir_ + "/mine")).ok());
  EXPECT_TRUE(std::filesystem::is_empty(dir_ + "/mine"));
  suite = Suite();
  suite.methods[1].chain = dir_ + "/none.yaml";
  EXPECT_FALSE(Compare(suite, On(dir_ + "/new/out")).ok());
  EXPECT_TRUE(std::filesystem::exists(dir_ + "/new/out/runs/plain-1.jsonl"));
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/new/out/results.json"));
}

}  // namespace
}  // namespace onepass
