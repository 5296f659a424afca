#include "chain/record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

namespace onepass {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

std::string RecordFaultOf(const std::string& json) {
  const Result<Record> record = ParseRecord(json, 7, 9);
  return record.ok() ? "" : record.status().message();
}

// Every record of a text: its text of field "a", or its fault.
std::vector<std::string> Walk(const std::string& text) {
  RecordReader reader(text, "f.jsonl", {});
  std::vector<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    const Result<std::optional<Record>> record = reader.Next();
    if (!record.ok()) {
      seen.push_back("fault: " + record.status().message());
      continue;
    }
    if (!record->has_value()) return seen;
    const Result<std::string_view> field = (*record)->Text("a");
    seen.push_back(field.ok() ? std::string(*field) : "no a");
  }
  ADD_FAILURE() << "no end";
  return seen;
}

TEST(Record, TakesStringsNumbersBooleansAndLists) {
  const Result<Record> record = ParseRecord(
      R"({"s": "x\ny", "i": -3, "u": 18446744073709551615, "f": 0.50, "t": true,
          "l": ["a", 2], "n": null, "o": {"a": [1, {"b": 2}]}, "m": [1, [2], 3], "": "empty"})",
      1, 1);
  ASSERT_TRUE(record.ok()) << record.status().message();
  EXPECT_EQ(*record->Text("s"), "x\ny");
  EXPECT_EQ(*record->Text("i"), "-3");
  EXPECT_EQ(*record->Text("u"), "18446744073709551615");
  EXPECT_EQ(*record->Text("f"), "0.50");
  EXPECT_EQ(*record->Text("t"), "true");
  EXPECT_EQ(*record->Text(""), "empty");
  EXPECT_THAT(record->Find("l")->list, ElementsAre("a", "2"));
  EXPECT_EQ(record->Text("l").status().message(),
            "record 1 (line 1): field \"l\": want a string or a number, found array");
  EXPECT_THAT(record->Text("n").status().message(), EndsWith("found null"));
  EXPECT_THAT(record->Text("o").status().message(), EndsWith("found object"));
  EXPECT_THAT(record->Text("m").status().message(), EndsWith("found array with nested array"));
  EXPECT_EQ(record->fields.size(), 10u);
}

TEST(Record, NothingStandsBehindAZeroByte) {
  EXPECT_EQ(RecordFaultOf(std::string("{\"a\": 1}\0{", 10)),
            "record 7 (line 9): byte 8: a zero byte");
  EXPECT_EQ(RecordFaultOf("\xef\xbb\xbf{}"), "record 7 (line 9): byte 0: a byte order mark");
  EXPECT_THAT(Walk(std::string("{\"a\": 1}\0\n{\"a\": 2}", 18)),
              ElementsAre("fault: f.jsonl: record 1 (line 1): byte 8: a zero byte", "2"));
}

TEST(Record, AMissingFieldNamesTheOnesThatExist) {
  const Result<Record> record = ParseRecord(R"({"I_A": "x", "O_A": "y"})", 3, 4);
  ASSERT_TRUE(record.ok());
  EXPECT_EQ(record->Text("I_B").status().message(),
            "record 3 (line 4): want field \"I_B\", found only \"I_A\", \"O_A\"");
}

TEST(Record, FaultsNameRecordLineAndCause) {
  EXPECT_EQ(RecordFaultOf("[1]"), "record 7 (line 9): want an object, found an array");
  EXPECT_EQ(RecordFaultOf("\"x\""), "record 7 (line 9): want an object, found a string");
  EXPECT_EQ(RecordFaultOf("null"), "record 7 (line 9): want an object, found null");
  EXPECT_EQ(RecordFaultOf(R"({"a": 1, "a": 2})"), "record 7 (line 9): key \"a\" stands twice");
  EXPECT_THAT(RecordFaultOf(R"({"a": )"), HasSubstr("record 7 (line 9): not JSON at byte 7: "));
  EXPECT_THAT(RecordFaultOf(R"({"a": 1} x)"), HasSubstr("not JSON at byte 10"));
  EXPECT_THAT(RecordFaultOf(""), HasSubstr("not JSON"));
  const std::string bad_utf8 = RecordFaultOf("{\"a\": \"\xff\"}");
  EXPECT_THAT(bad_utf8, HasSubstr("ill-formed UTF-8"));
  EXPECT_EQ(bad_utf8.find('\xff'), std::string::npos);
  EXPECT_THAT(RecordFaultOf(R"({"a": "\ud800"})"), HasSubstr("not JSON"));
  EXPECT_LT(RecordFaultOf("{\"a\": \"" + std::string(100000, 'x')).size(), 300u);
}

