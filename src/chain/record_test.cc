#include "chain/record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "chain/tiny_chain_for_test.h"

namespace onepass {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

std::string FaultOf(const std::string& json) {
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
  EXPECT_EQ(FaultOf(std::string("{\"a\": 1}\0{", 10)), "record 7 (line 9): byte 8: a zero byte");
  EXPECT_EQ(FaultOf("\xef\xbb\xbf{}"), "record 7 (line 9): byte 0: a byte order mark");
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
  EXPECT_EQ(FaultOf("[1]"), "record 7 (line 9): want an object, found an array");
  EXPECT_EQ(FaultOf("\"x\""), "record 7 (line 9): want an object, found a string");
  EXPECT_EQ(FaultOf("null"), "record 7 (line 9): want an object, found null");
  EXPECT_EQ(FaultOf(R"({"a": 1, "a": 2})"), "record 7 (line 9): key \"a\" stands twice");
  EXPECT_THAT(FaultOf(R"({"a": )"), HasSubstr("record 7 (line 9): not JSON at byte 7: "));
  EXPECT_THAT(FaultOf(R"({"a": 1} x)"), HasSubstr("not JSON at byte 10"));
  EXPECT_THAT(FaultOf(""), HasSubstr("not JSON"));
  const std::string bad_utf8 = FaultOf("{\"a\": \"\xff\"}");
  EXPECT_THAT(bad_utf8, HasSubstr("ill-formed UTF-8"));
  EXPECT_EQ(bad_utf8.find('\xff'), std::string::npos);
  EXPECT_THAT(FaultOf(R"({"a": "\ud800"})"), HasSubstr("not JSON"));
  EXPECT_LT(FaultOf("{\"a\": \"" + std::string(100000, 'x')).size(), 300u);
}

TEST(Record, LimitsHold) {
  const std::string deep = "{\"a\": " + std::string(100000, '[') + std::string(100000, ']') + "}";
  EXPECT_EQ(FaultOf(deep), "record 7 (line 9): nested deeper than 32");
  std::string wide = "{";
  for (int i = 0; i < 2000; ++i) wide += (i ? ",\"k" : "\"k") + std::to_string(i) + "\": 1";
  EXPECT_EQ(FaultOf(wide + "}"), "record 7 (line 9): want at most 1024 fields");
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

class RecordTokensTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto tokenizer = ParseTokenizerJson(TinyTokenizerJson(), "tiny");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    tokenizer_ = std::move(tokenizer).value();
  }
  std::vector<TokenId> Encode(std::vector<TemplatePiece> pieces) {
    return TemplateEncoder(*tokenizer_).Encode(pieces);
  }
  std::unique_ptr<const Tokenizer> tokenizer_;
};

TEST_F(RecordTokensTest, SpecialTokensAreThoseOfTheTemplateOnly) {
  EXPECT_THAT(Encode({{false, "<bos>a"}, {true, "<eos>"}, {false, "b<eos>"}}),
              ElementsAre(259, 'a', '<', 'e', 'o', 's', '>', 'b', 260));
  // Nor can a literal and a field together spell one.
  EXPECT_THAT(Encode({{false, "<e"}, {true, "os>"}}), ElementsAre('<', 'e', 'o', 's', '>'));
}

TEST_F(RecordTokensTest, MergesCrossTheBordersOfFields) {
  EXPECT_THAT(Encode({{false, "t"}, {true, "h"}, {false, "e"}}), ElementsAre(258));
  EXPECT_THAT(Encode({{false, "t"}, {false, "<bos>"}, {true, "he"}}), ElementsAre('t', 259, 256));
}

