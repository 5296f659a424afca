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

std::vector<CombineQuestion> CombineQuestions() {
  std::vector<CombineQuestion> questions;
  for (uint64_t seed = 1; seed <= 1500; ++seed) {
    Rng rng(seed);
    std::optional<CombineQuestion> question = DrawCombineQuestion(TestWorld(seed % 50).facts, rng);
    if (question) questions.push_back(std::move(*question));
  }
  return questions;
}

TEST(Combine, TheAnswerFollowsFromTheFacts) {
  const std::vector<CombineQuestion> questions = CombineQuestions();
  ASSERT_GT(questions.size(), 500u);
  int three = 0;
  for (const CombineQuestion& question : questions) {
    SCOPED_TRACE(question.text);
    std::vector<Fact> asked;
    for (size_t i = 0; i < question.support.size(); ++i) {
      const Fact& fact = question.support[i];
      const bool leads =
          i + 1 < question.support.size() && question.support[i + 1].subject == fact.object;
      const bool reached = i > 0 && question.support[i - 1].object == fact.subject;
      EXPECT_EQ(question.text.find(fact.subject) == std::string::npos, reached);
      if (!leads) asked.push_back(fact);
    }
    three += question.support.size() == 3;
    ASSERT_EQ(asked.size(), 2u);
    EXPECT_EQ(asked[0].relation, asked[1].relation);
    const std::string& left = asked[0].object;
    const std::string& right = asked[1].object;
    if (question.compares) {
      EXPECT_EQ(question.answers, std::vector<std::string>{left == right ? "yes" : "no"});
    } else {
      EXPECT_NE(left, right);
      EXPECT_EQ(question.answers,
                (std::vector<std::string>{left + " and " + right, right + " and " + left}));
    }
    EXPECT_THAT(question.text, Not(HasSubstr(left)));
    EXPECT_THAT(question.text, Not(HasSubstr(right)));
  }
  EXPECT_GT(three, 100);
}

TEST(Combine, FactsThatAnswerNothingGiveNoQuestion) {
  Rng rng(1);
  EXPECT_FALSE(DrawCombineQuestion({}, rng));
  EXPECT_FALSE(DrawCombineQuestion({{Relation::kPet, "Maria Bolton", "cat"}}, rng));
}

}  // namespace
}  // namespace onepass
