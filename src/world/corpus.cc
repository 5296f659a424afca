#include "world/corpus.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

namespace onepass {
namespace {

constexpr size_t kFactsOfAPerson = 5;  // of seven; companies and cities have all of theirs

struct Group {
  Kind kind;
  size_t count;
};
constexpr std::array<Group, 3> kGroups = {
    {{Kind::kPerson, 390}, {Kind::kCompany, 140}, {Kind::kCity, 60}}};

// New names of a kind. Of several candidates each time the one whose words were used least.
std::vector<std::string> DealNames(const Group& group, Split split, Rng& rng) {
  constexpr int kCandidates = 8;
  std::map<std::string, int> uses;
  std::set<std::string> taken;
  std::vector<std::string> names;
  while (names.size() < group.count) {
    std::string best;
    int best_uses = 0;
    for (int i = 0; i < kCandidates; ++i) {
      std::string name = RandomName(group.kind, split, rng);
      if (taken.contains(name)) continue;
      const size_t space = name.find(' ');
      const int name_uses = uses[name.substr(0, space)] + uses[name.substr(space + 1)];
      if (best.empty() || name_uses < best_uses) {
        best = std::move(name);
        best_uses = name_uses;
      }
    }
    if (best.empty()) continue;
    const size_t space = best.find(' ');
    ++uses[best.substr(0, space)];
    ++uses[best.substr(space + 1)];
    taken.insert(best);
    names.push_back(std::move(best));
  }
  return names;
}

std::string IdOf(std::string_view title) {
  std::string id;
  for (const char c : title) {
    const bool capital = c >= 'A' && c <= 'Z';
    id += c == ' ' ? '-' : capital ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return id;
}

std::vector<Relation> DealRelations(Kind kind, Rng& rng) {
  std::vector<Relation> relations = RelationsOf(kind);
  rng.Shuffle(relations);
  if (kind == Kind::kPerson) relations.resize(kFactsOfAPerson);
  return relations;
}

// "stands on the river" is rare enough to outweigh half of a name: a query with these words would
// find another city's document before one with bridges "over the Bann". So rivers are canonical.
std::string SentenceOf(const Fact& fact, Rng& rng) {
  return fact.relation == Relation::kRiver ? CanonicalSentence(fact)
                                           : ParaphrasedSentence(fact, rng);
}

}  // namespace

Corpus::Corpus(Split split, uint64_t seed) {
  constexpr uint64_t kStream = 0x636f72707573;  // apart from every sample's
  Rng rng = Rng(seed).Fork(kStream).Fork(static_cast<uint64_t>(split));
  std::map<Kind, std::vector<std::string>> names;
  for (const Group& group : kGroups) names[group.kind] = DealNames(group, split, rng);
  for (const Group& group : kGroups) {
    for (const std::string& title : names[group.kind]) {
      CorpusDocument document{IdOf(title), title, "", {}};
      std::vector<std::string> mentioned = {title};
      for (const Relation relation : DealRelations(group.kind, rng)) {
        const Kind wanted = ObjectKind(relation);
        std::string object;
        if (HasFacts(wanted)) {
          do {
            object = rng.Pick(names[wanted]);
          } while (std::ranges::any_of(
              mentioned, [&](const std::string& other) { return ShareAWord(object, other); }));
          mentioned.push_back(object);
        } else {
          object = RandomName(wanted, split, rng);
        }
        document.facts.push_back({relation, title, std::move(object)});
      }
      document.text = "About " + title + ':';
      for (const Fact& fact : document.facts) document.text += ' ' + SentenceOf(fact, rng);
      documents_.push_back(std::move(document));
    }
  }
  rng.Shuffle(documents_);
  for (size_t i = 0; i < documents_.size(); ++i) {
    places_[documents_[i].title] = i;
    facts_.insert(facts_.end(), documents_[i].facts.begin(), documents_[i].facts.end());
  }
}

const CorpusDocument& Corpus::DocumentOf(std::string_view title) const {
  return documents_[places_.find(title)->second];
}

}  // namespace onepass
