#include "bench/report.h"

#include "bench/measure.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace onepass {
namespace {

BenchReport Example() {
  return {.name = "example",
          .facts = {{"base", "a \"b\""}, {"threads", int64_t{2}}},
          .columns = {"n", "milliseconds"},
          .rows = {{int64_t{1}, 0.123456}, {int64_t{1000}, 98765.4}}};
}

TEST(Report, TextAlignsColumnsAndKeepsFourDigits) {
  EXPECT_EQ(ToText(Example()),
            "base: a \"b\"\n"
            "threads: 2\n"
            "   n  milliseconds\n"
            "   1        0.1235\n"
            "1000         98765\n");
}

TEST(Report, JsonHoldsFactsAndRowsByName) {
  const std::string text = ToJson(Example());
  EXPECT_EQ(text.find('\n'), std::string::npos);
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["bench"], "example");
  EXPECT_EQ(json["base"], "a \"b\"");
  EXPECT_EQ(json["threads"], 2);
  ASSERT_EQ(json["rows"].size(), 2u);
  EXPECT_EQ(json["rows"][1]["n"], 1000);
  EXPECT_DOUBLE_EQ(json["rows"][0]["milliseconds"], 0.123456);
}

TEST(Spread, MedianOfEvenCountIsTheMeanOfTheMiddleTwo) {
  const Spread odd = SpreadOf({5, 1, 3});
  EXPECT_EQ(odd.median, 3);
  EXPECT_EQ(odd.low, 1);
  EXPECT_EQ(odd.high, 5);
  EXPECT_EQ(SpreadOf({4, 1, 3, 100}).median, 3.5);
}

}  // namespace
}  // namespace onepass
