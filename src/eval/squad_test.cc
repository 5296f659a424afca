#include "eval/squad.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "core/file.h"
#include "core/utf8.h"

namespace onepass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kContext =
    "Ann keeps a pony in Hull. Bob, who met Dr. Low in Hull, owns 3 hens. They are old.";

// A list of one article with one paragraph and one question; `answers` is JSON.
std::string Article(const std::string& answers, const std::string& question = "Where is it?",
                    const std::string& context = kContext) {
  nlohmann::json article = {{"title", "T"}, {"paragraphs", nlohmann::json::array()}};
  article["paragraphs"].push_back(
      {{"context", context},
       {"qas", {{{"question", question}, {"answers", nlohmann::json::parse(answers)}}}}});
  return nlohmann::json::array({article}).dump();
}

SquadSample One(const std::string& json) {
  const Result<std::vector<SquadSample>> samples = ReadSquad(json, "f.json", SquadSplit::kTrain);
  EXPECT_TRUE(samples.ok()) << samples.status().message();
  return samples.ok() ? samples->front() : SquadSample();
}

std::string SquadFault(const std::string& json, SquadSplit split = SquadSplit::kTrain) {
  const std::string message = ReadSquad(json, "f.json", split).status().message();
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  EXPECT_TRUE(IsUtf8(message));
  return message;
}

TEST(Squad, TheSentenceThatHoldsTheAnswerIsTheSummary) {
  const SquadSample sample = One(Article(R"(["3 hens", "hens", "3 hens"])"));
  EXPECT_EQ(sample.sentence, " Bob, who met Dr. Low in Hull, owns 3 hens.");
  EXPECT_EQ(sample.paragraph, std::string(" ") + kContext);
  EXPECT_EQ(sample.answer, " 3 hens");
  EXPECT_THAT(sample.answers, ElementsAre("3 hens", "hens"));
  const auto json = nlohmann::json::parse(ToJson(sample));
  EXPECT_EQ(json["O_A"], sample.sentence);
  EXPECT_EQ(json["answers"].size(), 2u);
  EXPECT_EQ(json["task"], "squad");
}

TEST(Squad, AnswerStartSaysWhichOccurrenceIsMeant) {
  const std::string context = "Élan is in Hull. Ann left Hull.";
  const auto sentence = [&](int start) {
    return One(Article(R"([{"text": "Hull", "answer_start": )" + std::to_string(start) + "}]",
                       "Where?", context))
        .sentence;
  };
  EXPECT_EQ(sentence(11), " Élan is in Hull.");  // characters, not bytes
  EXPECT_EQ(sentence(26), " Ann left Hull.");
}

TEST(Squad, WithoutAPlaceTheOtherAnswersAndTheQuestionDecide) {
  EXPECT_EQ(One(Article(R"(["Hull", "Dr. Low in Hull"])")).sentence,
            " Bob, who met Dr. Low in Hull, owns 3 hens.");
  EXPECT_EQ(One(Article(R"(["Hull"])", "Who owns hens there?")).sentence,
            " Bob, who met Dr. Low in Hull, owns 3 hens.");
  EXPECT_EQ(One(Article(R"(["Hull"])", "?")).sentence, " Ann keeps a pony in Hull.");
}

TEST(Squad, WholeWordsComeBeforePartsOfWords) {
  const std::string context = "In 1066 Ann came. She stayed 10 years.";
  EXPECT_EQ(One(Article(R"(["10"])", "?", context)).sentence, " She stayed 10 years.");
  EXPECT_EQ(One(Article(R"(["stay"])", "?", context)).sentence, " She stayed 10 years.");
}

TEST(Squad, AnAnswerAcrossSentencesHasThemAll) {
  EXPECT_EQ(One(Article(R"(["in Hull. Bob"])")).sentence,
            " Ann keeps a pony in Hull. Bob, who met Dr. Low in Hull, owns 3 hens.");
}

TEST(Squad, SplitsAreByArticle) {
  nlohmann::json articles = nlohmann::json::array();
  const nlohmann::json one = nlohmann::json::parse(Article(R"(["Hull"])"));
  for (int i = 0; i < 20; ++i) {
    articles.push_back(one[0]);
    articles.back()["title"] = std::to_string(i);
  }
  const std::string json = nlohmann::json({{"version", "1.1"}, {"data", articles}}).dump();
  const auto titles = [&](SquadSplit split) {
    std::vector<std::string> found;
    const auto samples = ReadSquad(json, "f.json", split);
    EXPECT_TRUE(samples.ok()) << samples.status().message();
    for (const SquadSample& sample : *samples) found.push_back(sample.title);
    return found;
  };
  EXPECT_THAT(titles(SquadSplit::kValidation), ElementsAre("8", "18"));
  EXPECT_THAT(titles(SquadSplit::kTest), ElementsAre("9", "19"));
  EXPECT_EQ(titles(SquadSplit::kTrain).size(), 16u);
  EXPECT_THAT(ParseSquadSplit("dev").status().message(), HasSubstr("found \"dev\""));
}

