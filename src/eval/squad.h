// SQuAD's files as samples in the authors' format: compress the paragraph to the sentence that
// holds the answer, then answer. Reads the file's text only; knows no chain and writes no file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace onepass {

// Of every ten articles, in the file's order, the ninth is validation, the tenth test, the others
// train: so no paragraph, and no subject, is in two splits.
enum class SquadSplit { kTrain, kValidation, kTest };
Result<SquadSplit> ParseSquadSplit(std::string_view name);  // "train", "validation", "test"

// One question. The paragraph and the outputs begin with a space, as in the generated world's
// samples: so the sentence's tokens are those that it has in the paragraph.
struct SquadSample {
  std::string title;                 // the article's
  std::string question;              // I_ALL
  std::string paragraph;             // I_A
  std::string sentence;              // O_A: all the sentences that the answer stands in
  std::string answer;                // O_B: the first one of the file
  std::vector<std::string> answers;  // all of them, each once
};

// A file of SQuAD 1.1 ({"data": [article ...]}) or the list of its articles alone. An answer is an
// object with text and answer_start, or a string; of a string the place is not known, and of its
// occurrences the one is taken in whose sentence most of the other answers stand, then most words
// of the question, then the first. Faults name the file and the place in it, in splits that are not
// asked for as well.
Result<std::vector<SquadSample>> ReadSquad(std::string_view text, const std::string& file,
                                           SquadSplit split);

// One line of JSON, without the newline.
std::string ToJson(const SquadSample& sample);

}  // namespace onepass
