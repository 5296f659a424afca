// Questions of several facts: paths, and those that combine.
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "world/combine.h"
#include "world/facts.h"
#include "world/paths.h"

namespace onepass {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

MicroWorld TestWorld(uint64_t seed) {
  Rng rng(seed);
  return DrawMicroWorld({.split = Split::kTest,
                         .person_count = 4,
                         .company_count = 3,
                         .city_count = 3,
                         .fact_count = 30},
                        rng);
}

TEST(Paths, TheQuestionSpeaksInTheWordsOfTheFacts) {
  const std::vector<Fact> path = {{Relation::kMentor, "Maria Bolton", "Tom Reed"},
                                  {Relation::kWorksFor, "Tom Reed", "Amber Forge"},
                                  {Relation::kBasedIn, "Amber Forge", "New York"},
                                  {Relation::kMayor, "New York", "Eva Stone"},
                                  {Relation::kPet, "Eva Stone", "cat"}};
  EXPECT_EQ(PathQuestionText(path),
            "Maria Bolton learned from a person who works for a company that is based in a city "
            "whose mayor is a person whose pet is which animal?");
  EXPECT_EQ(PathQuestionText({path[3]}), "The mayor of New York is which person?");
  EXPECT_EQ(PathQuestionText({path[4]}), "The pet of Eva Stone is which animal?");
}

TEST(Paths, FollowingTheRelationsLeadsToTheAnswerAndNowhereElse) {
  std::vector<int> found(6);
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    const MicroWorld world = TestWorld(seed);
    std::map<std::pair<std::string, Relation>, std::set<std::string>> objects;
    for (const Fact& fact : world.facts) objects[{fact.subject, fact.relation}].insert(fact.object);
    std::set<std::string> texts;
    for (int steps = 1; steps <= 5; ++steps) {
      Rng rng(seed);
      for (const Question& question : DrawPathQuestions(world, steps, rng)) {
        ++found.at(static_cast<size_t>(steps));
        SCOPED_TRACE(question.text);
        ASSERT_EQ(question.support.size(), static_cast<size_t>(steps));
        std::string at = question.support[0].subject;
        std::set<std::string> visited = {at};
        std::set<Relation> relations;
        for (const Fact& step : question.support) {
          const std::set<std::string> next = objects[{at, step.relation}];
          ASSERT_EQ(next.size(), 1u);
          at = *next.begin();
          EXPECT_TRUE(visited.insert(at).second);
          EXPECT_TRUE(relations.insert(step.relation).second);
          EXPECT_THAT(question.text, Not(HasSubstr(at)));
        }
        EXPECT_EQ(at, question.answer);
        EXPECT_TRUE(texts.insert(question.text).second);
      }
    }
  }
  for (size_t steps = 1; steps <= 5; ++steps) EXPECT_GT(found[steps], 100) << steps;
}

TEST(Combine, TheAnswerFollowsFromTheFacts) {
  for (int needed = 2; needed <= 4; ++needed) {
    int found = 0;
    for (uint64_t seed = 1; seed <= 300; ++seed) {
      Rng rng(seed);
      const std::optional<CombineQuestion> question =
          DrawCombineQuestion(TestWorld(seed % 50).facts, needed, rng);
      if (!question) continue;
      ++found;
      SCOPED_TRACE(question->text);
      const std::vector<Fact>& support = question->support;
      EXPECT_EQ(support.size(), static_cast<size_t>(needed));
      std::vector<Fact> asked;
      for (size_t i = 0; i < support.size(); ++i) {
        const bool leads = i + 1 < support.size() && support[i + 1].subject == support[i].object;
        const bool reached = i > 0 && support[i - 1].object == support[i].subject;
        EXPECT_EQ(question->text.find(support[i].subject) == std::string::npos, reached);
        if (!leads) asked.push_back(support[i]);
      }
      ASSERT_EQ(asked.size(), 2u);
      EXPECT_EQ(asked[0].relation, asked[1].relation);
      const std::string& left = asked[0].object;
      const std::string& right = asked[1].object;
      EXPECT_NE(left, right);
      EXPECT_EQ(question->answers,
                (std::vector<std::string>{left + " and " + right, right + " and " + left}));
      EXPECT_THAT(question->text, Not(HasSubstr(left)));
      EXPECT_THAT(question->text, Not(HasSubstr(right)));
    }
    EXPECT_GT(found, 100) << needed;
  }
}

TEST(Combine, FactsThatAnswerNothingGiveNoQuestion) {
  const std::vector<Fact> pets = {{Relation::kPet, "Maria Bolton", "cat"},
                                  {Relation::kPet, "Tom Reed", "dog"}};
  Rng rng(1);
  EXPECT_TRUE(DrawCombineQuestion(pets, 2, rng));
  EXPECT_FALSE(DrawCombineQuestion(pets, 3, rng));
  EXPECT_FALSE(DrawCombineQuestion({pets[0]}, 2, rng));
  EXPECT_FALSE(DrawCombineQuestion({}, 2, rng));
}

}  // namespace
}  // namespace onepass
