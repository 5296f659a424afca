// The program, the base and the prompts that ship, as `make demo` uses them, on a few questions.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "program.h"

namespace onepass {
namespace {

constexpr int kQuestions = 20;

std::string Root() { return ONEPASS_SOURCE_DIR; }

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
  ASSERT_EQ(RunOnepass("data world --split test --count 5 --seed 3 --out " + dir_ + "/a").exit_code,
            0);
  ASSERT_EQ(RunOnepass("data world --split test --count 9 --seed 3 --out " + dir_ + "/b").exit_code,
            0);
  const std::string a = ReadText(dir_ + "/a");
  ASSERT_FALSE(a.empty());
  EXPECT_EQ(ReadText(dir_ + "/b").substr(0, a.size()), a);
}

TEST_F(EvalDemo, EveryMethodAnswersAndFthssRecomputesNothing) {
  const std::string data = dir_ + "/test.jsonl";
  const std::string n = std::to_string(kQuestions);
  ASSERT_EQ(
      RunOnepass("data world --split test --count " + n + " --seed 1 --out " + data).exit_code, 0);
  const Outcome eval = RunOnepass("eval " + Root() + "/chains/demo/suite.yaml --data " + data +
                                  " --n " + n + " --threads 1 --out " + dir_);
  ASSERT_EQ(eval.exit_code, 0) << eval.output;
  const nlohmann::json results = nlohmann::json::parse(ReadText(dir_ + "/results.json"));
  EXPECT_EQ(results["version"], 3);
  EXPECT_EQ(results["task"], "world-compress-qa");
  EXPECT_EQ(results["metric"], "squad");
  const nlohmann::json& rows = results["methods"];
  const std::vector<std::string> wanted = {"native",        "rag",   "cot",
                                           "prompt-tuning", "chain", "chain-cached",
                                           "distill",       "fthss", "fthss-untuned"};
  ASSERT_EQ(rows.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    const nlohmann::json& row = rows[i];
    SCOPED_TRACE(row.dump());
    EXPECT_EQ(row["method"], wanted[i]);
    EXPECT_EQ(row["n"], kQuestions);
    EXPECT_GT(row["ms"], 0);
    EXPECT_GT(row["peak_kv_bytes"], 0);
    EXPECT_GE(row["f1"], row["em"]);
    EXPECT_LE(row["em_interval"][0], row["em"]);
    EXPECT_GE(row["em_interval"][1], row["em"]);
    const double recomputed = row["recomputed_tokens"];
    if (wanted[i] == "chain" || wanted[i] == "chain-cached") {
      EXPECT_GT(recomputed, 0);
    } else {
      EXPECT_EQ(recomputed, 0);
    }
  }
  EXPECT_GT(rows[4]["recomputed_tokens"], rows[5]["recomputed_tokens"]);
  // The prompts do their work: of all test questions the chain answers nine in ten.
  EXPECT_LE(rows[0]["em"], 20) << "native";
  for (const int method : {4, 5, 7}) EXPECT_GE(rows[method]["em"], 75) << wanted[method];
}

TEST_F(EvalDemo, FaultsEndWithOneAndWrongUsageWithTwo) {
  const Outcome fault = RunOnepass("eval " + dir_ + "/none.yaml");
  EXPECT_EQ(fault.exit_code, 1);
  EXPECT_NE(fault.output.find("none.yaml"), std::string::npos) << fault.output;
  EXPECT_EQ(std::ranges::count(fault.output, '\n'), 1) << fault.output;
  const std::string suite = "eval " + Root() + "/chains/demo/suite.yaml ";
  for (const char* wrong :
       {"--n x", "--seeds 1,x", "--backend gpu", "--threads 200000", "--on-error ignore"}) {
    EXPECT_EQ(RunOnepass(suite + wrong).exit_code, 2) << wrong;
  }
}

TEST_F(EvalDemo, OutputThatCannotBeWrittenIsExitCodeOne) {
  EXPECT_EQ(RunOnepass("data world --count 1 --out " + dir_ + "/a >/dev/full").exit_code, 1);
  EXPECT_EQ(RunOnepass("--help >/dev/full").exit_code, 1);
}

}  // namespace
}  // namespace onepass
