// bAbI's question files as samples in the authors' format: compress the story to its supporting
// facts, then answer. (babi_trace.h makes traces of several rounds of them.) Reads the file's text
// only; knows no chain and writes no file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace onepass {

enum class BabiSplit { kTrain, kValidation, kTest };
Result<BabiSplit> ParseBabiSplit(std::string_view name);  // "train", "validation", "test"

struct BabiOptions {
  int task = 1;  // 1 to 20; goes into each sample
  BabiSplit split = BabiSplit::kTrain;
  int64_t last_sentences = 0;  // keep only the end of longer stories; 0: keep all

  Status Validate() const;
};

// One question. Sentences and outputs begin with a space, as in the generated world's samples.
// Facts are in the file's order: that of reasoning, or, where all that happened to somebody counts,
// mostly the story's.
struct BabiSample {
  int task = 1;
  std::string question;            // I_ALL
  std::string story;               // I_A: the sentences before the question
  std::vector<std::string> facts;  // O_A, joined: the supporting sentences, in the file's order
  std::string answer;              // O_B
};

// Lines are "ID SENTENCE" or "ID QUESTION<tab>ANSWER<tab>IDS"; ids start again at 1 with each
// story. The last 100 questions are the test split, the 100 before them validation, the rest train;
// a file of fewer than 300 questions is refused. Faults name file and line. At most 4096 lines a
// story.
Result<std::vector<BabiSample>> ReadBabi(std::string_view text, const std::string& file,
                                         const BabiOptions& options);

// One line of JSON, without the newline.
std::string ToJson(const BabiSample& sample);

}  // namespace onepass
