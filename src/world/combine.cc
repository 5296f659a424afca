#include "world/combine.h"

#include <array>
#include <cstddef>
#include <string_view>
#include <utility>

namespace onepass {
namespace {

// By relation, {a} and {b} are the subjects: asks for both objects; asks whether they are the same.
struct CombineText {
  std::string_view both;
  std::string_view same;
};

constexpr std::array<CombineText, 14> kCombineTexts = {{
    {"For which company do {a} and {b} work?", "Do {a} and {b} work for the same company?"},
    {"In which city do {a} and {b} live?", "Do {a} and {b} live in the same city?"},
    {"In which city were {a} and {b} born?", "Were {a} and {b} born in the same city?"},
    {"From whom did {a} and {b} learn?", "Did {a} and {b} learn from the same person?"},
    {"What is the job of {a} and {b}?", "Do {a} and {b} have the same job?"},
    {"What is the hobby of {a} and {b}?", "Do {a} and {b} have the same hobby?"},
    {"Which animal do {a} and {b} own?", "Do {a} and {b} own the same animal?"},
    {"In which city are {a} and {b} based?", "Are {a} and {b} based in the same city?"},
    {"Who founded {a} and {b}?", "Do {a} and {b} have the same founder?"},
    {"What do {a} and {b} make?", "Do {a} and {b} make the same product?"},
    {"In which country are {a} and {b}?", "Are {a} and {b} in the same country?"},
    {"Who is the mayor of {a} and {b}?", "Do {a} and {b} have the same mayor?"},
    {"On which river do {a} and {b} stand?", "Do {a} and {b} stand on the same river?"},
    {"For which food are {a} and {b} known?", "Are {a} and {b} known for the same food?"},
}};

std::string Fill(std::string_view pattern, std::string_view left, std::string_view right) {
  std::string text(pattern);
  text.replace(text.find("{a}"), 3, left);
  text.replace(text.find("{b}"), 3, right);
  return text;
}

bool Conflict(const std::string& left, const std::string& right) {
  return left != right && ShareAWord(left, right);
}

// No two names of these facts look alike, and neither object of the two that are asked for names a
// subject.
bool KeepsApart(const std::vector<Fact>& facts, const Fact& first, const Fact& second) {
  for (const Fact& fact : facts) {
    if (fact.subject == first.object || fact.subject == second.object) return false;
  }
  for (size_t i = 0; i < facts.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const Fact& a = facts[i];
      const Fact& b = facts[j];
      if (a.subject == b.subject || Conflict(a.subject, b.subject) ||
          Conflict(a.subject, b.object) || Conflict(a.object, b.subject) ||
          Conflict(a.object, b.object)) {
        return false;
      }
    }
  }
  return true;
}

// One of the facts that `holds`, or null.
template <typename Predicate>
const Fact* PickWhere(const std::vector<Fact>& facts, const Predicate& holds, Rng& rng) {
  std::vector<const Fact*> found;
  for (const Fact& fact : facts) {
    if (holds(fact)) found.push_back(&fact);
  }
  return found.empty() ? nullptr : rng.Pick(found);
}

// What is asked about: a fact whose subject stands in the question by its name, or by another fact.
struct Side {
  std::vector<Fact> support;
  std::string words;
};

bool MakeSide(const std::vector<Fact>& facts, const Fact& fact, bool by_another_fact, Rng& rng,
              Side& side) {
  side = {{fact}, fact.subject};
  if (!by_another_fact) return true;
  const Fact* bridge = PickWhere(
      facts, [&](const Fact& other) { return other.object == fact.subject; }, rng);
  if (bridge == nullptr) return false;
  side = {{*bridge, fact}, ObjectPhrase(*bridge, rng)};
  return true;
}

}  // namespace

std::optional<CombineQuestion> DrawCombineQuestion(const std::vector<Fact>& facts, Rng& rng) {
  constexpr int kAttempts = 60;
  const bool compares = rng.Chance(0.5);
  const bool same = compares && rng.Chance(0.5);
  const bool chained = rng.Chance(0.5);
  for (int attempt = 0; attempt < kAttempts && !facts.empty(); ++attempt) {
    const Fact& first = rng.Pick(facts);
    const bool chain_first = chained && rng.Chance(0.5);
    const auto fits = [&](const Fact& other) {
      return other.relation == first.relation && other.subject != first.subject &&
             (other.object == first.object) == same;
    };
    const Fact* second = PickWhere(facts, fits, rng);
    Side left;
    Side right;
    if (second == nullptr || !MakeSide(facts, first, chain_first, rng, left) ||
        !MakeSide(facts, *second, chained && !chain_first, rng, right)) {
      continue;
    }
    CombineQuestion question;
    question.support = left.support;
    question.support.insert(question.support.end(), right.support.begin(), right.support.end());
    if (!KeepsApart(question.support, first, *second)) continue;
    const CombineText& words = kCombineTexts[static_cast<size_t>(first.relation)];
    question.text = Fill(compares ? words.same : words.both, left.words, right.words);
    question.compares = compares;
    if (compares) {
      question.answers = {same ? "yes" : "no"};
    } else {
      question.answers = {first.object + " and " + second->object,
                          second->object + " and " + first.object};
    }
    return question;
  }
  return std::nullopt;
}

}  // namespace onepass
