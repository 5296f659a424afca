#include "eval/results.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "eval/results_for_test.h"

namespace onepass {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(Results, WhatIsWrittenIsWhatIsRead) {
  TaskResults results = SomeResults();
  Result<TaskResults> read = ParseResults(ResultsToJson(results), "r.json");
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(*read, results);

  results.metric = Metric::kHotpotQa;
  results.reference.clear();
  results.paper = {};
  results.batch = 8;
  results.figure = 4;
  for (MethodResult& method : results.methods) {
    method.accuracy.reset();
    method.ms.reset();
    method.handoff_ms.reset();
  }
  read = ParseResults(ResultsToJson(results), "r.json");
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(*read, results);
}

TEST(Results, TheKeysAreThoseOfTheFormat) {
  const json file = json::parse(ResultsToJson(SomeResults()));
  EXPECT_EQ(file["version"], 3);
  EXPECT_EQ(file["task"], "toy");
  EXPECT_EQ(file["metric"], "accuracy");
  EXPECT_EQ(file["paper"][0]["values"]["fthss"], (std::vector<double>{29, 42.2}));
  const json& chain = file["methods"][0];
  EXPECT_TRUE(chain.at("em_spread").is_null());
  EXPECT_TRUE(chain.at("em_minus_reference").is_null());
  EXPECT_TRUE(chain.at("rounds").is_null());
  const json& fthss = file["methods"][1];
  EXPECT_EQ(fthss["em"], 80.0);
  EXPECT_EQ(fthss["em_interval"], (std::vector<double>{75, 84.5}));
  EXPECT_EQ(fthss["f1_interval"], (std::vector<double>{77.5, 87}));
  EXPECT_EQ(fthss["accuracy_spread"], 1.25);
  EXPECT_EQ(fthss["em_minus_reference"], -3.5);
  EXPECT_EQ(fthss["em_minus_reference_interval"], (std::vector<double>{-7, 0.25}));
  EXPECT_EQ(fthss["tool_runs"], 1);
}

TEST(Results, TheSuitesMetricLeads) {
  TaskResults results = SomeResults();
  ASSERT_EQ(MetricsOf(results).size(), 3u);
  EXPECT_STREQ(MetricsOf(results)[0].key, "accuracy");
  results.metric = Metric::kSquad;
  ASSERT_EQ(MetricsOf(results).size(), 2u);
  EXPECT_STREQ(MetricsOf(results)[0].key, "em");
}

// The fault where one place of a good file is another value; null removes the key.
std::string ResultsFault(const char* place, const std::string& value) {
  json file = json::parse(ResultsToJson(SomeResults()));
  file[json::json_pointer(place)] = json::parse(value);
  return ParseResults(file.dump(), "r.json").status().message();
}

TEST(Results, FaultsNameTheirPlace) {
  EXPECT_EQ(ResultsFault("/version", "2"), "r.json: version: want 3, found 2");
  EXPECT_EQ(ResultsFault("/methods/1/em", "101"),
            "r.json: methods[1].em: want numbers from 0 to 100, found 101");
  EXPECT_EQ(ResultsFault("/methods/1/em_interval", "[3, 2]"),
            "r.json: methods[1].em_interval: want [low, high], found a list");
  EXPECT_EQ(ResultsFault("/methods/1/em_interval", "null"),
            "r.json: methods[1].em_interval: want [low, high], found null");
  EXPECT_THAT(ResultsFault("/methods/0/peak_kv_bytes", "1e300"),
              HasSubstr("want a whole number from 0"));
  EXPECT_THAT(ResultsFault("/methods/0/peak_kv_bytes", "-1"),
              HasSubstr("want a whole number from 0"));
  EXPECT_THAT(ResultsFault("/methods/0/ms", "1e16"),
              HasSubstr("methods[0].ms: want numbers from 0"));
  EXPECT_THAT(ResultsFault("/methods/0/n", "0"),
              HasSubstr("methods[0].n: want a whole number from 1"));
  EXPECT_THAT(ResultsFault("/methods/0/seeds", "[-1]"), HasSubstr("methods[0].seeds"));
  EXPECT_THAT(ResultsFault("/methods/0/more", "1"),
              HasSubstr("want no other keys, found \"more\""));
  EXPECT_THAT(ResultsFault("/methods/0", "1"), HasSubstr("methods[0].want an object, found 1"));
  EXPECT_THAT(ResultsFault("/methods", "[]"), HasSubstr("methods: want some, found none"));
  EXPECT_THAT(ResultsFault("/metric", "\"bleu\""), HasSubstr("r.json: metric: want squad"));
  EXPECT_THAT(ResultsFault("/paper/0/values/x", "[1]"),
              HasSubstr("paper[0].values: want 2 numbers from 0 to 100"));
  EXPECT_THAT(ResultsFault("/paper/0/values", "[[1, 2]]"), HasSubstr("values: want an object"));
  EXPECT_THAT(ResultsFault("/paper/0/metrics", "[1]"), HasSubstr("paper[0].metrics: want texts"));
  json file = json::parse(ResultsToJson(SomeResults()));
  file["methods"][0].erase("f1");
  EXPECT_EQ(ParseResults(file.dump(), "r.json").status().message(),
            "r.json: methods[0].f1: want this key, found none");
  EXPECT_EQ(ParseResults("[]", "r.json").status().code(), StatusCode::kUnsupported);
  EXPECT_THAT(ParseResults("{}", "r.json").status().message(), StartsWith("r.json: "));
  EXPECT_FALSE(ParseResults("", "r.json").ok());
}

TEST(Results, AnyPrefixOfAFileIsAFault) {
  const std::string text = ResultsToJson(SomeResults());
  for (size_t size = 0; size + 2 < text.size(); size += 7) {
    EXPECT_FALSE(ParseResults(text.substr(0, size), "r.json").ok()) << size;
  }
}

}  // namespace
}  // namespace onepass
