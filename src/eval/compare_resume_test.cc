// Runs that an earlier comparison has kept.
#include "eval/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "eval/answer_questions.h"
#include "eval/compare_for_test.h"
#include "format/gguf_builder_for_test.h"
#include "retrieval/bm25_index_builder.h"

namespace onepass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

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

TEST_F(CompareTest, AnotherTokenizerOrContextRunsAnew) {
  const auto runs_taken = [&] {
    const Result<Comparison> compared = Compare(Suite(), On(dir_ + "/out"));
    EXPECT_TRUE(compared.ok()) << compared.status().message();
    return compared.ok() ? compared->runs_taken : -1;
  };
  EXPECT_EQ(runs_taken(), 0);
  EXPECT_EQ(runs_taken(), 7);
  // The same tokens, merged in another order.
  std::string tokenizer = TinyTokenizerJson();
  const std::string merges = R"("t he","h e")";
  tokenizer.replace(tokenizer.find(merges), merges.size(), R"("h e","t he")");
  Write("tokenizer.json", tokenizer);
  EXPECT_EQ(runs_taken(), 0);
  EXPECT_EQ(runs_taken(), 7);
  nlohmann::json config = nlohmann::json::parse(*ReadFile(dir_ + "/config.json"));
  config["max_position_embeddings"] = 200;
  Write("config.json", config.dump());
  EXPECT_EQ(runs_taken(), 0);
  EXPECT_EQ(runs_taken(), 7);
}

TEST_F(CompareTest, TheTokenizerOfAGgufFileIsOfTheRun) {
  const SuiteSpec suite = Suite();
  const MethodSpec& plain = suite.methods[0];
  const BoundMethod bound{suite, plain, 1, *BindMethod(suite, plain, 1), DType::kF32, "ref"};
  const Result<std::string> golden =
      ReadFile(ONEPASS_SOURCE_DIR "/tests/golden/gguf/llama-plain.gguf");
  ASSERT_TRUE(golden.ok());
  const auto identity = [&](std::string_view token, std::string_view bos) {
    // One key more, of 64 bytes, so that the tensors stay aligned.
    std::string bytes = *golden;
    ++bytes[16];
    bytes.insert(24, GgufBytes()
                         .String("tokenizer.ggml.tokens")
                         .Kind(GgufKind::kArray)
                         .Kind(GgufKind::kString)
                         .Put<uint64_t>(1)
                         .String(token)
                         .text());
    const std::string key = "tokenizer.ggml.bos_token_id";
    bytes.replace(bytes.find(key) + key.size() + 4, 1, bos);
    const auto file = GgufFile::Parse(BytesOf(bytes), "x");
    EXPECT_TRUE(file.ok()) << file.status().message();
    Base base;
    base.checkpoint = *Checkpoint::FromGguf(*file);
    return *IdentityOfRun(bound, base, {});
  };
  const std::string first = identity("eleven char", "\1");
  EXPECT_EQ(identity("eleven char", "\1"), first);
  EXPECT_NE(identity("eleven_char", "\1"), first);
  EXPECT_NE(identity("eleven char", "\3"), first);
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
  suite.indexes = {"find=" + dir_ + "/index"};  // of one method's chain, and the same content
  EXPECT_EQ(Compare(suite, On(dir_ + "/out"))->runs_taken, 2);
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

}  // namespace
}  // namespace onepass
