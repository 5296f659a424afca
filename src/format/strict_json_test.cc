#include "format/strict_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace onepass {
namespace {

using testing::HasSubstr;

std::string FaultOf(const std::string& text, const JsonLimits& limits = {}) {
  const auto value = ParseStrictJson(text, "file", limits);
  return value.ok() ? "(none)" : value.status().message();
}

TEST(StrictJson, ParsesWhatNlohmannParses) {
  const char* texts[] = {"null",          "-3", "1e5",
                         R"("\u00e9\n")", "[]", R"({"a":[1,{"b":null},[]],"c":{"a":1.5},"":true})",
                         " [1, 2] \n"};
  for (const char* text : texts) {
    const auto value = ParseStrictJson(text, "file");
    ASSERT_TRUE(value.ok()) << value.status().message();
    EXPECT_EQ(*value, nlohmann::json::parse(text));
  }
}

TEST(StrictJson, RefusesRepeatedKeysAtAnyDepth) {
  EXPECT_EQ(FaultOf(R"({"a":1,"a":2})"), "json: key \"a\" twice in one object (file)");
  EXPECT_THAT(FaultOf(R"([{"b":{"x":1,"y":2,"x":3}}])"), HasSubstr("key \"x\" twice"));
  EXPECT_EQ(FaultOf(R"([{"a":1},{"a":2}])"), "(none)");
}

TEST(SpelledValue, IsTheTextOfTheValue) {
  const std::string text =
      " { \"a\" : 1.50 ,\"b\":{\"a\":[2,{\"a\":3}], \"c\":\"}\"} , "
      R"("c":"x,\"}y", "\u0064":[1e2 , "a"], "e":{}, "":null)"
      "\n}";
  ASSERT_TRUE(ParseStrictJson(text, "file").ok());
  EXPECT_EQ(SpelledValue(text, "a"), "1.50");
  EXPECT_EQ(SpelledValue(text, "b"), R"({"a":[2,{"a":3}], "c":"}"})");
  EXPECT_EQ(SpelledValue(text, "c"), R"("x,\"}y")");
  EXPECT_EQ(SpelledValue(text, "d"), R"([1e2 , "a"])");
  EXPECT_EQ(SpelledValue(text, "e"), "{}");
  EXPECT_EQ(SpelledValue(text, ""), "null");
  EXPECT_EQ(SpelledValue(text, "f"), "");
  EXPECT_EQ(SpelledValue("{}", "f"), "");
}

TEST(StrictJson, LimitsNesting) {
  EXPECT_EQ(FaultOf("[[[1]]]", {.max_depth = 3}), "(none)");
  EXPECT_THAT(FaultOf("[[[[1]]]]", {.max_depth = 3}), HasSubstr("at most 3 nested"));
  EXPECT_THAT(FaultOf(std::string(5'000'000, '[')), HasSubstr("at most 32 nested"));
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += R"({"a":)";
  EXPECT_THAT(FaultOf(objects), HasSubstr("at most 32 nested"));
}

TEST(StrictJson, LimitsTheNumberOfValues) {
  EXPECT_EQ(FaultOf("[1,2,3]", {.max_values = 4}), "(none)");
  EXPECT_THAT(FaultOf("[1,2,3,4]", {.max_values = 4}), HasSubstr("at most 4 values"));
}

TEST(StrictJson, RefusesWhatIsNotOneValue) {
  for (const char* text : {"", "  ", "{", "[1,]", "{\"a\":}", "1 2", "nul", "{'a':1}", "[1]x",
                           "NaN", "\"\xff\"", "\"\t\"", "1e999", "\xef\xbb\xbf{}"}) {
    const std::string fault = FaultOf(text);
    EXPECT_THAT(fault, testing::StartsWith("json: ")) << text;
    EXPECT_THAT(fault, testing::EndsWith(" (file)")) << text;
    EXPECT_EQ(fault.find('\n'), std::string::npos);
  }
}

TEST(StrictJson, AZeroByteDoesNotEndTheText) {
  EXPECT_EQ(FaultOf(std::string("[1]\0", 4)), "json: byte 3: a zero byte (file)");
  EXPECT_EQ(FaultOf(std::string("[1]\0x", 5)), "json: byte 3: a zero byte (file)");
}

TEST(StrictJson, LongTokensAreCutInMessages) {
  EXPECT_LT(FaultOf("\"" + std::string(100000, 'x')).size(), 300u);
  EXPECT_LT(FaultOf(R"({")" + std::string(100000, 'x') + R"(":1,")" + std::string(100000, 'x') +
                    R"(":1})")
                .size(),
            300u);
}

TEST(StrictJson, DescribesValuesShortly) {
  EXPECT_EQ(DescribeJson(nlohmann::json::array({1, 2})), "a list");
  EXPECT_EQ(DescribeJson(nlohmann::json::object()), "an object");
  EXPECT_EQ(DescribeJson("text"), "\"text\"");
  EXPECT_EQ(DescribeJson(-1.5), "-1.5");
  EXPECT_EQ(DescribeJson(nullptr), "null");
}

}  // namespace
}  // namespace onepass
