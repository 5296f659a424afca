// `onepass bench` as a program: JSON that parses, one line for a fault, exit codes.
#include <algorithm>
#include <string>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "program.h"

namespace onepass {
namespace {

TEST(BenchCommand, JsonOfEveryModelMeasurementHasItsRows) {
  for (const std::string arguments :
       {"train-step --tokens 210 --prompt-length 4 --repeats 1",
        "train-step --tokens 210 --prompt-length 4 --repeats 1 --activation-checkpointing "
        "--placement inline",
        "prefill --tokens 8,16 --repeats 1",
        "decode --context 8 --tokens 2 --batch 1,2 --repeats 1",
        "roofline --tokens 8 --context 8 --steps 2 --repeats 1 --out /dev/null",
        "roofline --tokens 8 --context 8 --steps 2 --repeats 1 --out /dev/null --kv int8",
        "prefill --tokens 8,16 --repeats 1 --kv bf16",
        "decode --context 8 --tokens 2 --batch 1,2 --repeats 1 --kv int8",
        "handoff --tokens 20 --prompt-length 4 --shared 4 --runs 1", "kv-memory --tokens 20",
        "handoff --tokens 20 --prompt-length 4 --shared 4 --runs 1 --kv int8",
        "kv-memory --tokens 20 --kv bf16"}) {
    const Outcome outcome = RunOnepass("bench " + arguments + " --shape tiny --json");
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    const auto json = nlohmann::json::parse(outcome.output, nullptr, false);
    ASSERT_TRUE(json.is_object()) << outcome.output;
    EXPECT_EQ(json["bench"], arguments.substr(0, arguments.find(' ')));
    EXPECT_GE(json["rows"].size(), 2u) << outcome.output;
    if (const size_t kv = arguments.find("--kv "); kv != std::string::npos) {
      EXPECT_EQ(json["kv"], arguments.substr(kv + 5));
    }
  }
}

TEST(BenchCommand, TheMachineIsMeasuredWithoutABase) {
  const Outcome outcome = RunOnepass("bench machine --threads 1 --json");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  const auto json = nlohmann::json::parse(outcome.output, nullptr, false);
  ASSERT_TRUE(json.is_object()) << outcome.output;
  EXPECT_EQ(json["bench"], "machine");
  EXPECT_FALSE(json["instruction_set"].get<std::string>().empty());
  for (const char* peak : {"peak_gflops", "peak_int8_gops", "memory_gb_per_s"}) {
    EXPECT_GT(json[peak].get<double>(), 0) << peak;
  }
}

TEST(BenchCommand, AnInstructionSetOfTheMachineIsUsedAndAnyOtherRefused) {
  const std::string prefill = "bench prefill --shape tiny --tokens 20 --repeats 1 --json";
  const Outcome best = RunOnepass(prefill);
  ASSERT_EQ(best.exit_code, 0) << best.output;
  const std::string name = nlohmann::json::parse(best.output)["instruction_set"];
  const Outcome asked = RunOnepass(prefill + " --instruction-set " + name);
  ASSERT_EQ(asked.exit_code, 0) << asked.output;
  EXPECT_EQ(nlohmann::json::parse(asked.output)["instruction_set"], name);
  const Outcome refused = RunOnepass(prefill + " --instruction-set AVX9");
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_NE(refused.output.find("AVX9"), std::string::npos) << refused.output;
  EXPECT_NE(refused.output.find(name), std::string::npos) << refused.output;
}

TEST(BenchCommand, ARooflineThatCannotBeWrittenIsRefusedBeforeMeasuring) {
  const Outcome outcome = RunOnepass("bench roofline --model /no-base --out /no-folder/x.svg");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.output.find("/no-folder/x.svg"), std::string::npos) << outcome.output;
}

TEST(BenchCommand, KvErrorSaysWhatEachTypeCosts) {
  const std::string base = std::string(ONEPASS_SOURCE_DIR) + "/models/base";
  const Outcome outcome = RunOnepass("bench kv-error --model " + base + " --text-tokens 64 --json");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  const auto json = nlohmann::json::parse(outcome.output, nullptr, false);
  ASSERT_TRUE(json.is_object()) << outcome.output;
  EXPECT_EQ(json["scored_tokens"], 63);
  const auto& rows = json["rows"];
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0]["mean_kl_nats"], 0);
  EXPECT_EQ(rows[0]["top1_agreement_percent"], 100);
  EXPECT_GT(rows[1]["mean_kl_nats"], 0);
  EXPECT_LT(rows[1]["mean_kl_nats"], 0.001);
  EXPECT_GT(rows[2]["mean_kl_nats"], rows[1]["mean_kl_nats"]);
  EXPECT_LT(rows[2]["mean_kl_nats"], 0.003);
  EXPECT_LT(rows[1]["bytes_per_token"], rows[0]["bytes_per_token"]);
  EXPECT_LT(rows[2]["bytes_per_token"], rows[1]["bytes_per_token"]);
}

TEST(BenchCommand, WorkThatDoesNotFitIsRefusedInOneLine) {
  for (const char* arguments : {"prefill --tokens 600", "decode --context 600 --tokens 2",
                                "roofline --tokens 600 --out /dev/null", "handoff --tokens 600"}) {
    const Outcome outcome = RunOnepass(std::string("bench ") + arguments + " --shape tiny");
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_NE(outcome.output.find("want at most 512 positions, found "), std::string::npos)
        << outcome.output;
    EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\n'), 1) << outcome.output;
  }
}

TEST(BenchCommand, AnUnknownShapeNamesTheKnownOnes) {
  const Outcome outcome = RunOnepass("bench prefill --shape nosuch");
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_NE(outcome.output.find("smollm2-135m"), std::string::npos) << outcome.output;
}

TEST(BenchCommand, WrongUsageEndsWithTwo) {
  EXPECT_EQ(RunOnepass("bench").exit_code, 2);
  EXPECT_EQ(RunOnepass("bench prefill --dtype f8").exit_code, 2);
  EXPECT_EQ(RunOnepass("bench nothing").exit_code, 2);
  for (const char* wrong :
       {"prefill --tokens 0", "prefill --backend gpu", "decode --batch 1,0", "decode --repeats 0",
        "handoff --runs 0", "kv-memory --tokens -1", "roofline", "train-step --placement behind",
        "prefill --kv f16", "train-step --kv bf16", "kv-error", "kv-error --model x --window 1"}) {
    EXPECT_EQ(RunOnepass(std::string("bench ") + wrong).exit_code, 2) << wrong;
  }
}

}  // namespace
}  // namespace onepass
