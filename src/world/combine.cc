#include "world/combine.h"

#include <array>
#include <cstddef>
#include <string_view>
#include <utility>

namespace onepass {
namespace {

// By relation: asks for the objects of the subjects {a} and {b}.
constexpr std::array<std::string_view, 14> kCombineTexts = {
    "For which company do {a} and {b} work?",
    "In which city do {a} and {b} live?",
    "In which city were {a} and {b} born?",
    "From whom did {a} and {b} learn?",
    "What is the job of {a} and {b}?",
    "What is the hobby of {a} and {b}?",
    "Which animal do {a} and {b} own?",
    "In which city are {a} and {b} based?",
    "Who founded {a} and {b}?",
    "What do {a} and {b} make?",
    "In which country are {a} and {b}?",
    "Who is the mayor of {a} and {b}?",
    "On which river do {a} and {b} stand?",
    "For which food are {a} and {b} known?"};

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

std::optional<Side> MakeSide(const std::vector<Fact>& facts, const Fact& fact, bool by_another_fact,
                             Rng& rng) {
  if (!by_another_fact) return Side{{fact}, fact.subject};
  const Fact* bridge = PickWhere(
      facts, [&](const Fact& other) { return other.object == fact.subject; }, rng);
  if (bridge == nullptr) return std::nullopt;
  return Side{{*bridge, fact}, ObjectPhrase(*bridge, rng)};
}

}  // namespace

std::optional<CombineQuestion> DrawCombineQuestion(const std::vector<Fact>& facts, int needed,
                                                   Rng& rng) {
  constexpr int kAttempts = 60;
  for (int attempt = 0; attempt < kAttempts && !facts.empty(); ++attempt) {
    const Fact& first = rng.Pick(facts);
    const bool chain_first = needed == 4 || (needed == 3 && rng.Chance(0.5));
    const bool chain_second = needed - 2 > static_cast<int>(chain_first);
    const auto fits = [&](const Fact& other) {
      return other.relation == first.relation && other.subject != first.subject &&
             other.object != first.object;
    };
    const Fact* second = PickWhere(facts, fits, rng);
    if (second == nullptr) continue;
    const std::optional<Side> left = MakeSide(facts, first, chain_first, rng);
    const std::optional<Side> right = MakeSide(facts, *second, chain_second, rng);
    if (!left || !right) continue;
    std::vector<Fact> support = left->support;
    support.insert(support.end(), right->support.begin(), right->support.end());
    if (!KeepsApart(support, first, *second)) continue;
    return CombineQuestion{
        Fill(kCombineTexts[static_cast<size_t>(first.relation)], left->words, right->words),
        std::move(support),
        {first.object + " and " + second->object, second->object + " and " + first.object}};
  }
  return std::nullopt;
}

}  // namespace onepass
