// The program, the base and the prompts that ship, as `make demo` uses them, on a few questions.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace {

constexpr int kQuestions = 6;

std::string Root() { return ONEPASS_SOURCE_DIR; }

int RunProgram(const std::string& arguments) {
  const std::string command = std::string(ONEPASS_BINARY) + " " + arguments;
  return std::system(command.c_str());
}

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class EvalDemo : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = ::testing::TempDir() + "/onepass_eval_demo";
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
  }
  std::string dir_;
};

TEST_F(EvalDemo, WorldDataIsReproducibleAndItsBeginningDoesNotDependOnTheCount) {
  ASSERT_EQ(RunProgram("data world --split test --count 5 --seed 3 --out " + dir_ + "/a"), 0);
  ASSERT_EQ(RunProgram("data world --split test --count 9 --seed 3 --out " + dir_ + "/b"), 0);
  const std::string a = ReadText(dir_ + "/a");
  ASSERT_FALSE(a.empty());
  EXPECT_EQ(ReadText(dir_ + "/b").substr(0, a.size()), a);
}

TEST_F(EvalDemo, EveryMethodAnswersAndFthssRecomputesNothing) {
  const std::string data = dir_ + "/test.jsonl";
  const std::string n = std::to_string(kQuestions);
  ASSERT_EQ(RunProgram("data world --split test --count " + n + " --seed 1 --out " + data), 0);
  ASSERT_EQ(RunProgram("eval " + Root() + "/chains/demo/suite.yaml --data " + data + " --n " + n +
                       " --threads 1 --out " + dir_),
            0);
  const nlohmann::json rows = nlohmann::json::parse(ReadText(dir_ + "/results.json"));
  const std::vector<std::string> wanted = {"native", "rag",          "prompt-tuning",
                                           "chain",  "chain-cached", "distill",
                                           "fthss",  "fthss-untuned"};
  ASSERT_EQ(rows.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    const nlohmann::json& row = rows[i];
    SCOPED_TRACE(row.dump());
    EXPECT_EQ(row["method"], wanted[i]);
    EXPECT_EQ(row["n"], kQuestions);
    EXPECT_GT(row["ms"], 0);
    EXPECT_GT(row["peak_kv_bytes"], 0);
    EXPECT_GE(row["f1"], row["em"]);
    const double recomputed = row["recomputed_tokens"];
    if (wanted[i] == "chain" || wanted[i] == "chain-cached") {
      EXPECT_GT(recomputed, 0);
    } else {
      EXPECT_EQ(recomputed, 0);
    }
  }
  EXPECT_GT(rows[3]["recomputed_tokens"], rows[4]["recomputed_tokens"]);
}

TEST_F(EvalDemo, FaultsEndWithOneAndWrongUsageWithTwo) {
  EXPECT_EQ(WEXITSTATUS(RunProgram("eval " + dir_ + "/none.yaml 2>" + dir_ + "/err")), 1);
  const std::string message = ReadText(dir_ + "/err");
  EXPECT_NE(message.find("none.yaml"), std::string::npos) << message;
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 1) << message;
  EXPECT_EQ(WEXITSTATUS(RunProgram("eval --n x >/dev/null 2>&1")), 2);
  EXPECT_EQ(WEXITSTATUS(RunProgram("data world --task none --out x 2>/dev/null")), 1);
}

}  // namespace
