#include "world/step_formats.h"

#include <map>
#include <string>
#include <string_view>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "world/formats.h"

namespace onepass {
namespace {

using ::testing::AnyOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kStepSamples = 400;

Rng SampleOf(int number) { return Rng(5).Fork(static_cast<uint64_t>(number)); }

TEST(StepFormats, EachFactThatIsToldBeginsAsTheStepBeforeIt) {
  constexpr std::string_view kEnd = "<eos>";
  int steps = 0;
  for (int i = 0; i < kStepSamples; ++i) {
    Rng rng = SampleOf(i);
    const FormatSample sample = NextStepTurns({}, rng);
    for (size_t part = 1; part + 2 < sample.parts.size(); ++part) {
      if (!sample.parts[part].is_output) continue;
      std::string step = sample.parts[part].text;
      ASSERT_THAT(step, EndsWith(std::string(kEnd)));
      step.resize(step.size() - kEnd.size());
      if (step == " All facts are known.") {
        EXPECT_EQ(sample.parts[part + 1].text, "\nAnswer:");
        continue;
      }
      EXPECT_THAT(sample.parts[part + 1].text, HasSubstr(":" + step + ' '));
      ++steps;
    }
  }
  EXPECT_GT(steps, kStepSamples);
}

// "Susan" is one token of the base's vocabulary behind a space, three at the start of a line.
TEST(StepFormats, NoLineOfAQuestionBeginsWithAName) {
  int behind_a_space = 0;
  for (int i = 0; i < kStepSamples; ++i) {
    Rng rng = SampleOf(i);
    const FormatSample sample = NextStep({}, rng);
    const std::string prompt = '\n' + sample.parts[0].text;
    const std::string& step = sample.parts[1].text;
    EXPECT_THAT(prompt, Not(HasSubstr('\n' + step.substr(1))));
    behind_a_space += prompt.find('\n' + step) != std::string::npos;
  }
  EXPECT_GT(behind_a_space, 5);
}

TEST(StepFormats, ARecalledFactBeginsAsItsStart) {
  for (int i = 0; i < kStepSamples; ++i) {
    Rng rng = SampleOf(i);
    const FormatSample sample = Recall({}, rng);
    const std::string fact = sample.parts[1].text;
    const std::string start = fact.substr(0, fact.rfind(' ', fact.rfind(' ') - 1));
    EXPECT_THAT(sample.parts[0].text,
                AnyOf(HasSubstr("Sentence:" + start), HasSubstr("Start:" + start)));
  }
}

TEST(StepFormats, KnownFactsStandInTheOrderOfTheQuestion) {
  int in_order = 0;
  for (int i = 0; i < kStepSamples; ++i) {
    Rng rng = SampleOf(i);
    const FormatSample sample = Combine({}, rng);
    const std::string& answer = sample.parts[1].text;
    const size_t middle = answer.find(" and ");
    const std::string& prompt = sample.parts[0].text;
    in_order += prompt.find(answer.substr(0, middle)) < prompt.rfind(answer.substr(middle + 4));
  }
  EXPECT_GT(in_order, kStepSamples * 97 / 100);  // others may hold the same objects
}

TEST(StepFormats, AConclusionIsTheAnswerOrAStep) {
  int answers = 0;
  for (int i = 0; i < kStepSamples; ++i) {
    Rng rng = SampleOf(i);
    const std::string output = Conclude({}, rng).parts[1].text;
    if (!output.starts_with(" The answer is ")) continue;
    ++answers;
    EXPECT_THAT(output, EndsWith("."));
  }
  EXPECT_GT(answers, kStepSamples / 2);
  EXPECT_LT(answers, kStepSamples * 3 / 4);
}

TEST(StepFormats, CombiningNeedsTwoToFourFactsAllAsOften) {
  std::map<int, int> counts;
  for (int i = 0; i < kStepSamples; ++i) {
    Rng rng = SampleOf(i);
    const FormatPart output = Combine({}, rng).parts[1];
    EXPECT_THAT(output.text, HasSubstr(" and "));
    ++counts[output.hops];
  }
  for (int needed = 2; needed <= 4; ++needed) EXPECT_GT(counts[needed], kStepSamples / 4) << needed;
  EXPECT_EQ(counts.size(), 3u);
}

}  // namespace
}  // namespace onepass
