// tools/demo.sh, all of it in small: what it says is there, in the form that programs read.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "program.h"

namespace onepass {
namespace {

namespace fs = std::filesystem;

TEST(DemoScript, TrainsComparesAndMeasures) {
  const std::string out = testing::TempDir() + "/onepass_demo_script";
  fs::remove_all(out);
  const Outcome demo = RunShell(
      "OUT=" + out + " ONEPASS=" ONEPASS_BINARY " DEMO_QUESTIONS=4 DEMO_STEPS=2 DEMO_RUNS=1 bash " +
      ONEPASS_SOURCE_DIR "/tools/demo.sh");
  ASSERT_EQ(demo.exit_code, 0) << demo.output;
  EXPECT_THAT(demo.output, testing::HasSubstr("fthss-untuned"));
  EXPECT_TRUE(fs::exists(out + "/answer-fthss/best/adapter_model.safetensors"));
  std::ifstream file(out + "/results.json");
  std::vector<std::string> methods;
  const nlohmann::json results = nlohmann::json::parse(file);
  EXPECT_TRUE(results.contains("task"));
  for (const nlohmann::json& row : results["methods"]) {
    methods.push_back(row["method"]);
    for (const char* key :
         {"n", "em", "f1", "ms", "handoff_ms", "recomputed_tokens", "peak_kv_bytes"}) {
      EXPECT_TRUE(row.contains(key)) << row["method"] << ": " << key;
    }
  }
  EXPECT_TRUE(fs::exists(out + "/report.html"));
  EXPECT_THAT(methods, testing::ElementsAre("native", "rag", "cot", "prompt-tuning", "chain",
                                            "chain-cached", "distill", "fthss", "fthss-untuned"));
  fs::remove_all(out);
}

}  // namespace
}  // namespace onepass
