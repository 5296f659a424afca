// A large world in documents for chains that retrieve: every person, company and city has its facts
// once, in one document of its own, and every entity that a fact names has a document too. Knows no
// task.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/rng.h"
#include "world/facts.h"
#include "world/vocabulary.h"

namespace onepass {

struct CorpusDocument {
  std::string id;     // "amber-forge"
  std::string title;  // "Amber Forge", the subject of its facts
  std::string text;   // "About Amber Forge: Amber Forge makes lamps. ...", mostly paraphrased
  std::vector<Fact> facts;
};

// One for every (split, seed). Immutable once made.
class Corpus {
 public:
  // Draws 390 people, 140 companies and 60 cities: about what the smallest split has names for
  // (validation: 426, 151, 60). A person has five facts, a company three, a city four. No two names
  // of one document share a word; among all names that cannot be, but words are dealt evenly.
  Corpus(Split split, uint64_t seed);

  const std::vector<CorpusDocument>& documents() const { return documents_; }
  const std::vector<Fact>& facts() const { return facts_; }
  // REQUIRES: an entity of this corpus.
  const CorpusDocument& DocumentOf(std::string_view title) const;

 private:
  std::vector<CorpusDocument> documents_;  // in random order
  std::vector<Fact> facts_;                // in the order of the documents
  std::map<std::string, size_t, std::less<>> places_;
};

}  // namespace onepass