TEST(Squad, FaultsNameFileAndPlace) {
  const std::string good = Article(R"(["Hull"])");
  EXPECT_THAT(SquadFault(good.substr(0, good.size() / 2)), HasSubstr("f.json"));
  EXPECT_THAT(SquadFault(""), HasSubstr("f.json"));
  EXPECT_THAT(SquadFault("[\"caf\xe9\"]"), HasSubstr("f.json"));
  EXPECT_THAT(SquadFault(std::string(100, '[')), HasSubstr("f.json"));
  EXPECT_THAT(SquadFault("7"), HasSubstr("f.json: want an object, found 7"));
  EXPECT_THAT(SquadFault("{}"),
              HasSubstr("f.json: want a list named \"data\", found no such member"));
  EXPECT_THAT(SquadFault(R"({"data": {}})"),
              HasSubstr("f.json.data: want a list, found an object"));
  EXPECT_THAT(SquadFault(R"([3])"), HasSubstr("f.json: [0]: want an object, found 3"));
  EXPECT_THAT(SquadFault(R"({"data": [{"title": "T", "paragraphs": 1}]})"),
              HasSubstr("f.json: data[0].paragraphs: want a list, found 1"));
  EXPECT_THAT(SquadFault(R"([{"title": "T", "paragraphs": [{"context": " "}]}])"),
              HasSubstr("[0].paragraphs[0].context: want a text, found an empty one"));
  EXPECT_THAT(SquadFault(R"([{"title": "T", "paragraphs": [{"context": "a"}]}])"),
              HasSubstr("[0].paragraphs[0]: want a list named \"qas\""));
  const std::string place = "f.json: [0].paragraphs[0].qas[0].answers";
  EXPECT_THAT(SquadFault(Article("[]")), HasSubstr(place + ": want at least one answer"));
  EXPECT_THAT(SquadFault(Article("[null]")), HasSubstr(place + "[0]: want a string, or an object"));
  EXPECT_THAT(SquadFault(Article(R"([" "])")), HasSubstr(place + "[0]: want a text, found \" \""));
  EXPECT_THAT(SquadFault(Article(R"(["Hull", "a\nmoon"])")),
              HasSubstr(place + "[1]: want a text of the paragraph, found \"a\\nmoon\""));
  EXPECT_THAT(SquadFault(Article(R"([{"text": "Hull", "answer_start": 3}])")),
              HasSubstr(place + "[0]: at character 3 of the paragraph: want the answer's text, "
                                "found \"Hull\""));
  for (const char* start : {"-1", "1.5", "\"3\"", "null"}) {
    EXPECT_THAT(
        SquadFault(Article(std::string(R"([{"text": "Hull", "answer_start": )") + start + "}]")),
        HasSubstr(place + "[0].answer_start: want a number of characters"));
  }
  EXPECT_THAT(SquadFault(Article(R"([{"text": "Hull", "answer_start": 99999999999999999}])")),
              HasSubstr("at character 99999999999999999"));
  EXPECT_THAT(SquadFault(good, SquadSplit::kTest), HasSubstr("found none in 1 articles"));
}

TEST(Squad, EveryPrefixOfAFileIsAFault) {
  const std::string good =
      Article(R"(["3 hens", {"text": "Élan", "answer_start": 0}])", "Who?", "Élan has 3 hens.");
  EXPECT_EQ(One(good).sentence, " Élan has 3 hens.");
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_THAT(SquadFault(good.substr(0, size)), HasSubstr("f.json"));
  }
}

TEST(Squad, AParagraphOfTheAnswerAloneIsReadInTime) {
  std::string context;
  for (int i = 0; i < 200'000; ++i) context += "a. ";
  EXPECT_EQ(One(Article(R"(["a"])", "a?", context)).answer, " a");
}

// Invariants over the real file; what is checked is counted apart from the code under test.
TEST(Squad, OfTheRealFileEverySummaryHoldsItsAnswer) {
  const std::string path = ONEPASS_SOURCE_DIR "/../shared/data/squad1.1_part.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no SQuAD file at " << path;
  const Result<std::string> text = ReadFile(path);
  ASSERT_TRUE(text.ok()) << text.status().message();
  size_t count = 0;
  size_t whole_paragraphs = 0;
  std::set<std::string> titles;
  for (const SquadSplit split : {SquadSplit::kTrain, SquadSplit::kValidation, SquadSplit::kTest}) {
    const auto samples = ReadSquad(*text, "squad", split);
    ASSERT_TRUE(samples.ok()) << samples.status().message();
    count += samples->size();
    std::set<std::string> of_split;
    for (const SquadSample& sample : *samples) {
      EXPECT_NE(sample.sentence.find(sample.answers.front()), std::string::npos);
      EXPECT_NE(sample.paragraph.find(sample.sentence.substr(1)), std::string::npos);
      EXPECT_TRUE(sample.sentence.starts_with(' ') && sample.answer.starts_with(' '));
      EXPECT_TRUE(IsUtf8(sample.sentence));
      whole_paragraphs += sample.sentence == sample.paragraph ? 1 : 0;
      of_split.insert(sample.title);
    }
    for (const std::string& title : of_split) EXPECT_TRUE(titles.insert(title).second) << title;
  }
  EXPECT_EQ(count, 7602u);
  EXPECT_EQ(titles.size(), 38u);
  EXPECT_LT(whole_paragraphs, count / 20);  // paragraphs are several sentences
}

}  // namespace
}  // namespace onepass
