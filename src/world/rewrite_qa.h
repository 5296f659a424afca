// Query rewriting & QA: rewrite(notes, question) -> [retrieve] -> answer(documents). The question
// goes through an entity that it does not name, and the document that answers it is that entity's:
// it holds no name of the question. Only the notes, read together with the question, say what to
// look for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "world/corpus.h"

namespace onepass {

struct RewriteQaSample {
  std::string shared_input;  // I_ALL: two or three notes, seldom one; a newline; the question
  std::string query;         // O_A: the start of the second fact, which names its subject
  std::string documents;     // what this query finds: the right document, then two with like names
  std::string answer;        // O_B
  std::string fact;          // query, answer and a stop: the answer as a whole sentence
  std::vector<std::string> answers;
  std::vector<std::string> gold_documents;  // the id of the right one
};

// Sample `index` of (split, seed) depends on nothing else. REQUIRES: corpus is of (split, seed).
RewriteQaSample MakeRewriteQaSample(const Corpus& corpus, Split split, uint64_t seed,
                                    int64_t index);

// One line of JSON, without the newline.
std::string ToJson(const RewriteQaSample& sample);

}  // namespace onepass
