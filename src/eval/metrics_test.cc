#include "eval/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

namespace onepass {
namespace {

TEST(Metrics, AgreeWithTheOfficialDefinitions) {
  std::ifstream file(ONEPASS_SOURCE_DIR "/tests/golden/eval/squad_metrics.json");
  const nlohmann::json rows = nlohmann::json::parse(file);
  ASSERT_GT(rows.size(), 30u);
  for (const auto& row : rows) {
    const std::string found = row["found"];
    const std::string wanted = row["wanted"];
    SCOPED_TRACE("found \"" + found + "\", wanted \"" + wanted + "\"");
    EXPECT_EQ(NormalizeAnswer(found), row["normalized"]);
    const AnswerScore squad = ScoreAnswer(found, wanted, AnswerRule::kSquad);
    EXPECT_DOUBLE_EQ(squad.exact_match, row["em"]);
    EXPECT_DOUBLE_EQ(squad.f1, row["f1"]);
    const AnswerScore hotpot = ScoreAnswer(found, wanted, AnswerRule::kHotpotQa);
    EXPECT_DOUBLE_EQ(hotpot.exact_match, row["em"]);
    EXPECT_DOUBLE_EQ(hotpot.f1, row["hotpot_f1"]);
  }
}

TEST(Metrics, BestAliasCountsForEachMetric) {
  const std::vector<std::string> wanted = {"York", "New York City", "Boston"};
  const AnswerScore score = ScoreAnswer("new york", wanted, AnswerRule::kSquad);
  EXPECT_EQ(score.exact_match, 0);
  EXPECT_DOUBLE_EQ(score.f1, 0.8);  // of "New York City": precision 1, recall 2/3
  EXPECT_EQ(ScoreAnswer("the boston.", wanted, AnswerRule::kSquad).exact_match, 1);
}

TEST(Metrics, NoAcceptedAnswerScoresNothing) {
  EXPECT_EQ(ScoreAnswer("x", std::vector<std::string>{}, AnswerRule::kSquad).f1, 0);
}

TEST(Metrics, BytesThatAreNotUtf8AreKept) {
  EXPECT_EQ(NormalizeAnswer("A \xff\xfe x"), "\xff\xfe x");
  EXPECT_EQ(NormalizeAnswer("\xc3"), "\xc3");
}

TEST(Metrics, SpreadIsTheSampleDeviation) {
  const std::vector<double> values = {1, 2, 4};
  const MeanAndSpread result = MeanAndSpreadOf(values);
  EXPECT_DOUBLE_EQ(result.mean, 7.0 / 3);
  EXPECT_DOUBLE_EQ(result.spread, std::sqrt(7.0 / 3));
  EXPECT_EQ(MeanAndSpreadOf(std::vector<double>{5.0}).spread, 0);
  EXPECT_EQ(MeanAndSpreadOf({}).mean, 0);
}

}  // namespace
}  // namespace onepass
