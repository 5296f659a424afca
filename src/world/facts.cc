#include "world/facts.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <utility>

namespace onepass {
namespace {

// {s} is the subject, {o} the object. statements[0] is canonical and ends in the object; two to
// four are filled. The subject always comes before the object: a causal reader then meets an object
// knowing whose it is. An empty phrase: the object has no facts of its own.
struct RelationText {
  Kind subject_kind;
  Kind object_kind;
  std::array<std::string_view, 4> statements;
  std::array<std::string_view, 2> questions;
  std::array<std::string_view, 2> phrases;
};

constexpr std::array<RelationText, 14> kRelations = {{
    {Kind::kPerson,
     Kind::kCompany,
     {"{s} works for {o}.", "{s} has a job at {o}.", "The employer of {s} is {o}.", ""},
     {"Which company does {s} work for?", "What is the employer of {s}?"},
     {"the company that {s} works for", "the employer of {s}"}},
    {Kind::kPerson,
     Kind::kCity,
     {"{s} lives in {o}.", "The home of {s} is in {o}.", "{s} has a house in {o}.",
      "{s} moved to {o} and lives there."},
     {"In which city does {s} live?", "Where is the home of {s}?"},
     {"the city where {s} lives", "the home city of {s}"}},
    {Kind::kPerson,
     Kind::kCity,
     {"{s} was born in {o}.", "The birthplace of {s} is {o}.", "{s} came to the world in {o}.", ""},
     {"In which city was {s} born?", "What is the birthplace of {s}?"},
     {"the city where {s} was born", "the birthplace of {s}"}},
    {Kind::kPerson,
     Kind::kPerson,
     {"{s} learned from {o}.", "The mentor of {s} was {o}.", "{s} had {o} as a mentor.", ""},
     {"Who was the mentor of {s}?", "From whom did {s} learn?"},
     {"the mentor of {s}", "the person from whom {s} learned"}},
    {Kind::kPerson,
     Kind::kProfession,
     {"The job of {s} is {o}.", "{s} earns money as a {o}.", "By profession {s} is a {o}.",
      "People know {s} as a {o}."},
     {"What is the job of {s}?", "What is the profession of {s}?"},
     {"", ""}},
    {Kind::kPerson,
     Kind::kHobby,
     {"The hobby of {s} is {o}.", "{s} likes {o}.", "{s} spends free days with {o}.",
      "In the evening {s} enjoys {o}."},
     {"What is the hobby of {s}?", "What does {s} like to do?"},
     {"", ""}},
    {Kind::kPerson,
     Kind::kPet,
     {"The pet of {s} is a {o}.", "{s} owns a {o}.", "{s} keeps a {o}.", ""},
     {"Which animal is the pet of {s}?", "Which animal does {s} own?"},
     {"", ""}},
    {Kind::kCompany,
     Kind::kCity,
     {"{s} is based in {o}.", "The main office of {s} is in {o}.", "{s} has its seat in {o}.", ""},
     {"In which city is {s} based?", "Where is the main office of {s}?"},
     {"the city where {s} is based", "the seat of {s}"}},
    {Kind::kCompany,
     Kind::kPerson,
     {"{s} was founded by {o}.", "The founder of {s} is {o}.", "", ""},
     {"Who founded {s}?", "Who is the founder of {s}?"},
     {"the founder of {s}", "the person who founded {s}"}},
    {Kind::kCompany,
     Kind::kProduct,
     {"{s} makes {o}.", "{s} sells {o} of its own.", "The product of {s} is {o}.", ""},
     {"What does {s} make?", "What is the product of {s}?"},
     {"", ""}},
    {Kind::kCity,
     Kind::kCountry,
     {"{s} is a city in {o}.", "{s} lies in {o}.", "{s} belongs to {o}.", ""},
     {"In which country is {s}?", "To which country does {s} belong?"},
     {"", ""}},
    {Kind::kCity,
     Kind::kPerson,
     {"The mayor of {s} is {o}.", "{s} has {o} as mayor.",
      "The people of {s} elected {o} as mayor.", ""},
     {"Who is the mayor of {s}?", "Who was elected mayor of {s}?"},
     {"the mayor of {s}", "the person elected mayor of {s}"}},
    {Kind::kCity,
     Kind::kRiver,
     {"{s} stands on the river {o}.", "{s} has bridges over the {o}.", "", ""},
     {"Which river runs through {s}?", "On which river does {s} stand?"},
     {"", ""}},
    {Kind::kCity,
     Kind::kDish,
     {"{s} is known for {o}.", "Visitors of {s} praise its {o}.", "{s} is famous for its {o}.", ""},
     {"For which food is {s} known?", "Which food made {s} famous?"},
     {"", ""}},
}};

const RelationText& TextOf(Relation relation) { return kRelations[static_cast<size_t>(relation)]; }

std::string Worded(std::string_view pattern, std::string_view subject, std::string_view object) {
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '{') {
      out += pattern[i + 1] == 's' ? subject : object;
      i += 2;
    } else {
      out += pattern[i];
    }
  }
  return out;
}

// The names of one micro-world.
class Names {
 public:
  Names(Split split, bool alike) : split_(split), alike_(alike) {}

  // A name of this kind that shares no word with an earlier one or, where names may be alike and
  // half of the time, one word with an earlier one of its kind. A pool holds several times the
  // words that a micro-world needs, so one is found soon.
  std::string Fresh(Kind kind, Rng& rng) {
    std::vector<std::string>& earlier = by_kind_[kind];
    const bool twin = alike_ && !earlier.empty() && rng.Chance(0.5);
    while (true) {
      std::string name = RandomName(kind, split_, rng);
      const size_t space = name.find(' ');
      const std::string first = name.substr(0, space);
      const std::string second = name.substr(space + 1);
      const auto used = used_words_.count(first) + used_words_.count(second);
      const bool fits = twin ? used == 1 && std::ranges::any_of(earlier,
                                                                [&](const auto& other) {
                                                                  return ShareAWord(other, name);
                                                                })
                             : used == 0;
      if (!fits) continue;
      used_words_.insert({first, second});
      earlier.push_back(name);
      return name;
    }
  }

