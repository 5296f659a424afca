#include "eval/bench_section.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace onepass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kHandoff[] =
    R"({"bench":"handoff","base":"b","weights":"BF16","instruction_set":"AVX3","threads":2,)"
    R"("kv":"f32","prompt_length":100,"shared_tokens":32,"input_tokens":16,"output_tokens":16,)"
    R"("runs":3,"rows":[)"
    R"({"length":250,"handoff":"text","total_ms":800,"total_ms_low":790,"total_ms_high":820.4},)"
    R"({"length":250,"handoff":"kv","total_ms":400,"total_ms_low":390,"total_ms_high":410},)"
    R"({"length":70,"handoff":"kv","total_ms":300,"total_ms_low":290,"total_ms_high":310}]})";

constexpr char kMemory[] =
    R"({"bench":"kv-memory","base":"b","kv":"bf16","prompt_length":100,"shared_tokens":32,)"
    R"("rounds":4,"rows":[)"
    R"({"length":1000,"handoff":"kv","models":2,"peak_bytes":60456960,"predicted_bytes":60456960},)"
    R"({"length":1000,"handoff":"text-cached","models":2,"peak_bytes":89948160,)"
    R"("predicted_bytes":89948161}]})";

constexpr char kReplay[] =
    R"({"bench":"replay","chain":"c.yaml","base":"b","kv":"f32","threads":1,"records":5,"cut":1,)"
    R"("skipped":0,"rows":[)"
    R"({"what":"rounds","stage":"-","handoff":"-","n":5,"mean":1.8,"p10":1,"p90":2},)"
    R"({"what":"loss","stage":"a","handoff":"text","n":9,"mean":7.25,"p10":7,"p90":8},)"
    R"({"what":"loss","stage":"a","handoff":"kv","n":9,"mean":7.5,"p10":7,"p90":8}]})";

TEST(BenchSection, LatencyStandsBesideThePapers) {
  const Result<ReportSection> section = BenchSectionOf(kHandoff, "h.json");
  ASSERT_TRUE(section.ok()) << section.status().message();
  ASSERT_EQ(section->tables.size(), 1u);
  const auto& rows = section->tables[0].rows;
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_THAT(rows[0], ElementsAre("70", "-", "-", "0.300 [0.290, 0.310]", "-", "-", "-", "-"));
  EXPECT_THAT(rows[1], ElementsAre("250", "0.800 [0.790, 0.820]", "-", "0.400 [0.390, 0.410]",
                                   "2.00", "0.45", "0.41", "1.10"));
  EXPECT_THAT(section->notes[0], HasSubstr("weights in BF16, AVX3, 2 threads"));
  ASSERT_EQ(section->charts.size(), 1u);
  EXPECT_EQ(section->charts[0].rows[1].bars[0]->value, 0.8);
  EXPECT_FALSE(section->charts[0].rows[0].bars[0].has_value());
}

TEST(BenchSection, MemoryStandsBesideThePapers) {
  const Result<ReportSection> section = BenchSectionOf(kMemory, "m.json");
  ASSERT_TRUE(section.ok()) << section.status().message();
  EXPECT_THAT(section->notes[1], HasSubstr("1 of 2 were not what the plan predicts"));
  ASSERT_EQ(section->tables[0].rows.size(), 1u);
  EXPECT_THAT(section->tables[0].rows[0],
              ElementsAre("1000", "2", "-", "89.9", "60.5", "275.0", "137.5"));
}

TEST(BenchSection, ReplayedRecordsAreARowAMeasure) {
  const Result<ReportSection> section = BenchSectionOf(kReplay, "r.json");
  ASSERT_TRUE(section.ok()) << section.status().message();
  EXPECT_THAT(section->title, HasSubstr("c.yaml"));
  const auto& rows = section->tables[0].rows;
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_THAT(rows[0], ElementsAre("rounds", "-", "5", "1.8 [1, 2]", "1.8 [1, 2]", "1.8 [1, 2]"));
  EXPECT_THAT(rows[1], ElementsAre("loss", "a", "9", "7.25 [7, 8]", "-", "7.5 [7, 8]"));
}

TEST(BenchSection, OtherFilesAreRefusedWithFileAndKey) {
  const auto fault = [](const char* json) {
    return BenchSectionOf(json, "f.json").status().message();
  };
  EXPECT_EQ(fault("[1]"), "f.json: want an object, found a list");
  EXPECT_THAT(fault("{"), HasSubstr("(f.json)"));
  EXPECT_EQ(fault("{}"), "f.json: bench: want this key, found none");
  EXPECT_EQ(fault(R"({"bench":"decode"})"),
            "f.json: bench: want handoff, kv-memory or replay, found \"decode\"");
  EXPECT_EQ(fault(R"({"bench":"kv-memory","base":3})"), "f.json: base: want a text, found 3");
  const std::string memory =
      R"({"bench":"kv-memory","base":"b","kv":"f32","prompt_length":1,"shared_tokens":1,"rounds":1)";
  EXPECT_EQ(fault((memory + "}").c_str()), "f.json: rows: want this key, found none");
  EXPECT_EQ(fault((memory + R"(,"rows":[7]})").c_str()), "f.json: rows[0].want an object, found 7");
  EXPECT_EQ(fault((memory + R"(,"rows":[{"handoff":"kv","length":"x"}]})").c_str()),
            "f.json: rows[0].length: want a whole number from 0, found \"x\"");
}

// Nothing that a chart or a whole number cannot hold; only a mean may be below zero.
TEST(BenchSection, NumbersOutOfRangeAreRefused) {
  const auto fault = [](std::string json, const std::string& from, const std::string& to) {
    json.replace(json.find(from), from.size(), to);
    return BenchSectionOf(json, "f.json").status().message();
  };
  EXPECT_THAT(fault(kHandoff, "\"total_ms\":800", "\"total_ms\":-1"),
              HasSubstr("f.json: rows[0].total_ms: want numbers from 0"));
  EXPECT_THAT(fault(kHandoff, "820.4", "1e16"), HasSubstr("rows[0].total_ms_high: want numbers"));
  EXPECT_THAT(fault(kHandoff, "\"length\":250", "\"length\":1e300"),
              HasSubstr("rows[0].length: want a whole number from 0, found 1e+300"));
  EXPECT_THAT(fault(kHandoff, "\"runs\":3", "\"runs\":-3"),
              HasSubstr("f.json: runs: want a whole number from 0, found -3"));
  EXPECT_THAT(fault(kMemory, "\"peak_bytes\":60456960", "\"peak_bytes\":-1"),
              HasSubstr("rows[0].peak_bytes: want a whole number from 0, found -1"));
  EXPECT_THAT(fault(kReplay, "\"n\":9", "\"n\":1e300"), HasSubstr("rows[1].n: want a whole"));
  EXPECT_THAT(fault(kReplay, "7.25", "1e300"), HasSubstr("rows[1].mean: want numbers from"));
  EXPECT_EQ(fault(kReplay, "7.25", "-7.25"), "");
}

}  // namespace
}  // namespace onepass