TEST(Template, BracesAreDoubledAndNamesAreChecked) {
  const Result<std::vector<TemplatePiece>> pieces = ParseTemplate("a{{{B c}}}d");
  ASSERT_TRUE(pieces.ok()) << pieces.status().message();
  ASSERT_EQ(pieces->size(), 3u);
  EXPECT_EQ((*pieces)[0].text, "a{");
  EXPECT_EQ((*pieces)[1].text, "B c");
  EXPECT_TRUE((*pieces)[1].is_field);
  EXPECT_EQ((*pieces)[2].text, "}d");
  EXPECT_TRUE(ParseTemplate("")->empty());
  EXPECT_THAT(ParseTemplate("ab{}").status().message(), HasSubstr("byte 3"));
  EXPECT_FALSE(ParseTemplate("}").ok());
  EXPECT_FALSE(ParseTemplate("{a").ok());
  EXPECT_FALSE(ParseTemplate("{a{b}").ok());
  EXPECT_FALSE(ParseTemplate("{a\nb}").ok());
  EXPECT_FALSE(ParseTemplate("{" + std::string(300, 'a') + "}").ok());
}

ChainSpec TwoStages() {
  ChainSpec spec;
  spec.file = "c.yaml";
  spec.shared = "{Q}\n";
  spec.stages.resize(2);
  spec.stages[0] = {
      .name = "a", .input = "{D}", .read_as = "<note>{text}</note>", .start = "<bos>"};
  spec.stages[1] = {.name = "b", .start = "<bos>"};
  spec.stages[0].stop_tokens = spec.stages[1].stop_tokens = {"<eos>"};
  return spec;
}

TEST_F(RecordTokensTest, APlansTokensAreThoseOfTeacherForcing) {
  const Result<Record> record = ParseRecord(R"({"Q": "q", "D": "d<eos>"})", 1, 1);
  const std::vector<std::string> outputs = {"x<eos>", "y"};
  ChainSpec spec = TwoStages();
  Result<Plan> plan = CompilePlan(spec, {4, 5});
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  auto tokens = TokensOfPlan(spec, *plan, *record, outputs, *tokenizer_);
  ASSERT_TRUE(tokens.ok()) << tokens.status().message();
  // P_a P_b S I_a O_a O_b
  EXPECT_THAT(*tokens,
              ElementsAre(ElementsAre(), ElementsAre(), ElementsAre('q', '\n'),
                          ElementsAre('d', '<', 'e', 'o', 's', '>'),
                          ElementsAre(259, 'x', '<', 'e', 'o', 's', '>'), ElementsAre(259, 'y')));

  spec.handoff = Handoff::kTextCached;
  plan = CompilePlan(spec, {4, 5});
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  tokens = TokensOfPlan(spec, *plan, *record, outputs, *tokenizer_);
  ASSERT_TRUE(tokens.ok());
  // P_a P_b S I_a O_a R_b O_b
  ASSERT_EQ(tokens->size(), 7u);
  EXPECT_THAT((*tokens)[5], ElementsAre(261, 'x', '<', 'e', 'o', 's', '>', 262));
}

TEST_F(RecordTokensTest, TokensThatTheBaseLacksAreRefused) {
  ChainSpec spec = TwoStages();
  spec.stages[1].stop_tokens = {"</s>"};
  EXPECT_EQ(
      ChainTemplates::Create(spec, *tokenizer_).status().message(),
      "c.yaml: stage \"b\": stop_tokens: want tokens of the base's tokenizer, found \"</s>\", "
      "which it does not have");
  spec = TwoStages();
  spec.stages[0].start = "<s>";
  EXPECT_THAT(ChainTemplates::Create(spec, *tokenizer_).status().message(),
              HasSubstr("stage \"a\": start: want a token of the base's tokenizer"));
}

TEST_F(RecordTokensTest, AStartOfWhichNoTokensComeIsRefused) {
  std::string json = TinyTokenizerJson();
  const std::string none = "\"normalizer\":null";
  json.replace(json.find(none), none.size(),
               R"("normalizer":{"type":"Strip","strip_left":true,"strip_right":true})");
  const auto strips = ParseTokenizerJson(json, "strips");
  ASSERT_TRUE(strips.ok()) << strips.status().message();
  ChainSpec spec = TwoStages();
  spec.stages[1].start = " \n";
  EXPECT_EQ(ChainTemplates::Create(spec, **strips).status().message(),
            "c.yaml: stage \"b\": start: want a text that has tokens, found \" \\n\", of which the "
            "base's tokenizer makes none");
}

}  // namespace
}  // namespace onepass