 private:
  Split split_;
  bool alike_;
  std::set<std::string> used_words_;
  std::map<Kind, std::vector<std::string>> by_kind_;
};

}  // namespace

std::vector<Relation> RelationsOf(Kind kind) {
  std::vector<Relation> relations;
  for (size_t i = 0; i < kRelations.size(); ++i) {
    if (kRelations[i].subject_kind == kind) relations.push_back(static_cast<Relation>(i));
  }
  return relations;
}

bool ShareAWord(std::string_view left, std::string_view right) {
  const auto words = [](std::string_view name) {
    const size_t space = std::min(name.find(' '), name.size());
    return std::pair(name.substr(0, space), name.substr(std::min(space + 1, name.size())));
  };
  const auto [a, b] = words(left);
  const auto [c, d] = words(right);
  return a == c || a == d || (!b.empty() && (b == c || b == d));
}

Kind ObjectKind(Relation relation) { return TextOf(relation).object_kind; }

MicroWorld DrawMicroWorld(const MicroWorldOptions& options, Rng& rng) {
  constexpr double kObjectInside = 0.75;  // an entity object that has facts of its own
  MicroWorld world;
  std::vector<std::pair<std::string, Kind>> entities;
  Names names(options.split, options.names_alike);
  const std::array<std::pair<Kind, int>, 3> counts = {{{Kind::kPerson, options.person_count},
                                                       {Kind::kCompany, options.company_count},
                                                       {Kind::kCity, options.city_count}}};
  for (const auto& [kind, count] : counts) {
    for (int i = 0; i < count; ++i) entities.emplace_back(names.Fresh(kind, rng), kind);
  }
  for (const auto& [name, kind] : entities) world.entities.push_back(name);

  // Relation by relation in random order: all subjects of the kind receive it, until the facts are
  // enough.
  std::vector<Relation> order;
  for (const auto& [kind, count] : counts) {
    if (count == 0) continue;
    for (const Relation relation : RelationsOf(kind)) order.push_back(relation);
  }
  rng.Shuffle(order);
  for (const Relation relation : order) {
    for (const auto& [subject, kind] : entities) {
      if (kind != TextOf(relation).subject_kind) continue;
      if (static_cast<int>(world.facts.size()) >= options.fact_count) break;
      if (rng.Chance(0.1)) continue;
      std::vector<std::string> inside;
      const Kind wanted = TextOf(relation).object_kind;
      for (const auto& [name, other_kind] : entities) {
        if (other_kind == wanted && name != subject) inside.push_back(name);
      }
      std::string object;
      if (!HasFacts(wanted)) {
        object = RandomName(wanted, options.split, rng);
      } else if (!inside.empty() && rng.Chance(kObjectInside)) {
        object = rng.Pick(inside);
      } else {
        object = names.Fresh(wanted, rng);
      }
      world.facts.push_back({relation, subject, std::move(object)});
    }
  }
  rng.Shuffle(world.facts);
  return world;
}

std::string CanonicalSentence(const Fact& fact) {
  return Worded(TextOf(fact.relation).statements[0], fact.subject, fact.object);
}

std::string ParaphrasedSentence(const Fact& fact, Rng& rng) {
  const std::array<std::string_view, 4>& statements = TextOf(fact.relation).statements;
  const auto end = std::find(statements.begin(), statements.end(), "");
  const auto pick =
      static_cast<size_t>(rng.Uniform(static_cast<uint64_t>(end - statements.begin())));
  return Worded(statements[pick], fact.subject, fact.object);
}

std::string SentenceStart(const Fact& fact) {
  const std::string_view pattern = TextOf(fact.relation).statements[0];
  return Worded(pattern.substr(0, pattern.find("{o}") - 1), fact.subject, "");
}

Question OneStepQuestion(const Fact& fact, Rng& rng) {
  return {Worded(rng.Pick(TextOf(fact.relation).questions), fact.subject, ""), {fact}, fact.object};
}

std::string ObjectPhrase(const Fact& fact, Rng& rng) {
  return Worded(rng.Pick(TextOf(fact.relation).phrases), fact.subject, "");
}

Question TwoStepQuestion(const Fact& first, const Fact& second, Rng& rng) {
  const std::string phrase = ObjectPhrase(first, rng);
  const std::string_view pattern = rng.Pick(TextOf(second.relation).questions);
  return {Worded(pattern, phrase, ""), {first, second}, second.object};
}

std::vector<Question> DrawQuestions(const MicroWorld& world, int steps, Rng& rng) {
  std::vector<Question> questions;
  for (const Fact& first : world.facts) {
    if (steps == 1) {
      questions.push_back(OneStepQuestion(first, rng));
      continue;
    }
    if (!HasFacts(ObjectKind(first.relation))) continue;
    for (const Fact& second : world.facts) {
      if (second.subject != first.object || second.object == first.subject) continue;
      questions.push_back(TwoStepQuestion(first, second, rng));
    }
  }
  rng.Shuffle(questions);
  return questions;
}

bool HasDistractor(const MicroWorld& world, const Fact& fact) {
  return std::any_of(world.facts.begin(), world.facts.end(), [&](const Fact& other) {
    return other.relation == fact.relation && other.object != fact.object;
  });
}

}  // namespace onepass
