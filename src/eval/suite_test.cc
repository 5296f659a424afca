#include "eval/suite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace onepass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kSuite[] = R"(
task: toy
data: ../out/test.jsonl
prompts: ../models/{seed}
aliases: answers
metric: hotpotqa
n: 20
seeds: [1, 7]
methods:
  - method: chain
    chain: chain.yaml
    handoff: text
    kv: int8
    prompts: {A: a, B: b}
    answer: B
  - method: distill
    chain: distill.yaml
    after: "\n"
)";

std::string SuiteFault(const std::string& yaml) {
  return ParseSuite(yaml, "d/s.yaml").status().message();
}

TEST(Suite, SaysWhatItsFileSays) {
  const Result<SuiteSpec> suite = ParseSuite(kSuite, "d/s.yaml");
  ASSERT_TRUE(suite.ok()) << suite.status().message();
  EXPECT_EQ(suite->task, "toy");
  EXPECT_EQ(suite->data, "out/test.jsonl");
  EXPECT_EQ(suite->gold, "O_B");
  EXPECT_EQ(suite->aliases, "answers");
  EXPECT_EQ(suite->metric, Metric::kHotpotQa);
  EXPECT_EQ(suite->batch, 1);
  EXPECT_EQ(suite->figure, 0);
  EXPECT_EQ(suite->n, 20);
  EXPECT_THAT(suite->seeds, ElementsAre(1, 7));
  ASSERT_EQ(suite->methods.size(), 2u);
  const MethodSpec& chain = suite->methods[0];
  EXPECT_EQ(chain.chain, "d/chain.yaml");
  EXPECT_EQ(chain.handoff, Handoff::kText);
  EXPECT_EQ(PromptFolder(*suite, chain.prompts.at("B"), 7), "models/7/b");
  EXPECT_EQ(suite->methods[1].after, "\n");
  EXPECT_FALSE(suite->methods[1].handoff.has_value());
  EXPECT_EQ(chain.kv_dtype, DType::kI8);
  EXPECT_FALSE(suite->methods[1].kv_dtype.has_value());
}

TEST(Suite, FaultsNameFileLineAndKey) {
  const std::string head = "data: x\nmethods:\n  - ";
  EXPECT_THAT(SuiteFault("data: x\n"), HasSubstr("methods"));
  EXPECT_THAT(SuiteFault("data: x\nmethods: []\n"), HasSubstr("d/s.yaml: methods: want 1 to"));
  EXPECT_THAT(SuiteFault(head + "{method: m, chain: c}\nnumber: 3\n"), HasSubstr("number"));
  EXPECT_THAT(SuiteFault(head + "{method: m, chain: c, hand: kv}\n"), HasSubstr("hand"));
  // A mistyped key explains the one that is missing.
  EXPECT_THAT(SuiteFault(head + "{method: m, chian: c}\n"),
              HasSubstr("unknown key \"methods[0].chian\""));
  EXPECT_THAT(SuiteFault(head + "{method: m}\n"),
              HasSubstr("methods[0].chain: this key is needed"));
  EXPECT_THAT(SuiteFault(head + "{method: m, chain: c, handoff: kvv}\n"),
              HasSubstr("d/s.yaml:3: methods[0].handoff: want text, text-cached or kv"));
  EXPECT_THAT(SuiteFault(head + "{method: m, chain: c, kv: f16}\n"),
              HasSubstr("d/s.yaml:3: methods[0].kv: kv: want one of f32, bf16, int8, found"));
  EXPECT_THAT(SuiteFault(head + "{method: ../m, chain: c}\n"), HasSubstr("want letters, digits"));
  EXPECT_THAT(SuiteFault(head + "{method: m, chain: c}\n  - {method: m, chain: c}\n"),
              HasSubstr("methods[1].method: \"m\" stands twice"));
  EXPECT_THAT(SuiteFault(head + "{method: m, chain: c, prompts: {A: [1]}}\n"),
              HasSubstr("prompts.A: want a folder"));
  EXPECT_THAT(SuiteFault(head + "{method: m, chain: c}\nmetric: bleu\n"),
              HasSubstr("metric: want squad, hotpotqa or accuracy, found \"bleu\""));
  EXPECT_THAT(SuiteFault(head + "{method: m, chain: c}\nseeds: [1, x]\n"),
              HasSubstr("seeds: want"));
  EXPECT_THAT(SuiteFault(head + "{method: m, chain: c}\nseeds: [2, 2]\n"),
              HasSubstr("2 stands twice"));
  EXPECT_THAT(SuiteFault(head + "{method: m, chain: c}\nseeds: []\n"),
              HasSubstr("seeds: want 1 to"));
}

