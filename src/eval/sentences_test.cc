#include "eval/sentences.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace onepass {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Split(std::string_view text) {
  std::vector<std::string> sentences;
  for (const TextSpan& span : SplitSentences(text)) sentences.emplace_back(span.In(text));
  return sentences;
}

TEST(Sentences, EndMarksEndThem) {
  EXPECT_THAT(Split("One ran. Two sat! Who stood? Nobody"),
              ElementsAre("One ran.", "Two sat!", "Who stood?", "Nobody"));
  EXPECT_THAT(Split("  One ran.\n Two sat.  "), ElementsAre("One ran.", "Two sat."));
  EXPECT_THAT(Split("It cost 3.5 pounds in 1990. 25 came."),
              ElementsAre("It cost 3.5 pounds in 1990.", "25 came."));
  EXPECT_THAT(Split("It went on... Then it ended."),
              ElementsAre("It went on...", "Then it ended."));
}

TEST(Sentences, NothingHasNone) {
  EXPECT_TRUE(Split("").empty());
  EXPECT_TRUE(Split(" \n ").empty());
  EXPECT_THAT(Split("."), ElementsAre("."));
  EXPECT_THAT(Split("?!"), ElementsAre("?!"));
}

TEST(Sentences, QuotesBracketsAndNotesBelongToWhatTheyClose) {
  EXPECT_THAT(Split("He said \"No more.\" She left."),
              ElementsAre("He said \"No more.\"", "She left."));
  EXPECT_THAT(Split("It fell (in May.) It rose."), ElementsAre("It fell (in May.)", "It rose."));
  EXPECT_THAT(Split("It fell.[4] It rose.[note 2] End."),
              ElementsAre("It fell.[4]", "It rose.[note 2]", "End."));
  EXPECT_THAT(Split("Er ging. »Ja.« “No.” Doch."), ElementsAre("Er ging.", "»Ja.« “No.”", "Doch."));
  EXPECT_THAT(Split("It fell.[citation needed] It rose.:79 \"So?\":3-4 End: 5."),
              ElementsAre("It fell.[citation needed]", "It rose.:79", "\"So?\":3-4", "End: 5."));
  EXPECT_THAT(Split("It fell.[it rose] It.:x end."), ElementsAre("It fell.[it rose] It.:x end."));
  EXPECT_THAT(Split("It fell. [It] rose."), ElementsAre("It fell.", "[It] rose."));
  EXPECT_THAT(Split("It fell.[unclosed rose."), ElementsAre("It fell.[unclosed rose."));
}

TEST(Sentences, TitlesAndInitialsEndNone) {
  for (const char* text :
       {"Dr. Low met Mrs. Hay at St. Ann.", "J. R. Low came.", "See Fig. 3 and vol. 2 here.",
        "It ran Ann vs. Bob.", "No. 5 won.", "He (b. 1900) ran.", "Col. Hay, i.e. Ann, sat.",
        "Born c. 1900 there."}) {
    EXPECT_THAT(Split(text), ElementsAre(text));
  }
  EXPECT_THAT(Split("He said no. Ann left."), ElementsAre("He said no.", "Ann left."));
}

TEST(Sentences, AbbreviationsMayStandLast) {
  EXPECT_THAT(Split("The U.S. Senate met."), ElementsAre("The U.S. Senate met."));
  EXPECT_THAT(Split("She lives in the U.S. The others left."),
              ElementsAre("She lives in the U.S.", "The others left."));
  EXPECT_THAT(Split("At 5 p.m. Ann came. At 6 p.m. They left."),
              ElementsAre("At 5 p.m. Ann came.", "At 6 p.m.", "They left."));
  EXPECT_THAT(Split("Hay Inc. Records sold it to Low Co. In May it closed."),
              ElementsAre("Hay Inc. Records sold it to Low Co.", "In May it closed."));
  EXPECT_THAT(Split("It ended in the U.S."), ElementsAre("It ended in the U.S."));
  EXPECT_THAT(Split("Low Jr. went."), ElementsAre("Low Jr. went."));
  EXPECT_THAT(Split("Low et al. (2005) went."), ElementsAre("Low et al. (2005) went."));
}

TEST(Sentences, SmallLettersBeginNone) {
  EXPECT_THAT(Split("He asked why? and left. ébène came."),
              ElementsAre("He asked why? and left. ébène came."));
  EXPECT_THAT(Split("It ran. Élan came."), ElementsAre("It ran.", "Élan came."));
}

TEST(Sentences, ANumberedPointKeepsItsNumber) {
  EXPECT_THAT(Split("1. One ran. 2. Two sat."), ElementsAre("1. One ran.", "2. Two sat."));
}

// Looking back, or ahead, from every dot would take minutes: the test's own timeout shows it.
TEST(Sentences, HostileTextsEndSoon) {
  for (const std::string piece : {"a.", ".["}) {
    std::string text;
    while (text.size() < 2'000'000) text += piece;
    EXPECT_EQ(SplitSentences(text).size(), 1u) << piece;
  }
}

// What stands between them is white space, whatever the text.
TEST(Sentences, TogetherTheyHoldAllTheText) {
  const std::string_view pieces[] = {"A", "b", ".", " ", "\"", "[1]", "U.S.", "é", "?", "\n", "1"};
  for (uint32_t seed = 1; seed < 2000; ++seed) {
    std::string text;
    uint32_t state = seed;
    for (int i = 0; i < 12; ++i) {
      state = state * 1664525 + 1013904223;
      text += pieces[(state >> 16) % std::size(pieces)];
    }
    size_t at = 0;
    for (const TextSpan& span : SplitSentences(text)) {
      ASSERT_LT(span.begin, span.end) << text;
      ASSERT_GE(span.begin, at) << text;
      EXPECT_EQ(text.substr(at, span.begin - at).find_first_not_of(" \n"), std::string::npos);
      at = span.end;
    }
    EXPECT_EQ(text.substr(at).find_first_not_of(" \n"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace onepass
