// Active RAG: plan -> [retrieve] -> answer(documents) -> plan ... -> combine. The question asks for
// two objects together (combine.h). Where another fact tells a subject, the question does not name
// the document about it: what was retrieved before does.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "world/corpus.h"
#include "world/rounds.h"

namespace onepass {

struct ActiveRagSample {
  std::string shared_input;       // I_ALL: the question
  std::vector<Round> retrievals;  // the start is the query; the document mostly has other words
  std::string last_plan;          // the planner's last output: " [Combine]"
  std::string answer;             // O_C
  std::vector<std::string> answers;
  std::vector<std::string> gold_documents;  // ids, one a retrieval, in their order
};

// Two, three and four retrievals are equally likely. Sample `index` of (split, seed) depends on
// nothing else. REQUIRES: corpus is of (split, seed).
ActiveRagSample MakeActiveRagSample(const Corpus& corpus, Split split, uint64_t seed,
                                    int64_t index);

// One line of JSON, without the newline.
std::string ToJson(const ActiveRagSample& sample);

}  // namespace onepass
