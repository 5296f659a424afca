// `onepass train` as a program: what it prints, where, and how it ends.
#include <algorithm>

#include "program.h"
#include "train_fixture.h"

namespace onepass {
namespace {

int64_t LineCount(const std::string& text) { return std::ranges::count(text, '\n'); }

class TrainCommand : public ::testing::Test {
 protected:
  TrainCommand()
      : folder_(std::string("command_") +
                ::testing::UnitTest::GetInstance()->current_test_info()->name()) {}

  Outcome Run(const std::string& arguments) const {
    return RunOnepass("train " + folder_.Path("a.yaml") + " " + arguments);
  }

  TrainFolder folder_;
};

TEST_F(TrainCommand, OnAPipeItPrintsPlainLinesAndTheResult) {
  const Outcome outcome = Run("max_steps=4 log_every=2 validate_every=4");
  EXPECT_EQ(outcome.exit_code, 0);
  std::istringstream stream(outcome.output);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  ASSERT_EQ(lines.size(), 5U) << outcome.output;
  EXPECT_EQ(lines[0], "training a prompt [6, 32] on 24 samples (5 for validation), 4 steps");
  EXPECT_TRUE(lines[1].starts_with("step 2/4")) << lines[1];
  EXPECT_TRUE(lines[2].starts_with("step 4/4")) << lines[2];
  EXPECT_TRUE(lines[3].starts_with("step 4  validation loss ")) << lines[3];
  EXPECT_NE(lines[4].find("/a: 4 steps, loss "), std::string::npos) << lines[4];
  EXPECT_EQ(outcome.output.find_first_of("\r\033"), std::string::npos);
}

TEST_F(TrainCommand, QuietPrintsTheResultOnly) {
  const Outcome outcome = Run("max_steps=2 --quiet");
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(LineCount(outcome.output), 1) << outcome.output;
  EXPECT_NE(outcome.output.find(": 2 steps, loss "), std::string::npos) << outcome.output;
}

TEST_F(TrainCommand, AFaultIsOneLine) {
  folder_.Write("train.jsonl", "{}\n");
  const Outcome outcome = Run("");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(LineCount(outcome.output), 1) << outcome.output;
  EXPECT_NE(outcome.output.find("train.jsonl: record 1"), std::string::npos) << outcome.output;
  EXPECT_EQ(RunOnepass("train " + folder_.Path("none.yaml")).exit_code, 1);
}

TEST_F(TrainCommand, AnUnknownKeyIsRefusedBeforeAnythingIsWritten) {
  const Outcome outcome = Run("learning_rat=1");
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(LineCount(outcome.output), 1) << outcome.output;
  EXPECT_NE(outcome.output.find("did you mean \"learning_rate\"?"), std::string::npos)
      << outcome.output;
  EXPECT_FALSE(std::filesystem::exists(folder_.Path("a")));
}

TEST_F(TrainCommand, WrongUsageEndsWithTwo) {
  EXPECT_EQ(RunOnepass("train").exit_code, 2);
  EXPECT_EQ(Run("--no-such-flag").exit_code, 2);
  EXPECT_EQ(Run("--on-error never").exit_code, 2);
}

TEST_F(TrainCommand, RestartBeginsAnewWhereAnotherRecipeWasRefused) {
  ASSERT_EQ(Run("max_steps=2 --quiet").exit_code, 0);
  const Outcome refused = Run("max_steps=3");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.output.find("--restart begins anew"), std::string::npos) << refused.output;
  const Outcome again = Run("max_steps=3 --restart");
  EXPECT_EQ(again.exit_code, 0) << again.output;
  EXPECT_NE(again.output.find("validation), 3 steps\n"), std::string::npos) << again.output;
  EXPECT_EQ(folder_.Losses("a").size(), 4U);  // three steps and the validation at the end
}

TEST_F(TrainCommand, AFaultyRecordIsLeftOutWithAWarningWhereAskedFor) {
  folder_.Write("train.jsonl", folder_.Read("train.jsonl") + "{}\n");
  const Outcome outcome = Run("max_steps=1 --quiet --on-error skip");
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_NE(outcome.output.find("onepass: warning: "), std::string::npos) << outcome.output;
  EXPECT_NE(outcome.output.find("left out 1 faulty records"), std::string::npos) << outcome.output;
}

}  // namespace
}  // namespace onepass
