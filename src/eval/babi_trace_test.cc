#include "eval/babi_trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/file.h"

namespace onepass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

BabiSample Sample(int task, const std::string& question, std::vector<std::string> facts,
                  const std::string& answer) {
  return {.task = task,
          .question = question,
          .story = " A story.",
          .facts = std::move(facts),
          .answer = " " + answer};
}

std::vector<std::string> Wanted(const BabiTrace& trace) {
  std::vector<std::string> wanted;
  for (const BabiRound& round : trace.rounds) wanted.push_back(round.wanted);
  return wanted;
}

TEST(BabiTrace, AFactLeadsToTheNextOne) {
  const BabiTrace trace = MakeBabiTrace(
      Sample(3, "Where was the key before the attic?",
             {" Ann dropped the key.", " Ann ran to the attic.", " Ann sat here."}, "cellar"));
  EXPECT_THAT(Wanted(trace),
              ElementsAre(" Find: the key before the attic", " Find: Ann", " Find: Ann"));
  EXPECT_EQ(trace.rounds[1].recalled, " Ann ran to the attic.");
  EXPECT_EQ(trace.conclusion, " [The answer is] cellar");
  EXPECT_THAT(trace.answers, ElementsAre("cellar"));
}

TEST(BabiTrace, OfAKindTheKindIsWantedNext) {
  const BabiTrace trace = MakeBabiTrace(Sample(
      15, "What is tom afraid of?", {" Tom is a hen.", " Hens are afraid of foxes."}, "fox"));
  EXPECT_THAT(Wanted(trace), ElementsAre(" Find: tom afraid of", " Find: hen"));
}

TEST(BabiTrace, ListsEndWhenTheMemoryHasNothingMore) {
  const BabiTrace trace =
      MakeBabiTrace(Sample(7, "How many objects is Ann carrying?",
                           {" Bob gave the key to Ann.", " Ann dropped the key."}, "none"));
  EXPECT_THAT(Wanted(trace),
              ElementsAre(" Find: Ann carrying", " Find: Ann carrying", " Find: Ann carrying"));
  EXPECT_EQ(trace.rounds[2].recalled, " Nothing more.");
}

TEST(BabiTrace, ListedAnswersAreAcceptedInAnyOrder) {
  const auto answers = [](const std::string& answer) {
    return MakeBabiTrace(Sample(8, "What is Ann carrying?", {" F."}, answer)).answers;
  };
  EXPECT_THAT(answers("b,a"), ElementsAre("b,a", "a,b"));
  EXPECT_EQ(answers("c,a,b").size(), 6u);
  EXPECT_EQ(answers("c,a,b").front(), "c,a,b");
  EXPECT_THAT(answers("a,b,c,d"), ElementsAre("a,b,c,d"));
}

TEST(BabiTrace, OddQuestionsAreAskedWhole) {
  EXPECT_THAT(Wanted(MakeBabiTrace(Sample(1, "Who?", {" .", " Ann."}, "Ann"))),
              ElementsAre(" Find: Who", " Find:  ."));
  EXPECT_THAT(Wanted(MakeBabiTrace(Sample(1, "Where it is?", {" F."}, "a"))),
              ElementsAre(" Find: Where it is"));
}

TEST(BabiTrace, OtherTasksAreRefused) {
  for (const int task : {1, 2, 3, 7, 8, 15}) EXPECT_TRUE(CheckBabiTraceTask(task).ok()) << task;
  EXPECT_THAT(CheckBabiTraceTask(20).message(),
              HasSubstr("traces: want task 1, 2, 3, 7, 8 or 15, found 20"));
}

TEST(BabiTrace, JsonHasARoundAfterTheOther) {
  const auto json = nlohmann::ordered_json::parse(
      ToJson(MakeBabiTrace(Sample(1, "Where is Ann?", {" Ann ran home."}, "home"))));
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) keys.push_back(key);
  EXPECT_THAT(keys,
              ElementsAre("I_ALL", "I_B", "O_1A", "O_1B", "O_2A", "answer", "answers", "task"));
  EXPECT_EQ(json["answer"], " home");
  EXPECT_EQ(json["O_2A"], " [The answer is] home");
}

// The number of rounds of each question of the real files, as counted apart from this code.
TEST(BabiTrace, TheRealTasksHaveTheirSupportingFactsInRounds) {
  const std::string folder = ONEPASS_SOURCE_DIR "/../shared/data/babi";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no bAbI files in " << folder;
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    const int task = std::atoi(name.c_str() + 2);
    if (!CheckBabiTraceTask(task).ok()) continue;
    SCOPED_TRACE(name);
    ++files;
    const Result<std::string> text = ReadFile(entry.path().string());
    ASSERT_TRUE(text.ok()) << text.status().message();
    size_t questions = 0;
    size_t rounds = 0;
    for (const BabiSplit split : {BabiSplit::kTrain, BabiSplit::kValidation, BabiSplit::kTest}) {
      const auto samples = ReadBabi(*text, name, {.task = task, .split = split});
      ASSERT_TRUE(samples.ok()) << samples.status().message();
      questions += samples->size();
      for (const BabiSample& sample : *samples) {
        const BabiTrace trace = MakeBabiTrace(sample);
        rounds += trace.rounds.size();
        for (const BabiRound& round : trace.rounds) {
          EXPECT_GT(round.wanted.size(), std::string(" Find: ").size());
        }
        EXPECT_LE(trace.rounds.size(), 9u);
      }
    }
    EXPECT_EQ(questions, 1000u);
    // Tasks 7 and 8: one round more than facts.
    const std::map<int, size_t> want = {{1, 1000},        {2, 2000},        {3, 3000},
                                        {7, 2269 + 1000}, {8, 2014 + 1000}, {15, 2000}};
    EXPECT_EQ(rounds, want.at(task));
  }
  EXPECT_EQ(files, 6);
}

}  // namespace
}  // namespace onepass