TEST(Record, LimitsHold) {
  const std::string deep = "{\"a\": " + std::string(100000, '[') + std::string(100000, ']') + "}";
  EXPECT_EQ(RecordFaultOf(deep), "record 7 (line 9): nested deeper than 32");
  std::string wide = "{";
  for (int i = 0; i < 2000; ++i) wide += (i ? ",\"k" : "\"k") + std::to_string(i) + "\": 1";
  EXPECT_EQ(RecordFaultOf(wide + "}"), "record 7 (line 9): want at most 1024 fields");
  RecordLimits limits;
  limits.max_record_bytes = 10;
  EXPECT_EQ(ParseRecord(R"({"a": "12345"})", 1, 1, limits).status().message(),
            "record 1 (line 1): want at most 10 bytes, found 14");
}

TEST(RecordReader, AFaultyLineCostsOnlyItself) {
  EXPECT_THAT(Walk("{\"a\": \"1\"}\n\n  \nbroken\n{\"a\": \"2\"}\r\n{\"a\": \"3\"}"),
              ElementsAre("1", HasSubstr("fault: f.jsonl: record 2 (line 4): not JSON"), "2", "3"));
}

TEST(RecordReader, AnArrayIsReadLikeLines) {
  EXPECT_THAT(Walk(" [ {\"a\": \"]}\\\"[\"},\n {\"a\": 5} ,{\"b\": [1, {\"a\": 2}]}\n]\n"),
              ElementsAre("]}\"[", "5", "no a"));
  EXPECT_THAT(Walk("[]"), ElementsAre());
  EXPECT_THAT(Walk(""), ElementsAre());
  EXPECT_THAT(Walk("\xEF\xBB\xBF[{\"a\": \"1\"}]"), ElementsAre("1"));
  EXPECT_THAT(Walk("[{\"a\": \"1\"},\n{\"a\": oops},\n{\"a\": \"3\"}]"),
              ElementsAre("1", HasSubstr("record 2 (line 2): not JSON"), "3"));
  EXPECT_THAT(Walk("[1, {\"a\": \"2\"}]"),
              ElementsAre(HasSubstr("want an object, found a number"), "2"));
}

TEST(RecordReader, ABrokenArrayEndsWithOneFault) {
  EXPECT_THAT(Walk("[{\"a\": \"1\"}\n"),
              ElementsAre("1",
                          "fault: f.jsonl: line 2: want \",\" or \"]\", found the end of the "
                          "file"));
  EXPECT_THAT(Walk("[{\"a\": \"1\"} {\"a\": \"2\"}]"),
              ElementsAre("1", HasSubstr("want \",\" or \"]\", found \"{\"")));
  EXPECT_THAT(Walk("[{\"a\": \"1}]"), ElementsAre(HasSubstr("want a closing quote")));
  EXPECT_THAT(Walk("[{\"a\": [1}"), ElementsAre(HasSubstr("want a closing bracket")));
  EXPECT_THAT(Walk("[{\"a\": \"1\"},]"),
              ElementsAre("1", HasSubstr("want an object, found \"]\"")));
  EXPECT_THAT(Walk("[{\"a\": \"1\"}] x"), ElementsAre("1", HasSubstr("nothing after the array")));
  EXPECT_THAT(Walk("[\"x\\"), ElementsAre(HasSubstr("want a closing quote")));
}

TEST(RecordReader, AFileIsBrokenWhereItsOwnStructureIs) {
  const auto broken = [](const std::string& text) {
    RecordReader reader(text, "f.json", {});
    for (int i = 0; i < 3; ++i) (void)reader.Next();
    return reader.broken();
  };
  EXPECT_FALSE(broken("[{\"a\": nul}, {\"a\": 1}]"));
  EXPECT_FALSE(broken("nothing\n{\"a\": 1}"));
  EXPECT_TRUE(broken("[{\"a\": 1} {\"a\": 2}]"));
  EXPECT_TRUE(broken("[{\"a\": 1"));
}

TEST(RecordReader, ReadsTheAuthorsData) {
  const std::string data = std::string(ONEPASS_SOURCE_DIR) + "/../shared/data/";
  if (!std::filesystem::exists(data)) GTEST_SKIP() << "no " << data;
  const Result<std::vector<Record>> qa = LoadRecords(data + "hotpotqa_compress_test.json");
  ASSERT_TRUE(qa.ok()) << qa.status().message();
  ASSERT_EQ(qa->size(), 250u);
  EXPECT_THAT(std::string(*qa->front().Text("I_ALL")),
              testing::StartsWith("What Old English poem"));
  for (const Record& record : *qa) {
    for (const char* name : {"I_ALL", "I_A"}) EXPECT_TRUE(record.Text(name).ok());
  }
  EXPECT_EQ(LoadRecords(data + "comqa_dev.json")->size(), 301u);
  EXPECT_EQ(LoadRecords(data + "comqa_test.json")->size(), 611u);
}

}  // namespace
}  // namespace onepass
