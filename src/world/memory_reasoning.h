// Memory & reasoning: reason(question) -> memory(start of a fact; documents) -> reason ... until
// the reasoner concludes. The question follows a path of one to five facts (paths.h). Only the
// memory reads the documents; the reasoner sees the question, perhaps a note, and what was
// recalled.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "world/rounds.h"
#include "world/vocabulary.h"

namespace onepass {

struct MemoryReasoningSample {
  std::string shared_input;  // I_ALL: the question, behind a note and a newline in some samples
  std::string documents;     // I_B: four or five documents with 12 to 16 sentences
  std::vector<Round> recalls;
  std::string conclusion;  // the reasoner's last output: " [The answer is] " and the answer
  std::vector<std::string> answers;
  int hops = 1;  // facts on the question's path
};

// Every number of recalls from 0 to 5 is as likely as the others. Where the recalls are fewer than
// the hops, the note is the first fact of the path; other notes are of no use. Sample `index` of
// (split, seed) depends on nothing else.
MemoryReasoningSample MakeMemoryReasoningSample(Split split, uint64_t seed, int64_t index);

// One line of JSON, without the newline.
std::string ToJson(const MemoryReasoningSample& sample);

}  // namespace onepass
