#include "eval/summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace onepass {
namespace {

using ::testing::ElementsAre;

AnsweredQuestion Answered(double em, double f1, double ms) {
  AnsweredQuestion question;
  question.score = {.exact_match = em, .f1 = f1};
  question.accuracy = em;
  question.ms = ms;
  question.handoff_ms = ms / 10;
  question.recomputed_tokens = static_cast<int64_t>(ms);
  question.peak_kv_bytes = static_cast<int64_t>(1000 * ms);
  return question;
}

SuiteSpec Suite() {
  SuiteSpec suite;
  suite.task = "toy";
  suite.reference = "a";
  suite.methods = {{.method = "a"}, {.method = "b"}};
  return suite;
}

// Method a with one seed, b with two; question 3 is left out.
std::vector<AnsweredRun> Runs() {
  return {{.method = 0,
           .seed = 1,
           .questions = {Answered(1, 1, 1), Answered(0, 0.5, 2), Answered(0, 0, 99)}},
          {.method = 1,
           .seed = 1,
           .questions = {Answered(1, 1, 3), Answered(1, 1, 5), Answered(0, 0, 99)}},
          {.method = 1,
           .seed = 2,
           .questions = {Answered(0, 0.5, 3), Answered(1, 1, 5), Answered(0, 0, 99)}}};
}

const std::vector<DType> kKvTypes = {DType::kF32, DType::kI8};

TEST(Summary, HoldsMeansSpreadsAndTheLargestPeak) {
  const TaskResults results = Summarise(Suite(), kKvTypes, Runs(), {false, false, true}, 4);
  ASSERT_EQ(results.methods.size(), 2u);
  const MethodResult& a = results.methods[0];
  EXPECT_EQ(a.kv, "f32");
  EXPECT_EQ(a.n, 2);
  EXPECT_EQ(a.skipped, 4);
  EXPECT_EQ(a.em.mean, 50);
  EXPECT_EQ(a.f1.mean, 75);
  EXPECT_EQ(a.em.spread, std::nullopt);
  EXPECT_EQ(a.em.minus_reference, std::nullopt);
  EXPECT_EQ(a.em.interval, (Interval{0, 100}));
  EXPECT_FALSE(a.accuracy.has_value());
  const MethodResult& b = results.methods[1];
  EXPECT_EQ(b.kv, "int8");
  EXPECT_THAT(b.seeds, ElementsAre(1, 2));
  EXPECT_EQ(b.em.mean, 75);
  EXPECT_THAT(b.em.by_seed, ElementsAre(100, 50));
  EXPECT_EQ(b.em.spread, 35.3553);
  EXPECT_EQ(b.ms, 4);
  EXPECT_EQ(b.handoff_ms, 0.4);
  EXPECT_EQ(b.recomputed_tokens, 4);
  EXPECT_EQ(b.peak_kv_bytes, 5000);
  EXPECT_EQ(b.rounds, std::nullopt);
  // Both seeds of a question are drawn together: 50 and 100 are the questions' means.
  EXPECT_EQ(b.em.interval, (Interval{50, 100}));
  EXPECT_EQ(b.em.minus_reference, 25);
  EXPECT_EQ(b.em.minus_reference_interval, (Interval{-50, 100}));
  EXPECT_EQ(b.f1.minus_reference, 12.5);
}

TEST(Summary, AllRightAndOneQuestionHaveNoWidth) {
  std::vector<AnsweredRun> runs = Runs();
  for (AnsweredRun& run : runs) run.questions.assign(7, Answered(1, 1, 1));
  TaskResults results = Summarise(Suite(), kKvTypes, runs, std::vector<bool>(7), 0);
  EXPECT_EQ(results.methods[1].em.interval, (Interval{100, 100}));
  EXPECT_EQ(results.methods[1].em.minus_reference_interval, (Interval{0, 0}));
  results = Summarise(Suite(), kKvTypes, Runs(), {true, false, true}, 2);
  EXPECT_EQ(results.methods[0].em.interval, (Interval{0, 0}));
  EXPECT_EQ(results.methods[1].em.minus_reference_interval, (Interval{100, 100}));
}

TEST(Summary, AccuracyIsThereWhereItIsTheMetric) {
  SuiteSpec suite = Suite();
  suite.metric = Metric::kAccuracy;
  suite.reference.clear();
  std::vector<AnsweredRun> runs = Runs();
  runs[0].questions[1].accuracy = 1;  // an answer that is right by its label
  for (AnsweredRun& run : runs) {
    for (AnsweredQuestion& question : run.questions) question.rounds = 2;
  }
  const TaskResults results = Summarise(suite, kKvTypes, runs, {false, false, true}, 0);
  ASSERT_TRUE(results.methods[0].accuracy.has_value());
  EXPECT_EQ(results.methods[0].accuracy->mean, 100);
  EXPECT_EQ(results.methods[0].em.mean, 50);
  EXPECT_EQ(results.methods[0].accuracy->minus_reference, std::nullopt);
  EXPECT_EQ(results.methods[0].rounds, 2);
}

}  // namespace
}  // namespace onepass
