// tools/run_results.sh, the tasks of the world in small: every recipe trains, every suite compares,
// one report tells it; what the machine has no data for is left out with a message.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "program.h"

namespace onepass {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::string Text(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(ResultsScript, TrainsEveryPromptComparesAllMethodsAndReports) {
  const std::string out = testing::TempDir() + "/onepass_results_script";
  fs::remove_all(out);
  const std::string command =
      "OUT=" + out + " REPORT=" + out +
      "/docs/results.md ONEPASS=" ONEPASS_BINARY " SEEDS=1 N=3 SAMPLES=6 DATA=" + out +
      "/none "
      "TRAIN='max_steps=1 prompt_length=4 validation_samples=2' EVAL='--threads 1' "
      "bash " ONEPASS_SOURCE_DIR "/tools/run_results.sh memory active-rag rewrite world inline ";
  const Outcome run = RunShell("mkdir -p " + out + "/docs && " + command + "squad babi");
  ASSERT_EQ(run.exit_code, 0) << run.output;
  EXPECT_THAT(run.output, HasSubstr("squad is left out: want " + out + "/none"));
  const std::vector<std::pair<std::string, std::vector<std::string>>> wanted = {
      {"memory", {"reason", "recall", "fthss/recall", "distill"}},
      {"active-rag", {"plan", "answer", "combine", "fthss/combine", "distill"}},
      {"rewrite", {"rewrite", "answer-fthss", "answer-fact-fthss"}},
      {"world", {"compress", "answer-continue", "prompt-tuning"}},
      {"inline", {"answer-fthss"}}};
  for (const auto& [task, prompts] : wanted) {
    for (const std::string& prompt : prompts) {
      const std::string folder = out + "/" + task + "/seed1/" + prompt;
      EXPECT_TRUE(fs::exists(folder + "/adapter_model.safetensors")) << folder;
    }
    std::ifstream file(out + "/" + task + "/results.json");
    const nlohmann::json results = nlohmann::json::parse(file);
    for (const nlohmann::json& row : results["methods"]) EXPECT_EQ(row["n"], 3) << task;
  }
  const std::string report = Text(out + "/docs/results.md");
  EXPECT_THAT(report, HasSubstr("## world-compress-qa, figure 4"));
  EXPECT_THAT(report, HasSubstr("Left out, their data not being there: squad babi."));
  EXPECT_THAT(report, HasSubstr("](pictures/results-1.svg)"));
  EXPECT_TRUE(fs::exists(out + "/docs/pictures/results-1.svg"));

  // Again: nothing is trained, and what failed says which prompt.
  const Outcome again = RunShell(command);
  ASSERT_EQ(again.exit_code, 0) << again.output;
  EXPECT_THAT(again.output, testing::Not(HasSubstr("trained in")));
  EXPECT_THAT(Text(out + "/docs/results.md"), HasSubstr("prompts being there already"));
  // Other settings make other prompts.
  const Outcome failing =
      RunShell("TRAIN=prompt_length=no OUT=" + out +
               " ONEPASS=" ONEPASS_BINARY " SEEDS=1 N=3 SAMPLES=6 bash " ONEPASS_SOURCE_DIR
               "/tools/run_results.sh memory");
  EXPECT_NE(failing.exit_code, 0);
  EXPECT_THAT(failing.output, HasSubstr("memory, seed 1: reason: "));
  EXPECT_NE(RunShell("bash " ONEPASS_SOURCE_DIR "/tools/run_results.sh nothing").exit_code, 0);
  fs::remove_all(out);
}

// The same of what is made of real data, a few questions of each.
TEST(ResultsScript, ComparesOnRealDataWhereItIs) {
  const std::string data = ONEPASS_SOURCE_DIR "/../shared/data";
  if (!fs::exists(data + "/babi")) GTEST_SKIP() << "want " << data << ", found none";
  const std::string out = testing::TempDir() + "/onepass_results_script_real";
  fs::remove_all(out);
  const Outcome run =
      RunShell("OUT=" + out + " DATA=" + data +
               " ONEPASS=" ONEPASS_BINARY
               " SEEDS='1 2' EVAL='--threads 1 --n 2' "
               "TRAIN='max_steps=1 prompt_length=4 validation_samples=2' "
               "bash " ONEPASS_SOURCE_DIR "/tools/run_results.sh babi babi-traces squad");
  ASSERT_EQ(run.exit_code, 0) << run.output;
  const std::vector<std::pair<std::string, size_t>> seeds_of = {
      {"babi-1", 2}, {"babi-2", 2}, {"babi-3", 2}, {"babi-traces", 1}, {"squad", 1}};
  for (const auto& [task, seeds] : seeds_of) {
    const nlohmann::json results = nlohmann::json::parse(Text(out + "/" + task + "/results.json"));
    EXPECT_EQ(results["methods"].size(), 9u) << task;
    for (const nlohmann::json& row : results["methods"]) {
      EXPECT_EQ(row["n"], 2) << task;
      if (row["method"] == "fthss") {
        EXPECT_EQ(row["seeds"].size(), seeds) << task;
      }
    }
  }
  fs::remove_all(out);
}

}  // namespace
}  // namespace onepass
