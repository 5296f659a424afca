#include "eval/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace onepass {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::vector<MethodResult> TwoSeeds() {
  return {
      {"chain",
       "toy",
       {{.seed = 1, .n = 5, .skipped = 2, .em = 80, .f1 = 82, .ms = 10, .peak_kv_bytes = 2048},
        {.seed = 2, .n = 5, .skipped = 2, .em = 90, .f1 = 92, .ms = 20, .peak_kv_bytes = 1024}}}};
}

TEST(Report, JsonHoldsMeansSpreadsAndTheLargestPeak) {
  const nlohmann::json json = nlohmann::json::parse(ResultsToJson(TwoSeeds()));
  ASSERT_EQ(json.size(), 1u);
  const nlohmann::json& row = json[0];
  EXPECT_EQ(row["method"], "chain");
  EXPECT_EQ(row["task"], "toy");
  EXPECT_EQ(row["kv"], "f32");
  EXPECT_EQ(row["n"], 5);
  EXPECT_EQ(row["skipped"], 2);
  EXPECT_EQ(row["em"], 85.0);
  EXPECT_EQ(row["f1"], 87.0);
  EXPECT_EQ(row["ms"], 15.0);
  EXPECT_EQ(row["handoff_ms"], 0.0);
  EXPECT_EQ(row["recomputed_tokens"], 0.0);
  EXPECT_EQ(row["peak_kv_bytes"], 2048);
  EXPECT_EQ(row["seeds"], (std::vector<int>{1, 2}));
  EXPECT_EQ(row["em_spread"], 7.0711);
  EXPECT_EQ(row["em_by_seed"], (std::vector<double>{80, 90}));
}

TEST(Report, OneSeedHasNoSpread) {
  std::vector<MethodResult> results = TwoSeeds();
  results[0].runs.pop_back();
  const nlohmann::json row = nlohmann::json::parse(ResultsToJson(results))[0];
  EXPECT_TRUE(row.at("em_spread").is_null());
  EXPECT_TRUE(row.at("f1_spread").is_null());
}

TEST(Report, TableShowsSpreadOnlyForSeveralSeeds) {
  std::vector<MethodResult> results = TwoSeeds();
  EXPECT_THAT(ResultsToTable(results), HasSubstr("85.0 +- 7.1"));
  results[0].runs.pop_back();
  EXPECT_THAT(ResultsToTable(results), HasSubstr("80.0"));
  EXPECT_THAT(ResultsToTable(results), Not(HasSubstr("+-")));
}

}  // namespace
}  // namespace onepass
