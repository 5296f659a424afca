// How an answer is scored: SQuAD's exact match and F1, HotpotQA's rule, mean and spread.
// Pure functions; knows no task, no file and no model.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace onepass {

enum class AnswerRule {
  kSquad,     // SQuAD 1.1's official evaluation
  kHotpotQa,  // the same, but F1 is 0 where the sides differ and one is yes, no or noanswer
};

// Lower case, no ASCII punctuation, no articles (a, an, the), words joined by one space. Unicode
// letters are lowered by their simple mapping; bytes that are not UTF-8 are left as they are.
std::string NormalizeAnswer(std::string_view text);

struct AnswerScore {
  double exact_match = 0;  // 0 or 1
  double f1 = 0;           // in [0, 1]
};

// One accepted answer.
AnswerScore ScoreAnswer(std::string_view found, std::string_view wanted, AnswerRule rule);
// The best of each metric over the accepted answers; zero if there are none.
AnswerScore ScoreAnswer(std::string_view found, std::span<const std::string> wanted,
                        AnswerRule rule);

struct MeanAndSpread {
  double mean = 0;
  double spread = 0;  // sample standard deviation (n - 1); 0 for fewer than two values
};
MeanAndSpread MeanAndSpreadOf(std::span<const double> values);

}  // namespace onepass
