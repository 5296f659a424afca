#include "world/paths.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>
#include <utility>

namespace onepass {
namespace {

// By relation: the first step ({s} is the subject), a later step, and what the question's end asks
// for.
struct PathText {
  std::string_view opening;
  std::string_view clause;
  std::string_view ending;
};

constexpr std::array<PathText, 14> kPathTexts = {{
    {"{s} works for", "who works for", "which company"},
    {"{s} lives in", "who lives in", "which city"},
    {"{s} was born in", "who was born in", "which city"},
    {"{s} learned from", "who learned from", "which person"},
    {"The job of {s} is", "whose job is", "what"},
    {"The hobby of {s} is", "whose hobby is", "what"},
    {"The pet of {s} is", "whose pet is", "which animal"},
    {"{s} is based in", "that is based in", "which city"},
    {"{s} was founded by", "that was founded by", "which person"},
    {"{s} makes", "that makes", "which product"},
    {"{s} is a city in", "that is a city in", "which country"},
    {"The mayor of {s} is", "whose mayor is", "which person"},
    {"{s} stands on", "that stands on", "which river"},
    {"{s} is known for", "that is known for", "which food"},
}};

std::string_view EntityNoun(Kind kind) {
  if (kind == Kind::kPerson) return "a person";
  return kind == Kind::kCompany ? "a company" : "a city";
}

void Extend(const MicroWorld& world, size_t steps, std::vector<Fact>& path,
            std::vector<Question>& found) {
  if (path.size() == steps) {
    found.push_back({PathQuestionText(path), path, path.back().object});
    return;
  }
  for (const Fact& next : world.facts) {
    const bool follows = path.empty() || next.subject == path.back().object;
    const bool repeats = std::ranges::any_of(path, [&](const Fact& earlier) {
      return earlier.relation == next.relation || earlier.subject == next.object;
    });
    if (!follows || repeats) continue;
    path.push_back(next);
    Extend(world, steps, path, found);
    path.pop_back();
  }
}

}  // namespace

std::string PathQuestionText(const std::vector<Fact>& path) {
  std::string text;
  for (size_t i = 0; i < path.size(); ++i) {
    const PathText& words = kPathTexts[static_cast<size_t>(path[i].relation)];
    if (i == 0) {
      text = words.opening;
      text.replace(text.find("{s}"), 3, path[0].subject);
    } else {
      text.append(1, ' ').append(words.clause);
    }
    const bool last = i + 1 == path.size();
    text.append(1, ' ').append(last ? words.ending : EntityNoun(ObjectKind(path[i].relation)));
  }
  return text + '?';
}

std::vector<Question> DrawPathQuestions(const MicroWorld& world, int steps, Rng& rng) {
  std::vector<Question> found;
  std::vector<Fact> path;
  Extend(world, static_cast<size_t>(steps), path, found);
  rng.Shuffle(found);
  return found;
}

}  // namespace onepass