constexpr char kMethod[] =
    "data: x\nmethods:\n  - {method: m, chain: c}\n  - {method: k, chain: c}\n";

TEST(Suite, HoldsWhatAReportNeeds) {
  const Result<SuiteSpec> suite =
      ParseSuite(std::string(kMethod) +
                     "metric: accuracy\nchoices: ABCDE\nbatch: 8\nreference: k\nfigure: 4\n"
                     "paper_metrics: [EM, F1]\n"
                     "paper:\n  - {name: \"Hotpot <3>\", values: {m: [14.4, 22.8], k: [0, 100]}}\n"
                     "  - {name: NQ, metrics: [F1], values: {k: [2]}}\n",
                 "d/s.yaml");
  ASSERT_TRUE(suite.ok()) << suite.status().message();
  EXPECT_EQ(suite->metric, Metric::kAccuracy);
  EXPECT_EQ(RuleOf(suite->metric), AnswerRule::kSquad);
  EXPECT_EQ(suite->choices, "ABCDE");
  EXPECT_EQ(suite->batch, 8);
  EXPECT_EQ(suite->reference, "k");
  EXPECT_EQ(suite->figure, 4);
  ASSERT_EQ(suite->paper.size(), 2u);
  EXPECT_THAT(suite->paper[0].metrics, ElementsAre("EM", "F1"));
  EXPECT_THAT(suite->paper[1].metrics, ElementsAre("F1"));
  EXPECT_EQ(suite->paper[0].name, "Hotpot <3>");
  EXPECT_THAT(suite->paper[0].values.at("m"), ElementsAre(14.4, 22.8));
  EXPECT_EQ(suite->paper[1].values.count("m"), 0u);
}

TEST(Suite, RefusesWhatAReportCannotShow) {
  const std::string head = kMethod;
  EXPECT_THAT(SuiteFault(head + "batch: 0\n"), HasSubstr("d/s.yaml:5: batch: want"));
  EXPECT_THAT(SuiteFault(head + "figure: x\n"), HasSubstr("d/s.yaml:5: figure: want"));
  EXPECT_THAT(SuiteFault(head + "reference: z\n"),
              HasSubstr("reference: want a method of this suite, found \"z\""));
  EXPECT_THAT(SuiteFault(head + "choices: AB\n"),
              HasSubstr("choices: want metric accuracy beside it, found squad"));
  EXPECT_THAT(SuiteFault(head + "metric: accuracy\nchoices: ABA\n"),
              HasSubstr("choices: want 2 to 26 different capital letters"));
  const std::string paper = head + "paper_metrics: [EM]\npaper:\n  - ";
  EXPECT_THAT(SuiteFault(paper + "{name: NQ, values: {z: [1]}}\n"),
              HasSubstr("paper[0].values.z: want a method of this suite"));
  EXPECT_THAT(SuiteFault(paper + "{name: NQ, values: {m: [1, 2]}}\n"),
              HasSubstr("paper[0].values.m: want a number for each of its metrics (1), found 2"));
  for (const char* value : {"[x]", "[101]", "[-1]", "[nan]", "['1']", "[[1]]", "1"}) {
    EXPECT_THAT(SuiteFault(paper + "{name: NQ, values: {m: " + value + "}}\n"),
                HasSubstr("d/s.yaml:7: paper[0].values.m: want"))
        << value;
  }
  EXPECT_THAT(SuiteFault(paper + "{name: NQ}\n"), HasSubstr("paper[0].values: this key is needed"));
  EXPECT_THAT(SuiteFault(paper + "{name: NQ, values: {m: [1]}, x: 1}\n"),
              HasSubstr("unknown key \"paper[0].x\""));
}

TEST(Suite, AnswerFollowsTheLastMark) {
  EXPECT_EQ(ExtractAnswer(" facts\n more\n Oman ", "\n"), "Oman");
  EXPECT_EQ(ExtractAnswer(" Oman", "\n"), "Oman");
  EXPECT_EQ(ExtractAnswer("x Answer: y", "Answer:"), "y");
  EXPECT_EQ(ExtractAnswer(" a\nb ", ""), "a\nb");
  EXPECT_EQ(ExtractAnswer("facts\n", "\n"), "");
}

TEST(Suite, SeedsAreWholeNumbers) {
  EXPECT_THAT(*ParseSeeds("3,1,2"), ElementsAre(3, 1, 2));
  EXPECT_FALSE(ParseSeeds("").ok());
  EXPECT_FALSE(ParseSeeds("1,").ok());
  EXPECT_FALSE(ParseSeeds("-1").ok());
  EXPECT_FALSE(ParseSeeds("99999999999999999999").ok());
}

}  // namespace
}  // namespace onepass
