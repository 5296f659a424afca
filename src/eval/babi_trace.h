// bAbI's questions as traces of several rounds: reason -> recall -> reason ... until the answer. Of
// each round the reasoner says what it wants to know next, and the memory, which alone reads the
// story, recalls one supporting sentence.
#pragma once

#include <string>
#include <vector>

#include "core/status.h"
#include "eval/babi.h"

namespace onepass {

struct BabiRound {
  std::string wanted;    // O_jA: " Find: Mary"
  std::string recalled;  // O_jB: a supporting sentence, or " Nothing more."
};

struct BabiTrace {
  int task = 1;
  std::string question;  // I_ALL
  std::string story;     // I_B
  std::vector<BabiRound> rounds;
  std::string conclusion;  // the reasoner's last output: " [The answer is]" and the answer
  std::string answer;      // as the file has it
  std::vector<std::string> answers;  // of a list: in every order, up to three parts; else: it alone
};

// Ok for the tasks of which traces can be made: 1, 2, 3, 7, 8, 15.
Status CheckBabiTraceTask(int task);

// The supporting facts, one a round. What is wanted follows from the question and the facts
// recalled so far, never from what is recalled next:
//
//   first   the question without its question words: " Find: the football"
//   later   tasks 1, 2, 3, 15, where a fact leads to the next one: of "X is a Y." Y, else whom the
//           last fact is about, its first word: " Find: Mary"
//           tasks 7 and 8, where all that happened to somebody counts: the same again
//
// In tasks 7 and 8 the reasoner, who does not see the story, cannot know which fact is the last. So
// a round is added in which the memory says " Nothing more."
// REQUIRES: CheckBabiTraceTask(sample.task).ok()
BabiTrace MakeBabiTrace(const BabiSample& sample);

// One line of JSON, without the newline.
std::string ToJson(const BabiTrace& trace);

}  // namespace onepass
