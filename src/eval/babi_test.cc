#include "eval/babi.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace onepass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// `count` stories of two sentences and a question whose answer is the story's number.
std::string Stories(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    const std::string n = std::to_string(i);
    text += "1 Ann took the key.\n2 Ann ran to place " + n + ".\n3 Where is the key? \t" + n +
            "\t2 1\n";
  }
  return text;
}

std::vector<BabiSample> Read(const std::string& text, const BabiOptions& options) {
  Result<std::vector<BabiSample>> samples = ReadBabi(text, "f.txt", options);
  EXPECT_TRUE(samples.ok()) << samples.status().message();
  return samples.ok() ? *samples : std::vector<BabiSample>();
}

std::string BabiFault(const std::string& bad_line) {
  // Line 901 of a file that is otherwise fine.
  return ReadBabi(Stories(300) + bad_line + "\n", "f.txt", {}).status().message();
}

TEST(Babi, SplitsAreTheLastHundredTheHundredBeforeAndTheRest) {
  const std::string text = Stories(350);
  const auto train = Read(text, {.split = BabiSplit::kTrain});
  const auto validation = Read(text, {.split = BabiSplit::kValidation});
  const auto test = Read(text, {.split = BabiSplit::kTest});
  ASSERT_EQ(train.size(), 150u);
  ASSERT_EQ(validation.size(), 100u);
  ASSERT_EQ(test.size(), 100u);
  EXPECT_EQ(train.back().answer, " 149");
  EXPECT_EQ(validation.front().answer, " 150");
  EXPECT_EQ(test.front().answer, " 250");
  EXPECT_EQ(test.back().answer, " 349");
}

TEST(Babi, SampleHoldsStorySoFarAndFactsInTheFilesOrder) {
  const std::string story =
      "1 Ann took the key.\n2 Bob sat.\n3 Where is Bob?\there\t2\n4 Ann ran home.\r\n"
      "5 Where is the key? \thome\t4 1\r\n6 Bob ran.\n";
  const auto samples = Read(story + Stories(299), {.task = 2});
  EXPECT_EQ(samples[0].question, "Where is Bob?");
  EXPECT_EQ(samples[0].story, " Ann took the key. Bob sat.");
  EXPECT_EQ(samples[1].question, "Where is the key?");
  EXPECT_EQ(samples[1].story, " Ann took the key. Bob sat. Ann ran home.");
  EXPECT_THAT(samples[1].facts, ElementsAre(" Ann ran home.", " Ann took the key."));
  EXPECT_EQ(samples[1].answer, " home");
  const nlohmann::json json = nlohmann::json::parse(ToJson(samples[1]));
  EXPECT_EQ(json["I_ALL"], "Where is the key?");
  EXPECT_EQ(json["O_A"], " Ann ran home. Ann took the key.");
  EXPECT_EQ(json["task"], "babi-2");
}

TEST(Babi, LongStoriesKeepTheirEnd) {
  std::string text;
  for (int i = 1; i <= 6; ++i) text += std::to_string(i) + " S" + std::to_string(i) + ".\n";
  text += "7 Who?\tme\t2 6\n";
  const auto samples = Read(text + Stories(299), {.last_sentences = 2});
  EXPECT_EQ(samples[0].story, " S5. S6.");
  EXPECT_THAT(samples[0].facts, ElementsAre(" S2.", " S6."));
}

TEST(Babi, FaultsNameFileAndLine) {
  EXPECT_THAT(BabiFault("x Ann ran."), HasSubstr("f.txt:901: want line id 1 or 4, found \"x\""));
  EXPECT_THAT(BabiFault("5 Ann ran."), HasSubstr("f.txt:901: want line id 1 or 4, found \"5\""));
  EXPECT_THAT(BabiFault("99999999999999999999 Ann ran."), HasSubstr("f.txt:901: want line id"));
  EXPECT_THAT(BabiFault("4"), HasSubstr("f.txt:901: want a sentence after the line id"));
  EXPECT_THAT(BabiFault("4 Where?\there"), HasSubstr("f.txt:901: want question, answer and"));
  EXPECT_THAT(BabiFault("4 Where?\there\t1\t2"), HasSubstr("found 4 fields"));
  EXPECT_THAT(BabiFault("4 Where?\there\t3"), HasSubstr("found \"3\""));  // a question's id
  EXPECT_THAT(BabiFault("4 Where?\there\t-1"), HasSubstr("found \"-1\""));
  EXPECT_THAT(BabiFault("4 Where?\there\t"),
              HasSubstr("f.txt:901: want ids of supporting sentences"));
  EXPECT_THAT(BabiFault("4 Where?\t \t1"), HasSubstr("f.txt:901: want a question and an answer"));
  EXPECT_THAT(BabiFault("1 Where?\there\t1"), HasSubstr("found \"1\""));  // no story before it
  EXPECT_THAT(BabiFault("4 caf\xe9."), HasSubstr("f.txt:901: want UTF-8"));
}

TEST(Babi, EndlessStoryIsRefused) {
  std::string text = Stories(300);
  for (int i = 1; i <= 4097; ++i) text += std::to_string(i) + " S.\n";
  EXPECT_THAT(ReadBabi(text, "f.txt", {}).status().message(),
              HasSubstr("f.txt:4997: want at most 4096 lines in a story"));
}

TEST(Babi, TooFewQuestionsAreRefused) {
  EXPECT_THAT(ReadBabi(Stories(299), "f.txt", {}).status().message(),
              HasSubstr("want at least 300 questions, found 299 (f.txt)"));
  EXPECT_FALSE(ReadBabi("", "f.txt", {}).ok());
}

TEST(Babi, OptionsAreChecked) {
  EXPECT_FALSE(BabiOptions{.task = 21}.Validate().ok());
  EXPECT_FALSE(BabiOptions{.last_sentences = -1}.Validate().ok());
  EXPECT_THAT(ParseBabiSplit("dev").status().message(), HasSubstr("found \"dev\""));
}

}  // namespace
}  // namespace onepass
