#include "eval/answered_run.h"

#include <gtest/gtest.h>

namespace onepass {
namespace {

AnsweredRun Example() {
  AnsweredRun run;
  AnsweredQuestion& full = run.questions.emplace_back();
  full.line =
      "{\"number\":1,\"em\":1,\"f1\":0.1234567890123456,\"accuracy\":0.0,\"ms\":1.25,"
      "\"handoff_ms\":null,\"recomputed_tokens\":7,\"peak_kv_bytes\":4096,\"rounds\":3,"
      "\"tool_runs\":null,\"outputs\":[]}\n";
  AnsweredQuestion& fault = run.questions.emplace_back();
  fault.fault = "data: record 2: \"quoted\"\nlines";
  fault.line = FaultLine(2, fault.fault);
  return run;
}

TEST(AnsweredRun, WhatIsWrittenIsWhatIsRead) {
  const AnsweredRun run = Example();
  const auto read = ParseRun(RunToText("abc", run), "abc", 2);
  ASSERT_TRUE(read.has_value());
  ASSERT_EQ(read->size(), 2u);
  const AnsweredQuestion& full = (*read)[0];
  EXPECT_EQ(full.line, run.questions[0].line);
  EXPECT_EQ(full.fault, "");
  EXPECT_EQ(full.score.exact_match, 1);
  EXPECT_EQ(full.score.f1, 0.1234567890123456);
  EXPECT_EQ(full.ms, 1.25);
  EXPECT_EQ(full.handoff_ms, std::nullopt);
  EXPECT_EQ(full.recomputed_tokens, 7);
  EXPECT_EQ(full.peak_kv_bytes, 4096);
  EXPECT_EQ(full.rounds, 3);
  EXPECT_EQ(full.tool_runs, std::nullopt);
  EXPECT_EQ((*read)[1].fault, run.questions[1].fault);
}

TEST(AnsweredRun, AnythingElseIsNoRun) {
  const std::string text = RunToText("abc", Example());
  EXPECT_FALSE(ParseRun(text, "abd", 2).has_value());
  EXPECT_FALSE(ParseRun(text, "abc", 3).has_value());
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_FALSE(ParseRun(text.substr(0, size), "abc", 2).has_value()) << size;
    std::string changed = text;
    changed[size] = changed[size] == 'x' ? 'y' : 'x';
    EXPECT_FALSE(ParseRun(changed, "abc", 2).has_value()) << size;
  }
  AnsweredRun run = Example();
  for (const char* line : {"{}\n", "[]\n", "{\"fault\":1}\n", "x\n", "{\"fault\":\"\"}"}) {
    run.questions[1].line = line;
    EXPECT_FALSE(ParseRun(RunToText("abc", run), "abc", 2).has_value()) << line;
  }
}

}  // namespace
}  // namespace onepass
