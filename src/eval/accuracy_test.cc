#include "eval/accuracy.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace onepass {
namespace {

TEST(Accuracy, WithoutChoicesIsAnExactMatch) {
  EXPECT_TRUE(IsSameAnswer("The Fridge.", "fridge", ""));
  EXPECT_FALSE(IsSameAnswer("B", "B. fridge", ""));
  EXPECT_FALSE(IsSameAnswer("yes", "no", ""));
  EXPECT_TRUE(IsSameAnswer("", "", ""));
  EXPECT_EQ(Accuracy("fridge", std::vector<std::string>{"oven", "the fridge"}, ""), 1);
  EXPECT_EQ(Accuracy("fridge", std::vector<std::string>{}, ""), 0);
}

TEST(Accuracy, LabelsAreLettersWithAMarkOrAlone) {
  for (const char* answer :
       {"B", " b ", "B.", "b)", "B: two arms", "B.two arms", "(B)", "\n(b) two arms"}) {
    EXPECT_EQ(SplitLabel(answer, "ABCDE").label, 'B') << answer;
  }
  for (const char* answer :
       {"", "B two arms", "two arms", "F", "(B", "(B.", "Bob", "b-", "(B two)"}) {
    EXPECT_EQ(SplitLabel(answer, "ABCDE").label, 0) << answer;
    EXPECT_EQ(SplitLabel(answer, "ABCDE").text, answer);
  }
  EXPECT_EQ(SplitLabel("(B) two arms", "ABCDE").text, "two arms");
  EXPECT_EQ(SplitLabel("B", "").label, 0);
}

TEST(Accuracy, ChoicesAreComparedByLabelElseByText) {
  const char* const choices = "ABCDE";
  EXPECT_TRUE(IsSameAnswer("B", "B. refrigerator", choices));
  EXPECT_TRUE(IsSameAnswer("b) an oven", "B. refrigerator", choices));  // the label decides
  EXPECT_FALSE(IsSameAnswer("A. refrigerator", "B. refrigerator", choices));
  EXPECT_TRUE(IsSameAnswer("the refrigerator", "B. refrigerator", choices));
  EXPECT_TRUE(IsSameAnswer("B.Refrigerator", "refrigerator", choices));
  EXPECT_FALSE(IsSameAnswer("oven", "B. refrigerator", choices));
  EXPECT_FALSE(IsSameAnswer("", "B", choices));
  EXPECT_FALSE(IsSameAnswer("B", "", choices));
  EXPECT_FALSE(IsSameAnswer("B", "the", choices));
  EXPECT_TRUE(IsSameAnswer("Yes", "yes", choices));
}

TEST(Accuracy, ChoicesAreDifferentCapitalLetters) {
  EXPECT_TRUE(CheckChoices("").ok());
  EXPECT_TRUE(CheckChoices("AB").ok());
  for (const char* wrong : {"A", "ABA", "ab", "A B", "1234"}) {
    EXPECT_EQ(CheckChoices(wrong).message(),
              "want 2 to 26 different capital letters such as ABCDE, found \"" +
                  std::string(wrong) + "\"");
  }
}

}  // namespace
}  // namespace onepass
