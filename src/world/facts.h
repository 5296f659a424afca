// Random micro-worlds: a handful of entities and facts about them, and the sentences and questions
// that speak of them. Knows no task and no format. All functions are pure given the generator;
// thread-compatible.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/rng.h"
#include "world/vocabulary.h"

namespace onepass {

enum class Relation {
  kWorksFor,
  kLivesIn,
  kBornIn,
  kMentor,
  kProfession,
  kHobby,
  kPet,  // of a person
  kBasedIn,
  kFounder,
  kProduct,  // of a company
  kCountry,
  kMayor,
  kRiver,
  kDish  // of a city
};

// "subject has relation object". Every (subject, relation) occurs at most once in a micro-world, so
// answers are unique.
struct Fact {
  Relation relation;
  std::string subject;
  std::string object;

  bool operator==(const Fact&) const = default;
};

// A question, the facts that answer it in the order of reasoning (one or two), and the answer.
struct Question {
  std::string text;
  std::vector<Fact> support;
  std::string answer;
};

struct MicroWorldOptions {
  Split split = Split::kPretrain;
  bool names_alike = false;  // half of the names share one word with an earlier one
  int person_count = 3;      // entities that have facts, at least 1 in all
  int company_count = 2;
  int city_count = 2;
  int fact_count = 16;  // at most; fewer when the entities have fewer relations
};

struct MicroWorld {
  std::vector<std::string> entities;  // those with facts
  std::vector<Fact> facts;            // grouped by nothing, in random order
};

// Draws entities and facts. Unless asked for, no two names share a word ("Great Benton", "Little
// Benton"): a small reader tells names apart by a single word. Relations are dealt so that entities
// of one kind mostly share them: a question's relation then occurs with several subjects, and the
// wrong ones distract.
MicroWorld DrawMicroWorld(const MicroWorldOptions& options, Rng& rng);

// A sentence that states the fact. Canonical: the one wording that summaries use; else one of the
// paraphrases (the canonical wording included).
std::string CanonicalSentence(const Fact& fact);
std::string ParaphrasedSentence(const Fact& fact, Rng& rng);

// A question about one fact.
Question OneStepQuestion(const Fact& fact, Rng& rng);

// A question that goes through an entity: "In which city is the company that Maria Bolton works for
// based?". REQUIRES: the second fact's subject is the first one's object.
Question TwoStepQuestion(const Fact& first, const Fact& second, Rng& rng);

// "the mentor of Maria Bolton": names the object of a fact. REQUIRES: the object has facts of its
// own.
std::string ObjectPhrase(const Fact& fact, Rng& rng);

// Every question of this world with that many steps (1 or 2), in random order. A two-step question
// goes through an entity: "In which city is the company that Maria Bolton works for based?". Its
// answer is never its own subject.
std::vector<Question> DrawQuestions(const MicroWorld& world, int steps, Rng& rng);

// True when another fact has the same relation and another object: a distractor for this one.
bool HasDistractor(const MicroWorld& world, const Fact& fact);

// "Maria Bolton works for": the canonical sentence up to its object.
std::string SentenceStart(const Fact& fact);

// The relations of which such an entity is the subject.
std::vector<Relation> RelationsOf(Kind kind);

// True for equal names too.
bool ShareAWord(std::string_view left, std::string_view right);

// What kind of name stands on the right of this relation.
Kind ObjectKind(Relation relation);

}  // namespace onepass
