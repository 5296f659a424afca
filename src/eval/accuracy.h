// Whether an answer is right, multiple choice included. Pure functions beside metrics.h.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "core/status.h"

namespace onepass {

// The letters that label a question's choices, e.g. "ABCDE": 2 to 26 different capital letters;
// empty: answers have no labels.
Status CheckChoices(std::string_view choices);

// What an answer begins with, besides white space: a letter of `choices`, capital or small, in
// parentheses, alone, or with one of . ) : behind it. "B", "b.", "B.two arms" and "(B) two arms"
// have a label; "B two arms" and "a dog" have none.
struct LabelledAnswer {
  char label = 0;         // a capital letter; 0: none
  std::string_view text;  // what is left, all of it where there is no label
};
LabelledAnswer SplitLabel(std::string_view answer, std::string_view choices);

// Two answers with labels are the same where their labels are. One with a label and one without:
// where the text behind the label, which must not be empty, and the other answer are an exact match
// (NormalizeAnswer). Neither with a label: an exact match.
bool IsSameAnswer(std::string_view found, std::string_view wanted, std::string_view choices);

// 1 where it is the same as any accepted answer, else 0.
double Accuracy(std::string_view found, std::span<const std::string> wanted,
                std::string_view choices);

}  // namespace onepass
