// A BM25 index between stages: what a stage writes becomes a query, what it finds an input.
#include "chain/tools.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "chain/explain.h"
#include "chain/result_json.h"
#include "chain/run_file.h"
#include "chain/runner_for_test.h"
#include "retrieval/bm25_index_builder.h"

namespace onepass {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

class ToolsTest : public RunnerFixture {
 protected:
  // An index of one document a letter, so that nearly every output finds something.
  void SetUp() override {
    RunnerFixture::SetUp();
    index_ = ::testing::TempDir() + "/onepass_tools_index";
    std::filesystem::remove_all(index_);
    auto builder = Bm25IndexBuilder::Create(index_);
    ASSERT_TRUE(builder.ok()) << builder.status().message();
    for (char c = 'a'; c <= 'z'; ++c) {
      const std::string word(1, c);
      ASSERT_TRUE((*builder)->Add({.id = word, .text = word + " is " + word, .title = "t"}).ok());
    }
    ASSERT_TRUE((*builder)->Finish().ok());
  }

  // a -> search -> b, rounds times; then c.
  ChainSpec Spec(int rounds, const std::string& query = "{Q} {a}") const {
    ChainSpec spec;
    spec.file = "tools.yaml";
    spec.shared = "Q: {Q}\n";
    spec.stages.resize(3);
    spec.stages[0] = {.name = "a", .start = "<bos>"};
    spec.stages[1] = {.name = "b", .input = "found {search}", .start = "<note>"};
    spec.stages[2] = {.name = "c", .start = "<bos>"};
    for (StageSpec& stage : spec.stages) {
      stage.max_tokens = 5;
      stage.sampling = {.temperature = 0.8, .seed = 3};
    }
    spec.tools = {{.name = "search", .index = index_, .query = query, .top = 2}};
    spec.tools[0].document = "[{id}] {text}.\n";
    spec.flow = {{.names = {"a", "search", "b"}, .rounds = rounds, .until = {}},
                 {.names = {"c"}, .until = {}}};
    return spec;
  }

  std::string index_;
};

Record AskFor(const std::string& question) {
  Record record;
  record.number = 1;
  record.fields.push_back({.name = "Q", .text = question, .json_type = "string"});
  return record;
}

TEST_F(ToolsTest, WhatIsFoundIsTheNextOwnInput) {
  for (const Handoff handoff : kHandoffs) {
    const auto runner = Make(Spec(2), {.handoff = handoff});
    Held held;
    const RecordResult result = RunOne(*runner, AskFor("x or y"), &held);
    ASSERT_EQ(result.tools.size(), 2u);
    for (int round = 0; round < 2; ++round) {
      const ToolResult& tool = result.tools[round];
      EXPECT_EQ(tool.query, "x or y " + result.stages[2 * round].text);
      ASSERT_EQ(tool.documents.size(), 2u);
      EXPECT_GE(tool.documents[0].second, tool.documents[1].second);
      EXPECT_THAT(tool.text, HasSubstr("[" + tool.documents[0].first + "] "));
      // b's input of this run holds it, behind texts that are read again where there are any.
      int id = -1;
      for (const int written : runner->plan().steps[tool.step + 1].writes) {
        if (runner->plan().segments[written].has_input()) id = written;
      }
      ASSERT_GE(id, 0);
      const std::string input = base_->tokenizer->Decode(held[id]->tokens(), false);
      EXPECT_THAT(input, EndsWith("found " + tool.text));
      if (handoff == Handoff::kKv) EXPECT_EQ(input, "found " + tool.text);
    }
    EXPECT_EQ(result.TokensRecomputed() > 0, handoff != Handoff::kKv);
  }
}

TEST_F(ToolsTest, KvHandoffEqualsFullRecomputationBitwise) {
  const auto runner = Make(Spec(2));
  Held held;
  RunOne(*runner, AskFor("x or y"), &held);
  Recomputation recomputation(*base_, runner->plan(), held, Prompts());
  for (const int id : recomputation.order()) {
    EXPECT_EQ(KvOf(*held[id]), KvOf(*recomputation.fresh(id))) << id;
  }
}

// Documents before the shared input: those of each run stand there alone, and see nothing said.
TEST_F(ToolsTest, WhatIsFoundMayStandFirstInPlaceOfWhatWasFoundBefore) {
  ChainSpec spec = Spec(2);
  spec.room = 40;
  spec.stages[1].input_first = true;
  for (const Handoff handoff : kHandoffs) {
    const auto runner = Make(spec, {.handoff = handoff});
    Held held;
    const RecordResult result = RunOne(*runner, AskFor("x or y"), &held);
    const Plan& plan = runner->plan();
    std::vector<int> inputs;
    for (int id = 0; id < std::ssize(plan.segments); ++id) {
      if (plan.segments[id].before_shared) inputs.push_back(id);
    }
    ASSERT_EQ(inputs.size(), 2u);
    for (int round = 0; round < 2; ++round) {
      const int id = inputs[round];
      EXPECT_EQ(base_->tokenizer->Decode(held[id]->tokens(), false),
                "found " + result.tools[round].text);
      const int output = plan.OutputOf(plan.segments[id].step);
      const std::vector<int>& view = plan.segments[output].view;
      EXPECT_EQ(std::ranges::count(view, id), 1);
      EXPECT_EQ(std::ranges::count(view, inputs[1 - round]), 0);
    }
    EXPECT_EQ(held[inputs[0]]->end_position(), held[inputs[1]]->end_position());
    EXPECT_EQ(plan.segments[inputs[0]].dies_after, plan.segments[inputs[0]].step);
    if (handoff != Handoff::kKv) continue;
    EXPECT_EQ(result.TokensRecomputed(), 0);
    Recomputation recomputation(*base_, plan, held, Prompts());
    for (const int id : recomputation.order()) {
      EXPECT_EQ(KvOf(*held[id]), KvOf(*recomputation.fresh(id))) << id;
    }
  }
}

TEST_F(ToolsTest, PeakBytesAreThoseThatThePlanPredicts) {
  for (const bool first : {false, true}) {
    for (const Handoff handoff : kHandoffs) {
      ChainSpec spec = Spec(3);
      spec.room = first ? 40 : 0;
      spec.stages[1].input_first = first;
      const auto runner = Make(spec, {.handoff = handoff, .page_tokens = 4});
      std::vector<int64_t> counts(runner->plan().segments.size());
      runner->on_step = [&](size_t, int, const std::vector<WrittenSegment>& written) {
        for (size_t id = 0; id < written.size(); ++id) counts[id] = written[id].token_count;
      };
      const Record record = AskFor("x or y");
      const RecordResult result = std::move(runner->Run({&record, 1})[0]);
      ASSERT_TRUE(result.status.ok()) << result.status.message();
      EXPECT_EQ(result.peak_kv_bytes, PeakKvBytes(runner->plan(), counts, runner->pool().layout()));
      EXPECT_EQ(result.peak_kv_bytes, runner->pool().bytes_peak());
    }
  }
}

// A record without the field that would be cut is its own fault, found before anything is searched.
TEST_F(ToolsTest, AFieldToCutBesideWhatIsFoundMustBeThere) {
  ChainSpec spec = Spec(1);
  spec.stages[1].input = "{notes} {search}";
  spec.overlong = Overlong::kCut;
  spec.cut_field = "notes";
  const Record record = AskFor(std::string(400, 'x'));
  const RecordResult result = std::move(Make(spec)->Run({&record, 1})[0]);
  EXPECT_THAT(result.status.message(), HasSubstr("want field \"notes\""));
}

TEST_F(ToolsTest, ItMayFillTheSharedInput) {
  ChainSpec spec = Spec(1, "{Q}");
  spec.shared = "{search}Q: {Q}\n";
  spec.stages[1].input = "";
  spec.flow = {{.names = {"search"}, .until = {}},
               {.names = {"a"}, .until = {}},
               {.names = {"b"}, .until = {}},
               {.names = {"c"}, .until = {}}};
  const auto runner = Make(spec);
  Held held;
  const RecordResult result = RunOne(*runner, AskFor("k"), &held);
  EXPECT_EQ(TextOf(held, runner->plan(), SegmentKind::kSharedInput, -1), "[k] k is k.\nQ: k\n");
  EXPECT_EQ(result.tools[0].documents.size(), 1u);
}

TEST_F(ToolsTest, RecordsOfABatchFindTheirOwn) {
  const std::vector<Record> records = {AskFor("p"), AskFor("q"), AskFor("r r")};
  const auto together = Make(Spec(2), {.batch = 3})->Run(records);
  const auto alone = Make(Spec(2));
  for (size_t i = 0; i < records.size(); ++i) {
    const RecordResult one = RunOne(*alone, records[i]);
    ASSERT_EQ(together[i].tools.size(), 2u);
    for (int round = 0; round < 2; ++round) {
      EXPECT_EQ(together[i].tools[round].documents, one.tools[round].documents);
    }
    EXPECT_EQ(together[i].stages.back().tokens, one.stages.back().tokens);
  }
}

TEST_F(ToolsTest, TrainingSeesWhatARunSees) {
  const ChainSpec spec = Spec(2);
  const auto runner = Make(spec);
  Held held;
  const Record record = AskFor("x or y");
  const RecordResult result = RunOne(*runner, record, &held);
  // Teacher forcing with the run's own texts.
  Transcript transcript{.record = &record, .texts = {}};
  transcript.texts.resize(runner->plan().steps.size());
  for (const StageResult& run : result.stages) transcript.texts[run.step] = run.text;
  const auto tools = Tools::Open(spec);
  ASSERT_TRUE(tools.ok()) << tools.status().message();
  for (const ToolResult& tool : result.tools) {
    const auto found = (*tools)->Run(runner->plan(), tool.step, transcript);
    ASSERT_TRUE(found.ok()) << found.status().message();
    EXPECT_EQ(found->documents, tool.documents);
    transcript.texts[tool.step] = found->text;
  }
  const auto tokens = TokensOfPlan(runner->templates(), runner->plan(), transcript);
  ASSERT_TRUE(tokens.ok()) << tokens.status().message();
  for (size_t id = 0; id < tokens->size(); ++id) {
    if (runner->plan().segments[id].kind != SegmentKind::kOwnInput) continue;
    EXPECT_EQ((*tokens)[id], held[id]->tokens());
  }
}

TEST_F(ToolsTest, ALineAndAPlanNameThem) {
  const ChainSpec spec = Spec(1);
  const auto runner = Make(spec);
  const RecordResult result = RunOne(*runner, AskFor("z"));
  const nlohmann::json line = nlohmann::json::parse(ResultToJson(spec, runner->plan(), result));
  EXPECT_EQ(line["tools"][0]["name"], "search");
  EXPECT_EQ(line["tools"][0]["round"], 1);
  EXPECT_EQ(line["tools"][0]["documents"][0].size(), 2u);
  const ExplainFacts facts{.prompt_lengths = {5, 3, 4}};
  EXPECT_THAT(ExplainPlan(spec, runner->plan(), facts),
              HasSubstr("step 1 search: searches for \"{Q} {a}\"\n"));
  const auto plan = nlohmann::json::parse(ExplainPlanJson(spec, runner->plan(), facts));
  EXPECT_EQ(plan["steps"][1]["tool"], "search");
}

TEST_F(ToolsTest, FaultsNameTheirPlace) {
  const auto fault = [&](const ChainSpec& spec) {
    return ChainRunner::Create(*base_, spec, Prompts(), {}).status().message();
  };
  ChainSpec spec = Spec(1);
  spec.tools[0].index = index_ + "-none";
  EXPECT_THAT(fault(spec), HasSubstr("tools.yaml: tool \"search\": index " + index_ + "-none"));
  EXPECT_TRUE(spec.SetIndex("search=" + index_).ok());
  EXPECT_EQ(spec.tools[0].index, index_);
  EXPECT_EQ(spec.SetIndex("find=x").message(),
            "index: want TOOL=FOLDER, one of the tools \"search\", found \"find=x\"");
  EXPECT_FALSE(spec.SetIndex("search").ok());
  spec = Spec(1);
  spec.tools[0].name = "a";
  EXPECT_THAT(fault(spec), HasSubstr("want a name of its own among stages and tools"));
  spec = Spec(1);
  spec.tools[0].document = "{url}";
  EXPECT_THAT(fault(spec), HasSubstr("document: want {id}, {title} or {text}, found {url}"));
  spec = Spec(1);
  spec.stages[0].input = "{search}";
  EXPECT_THAT(fault(spec),
              HasSubstr("stage \"a\": input: want tool \"search\" before stage \"a\""));
  spec = Spec(1);
  spec.shared = "{search}";
  EXPECT_THAT(fault(spec), HasSubstr("shared: want tool \"search\" before stage \"a\""));
  spec = Spec(1);
  spec.flow[0].names = {"a", "b"};
  EXPECT_THAT(fault(spec), HasSubstr("search"));
  spec = Spec(2);
  spec.flow[0].until = {.stage = "search", .tokens = 1};
  EXPECT_THAT(fault(spec), HasSubstr("until.stage: want a stage of the loop, found \"search\""));
  // A record without the query's field is faulty, the others are not.
  spec = Spec(1, "{missing}");
  const Record record = AskFor("z");
  const auto results = Make(spec)->Run({&record, 1});
  EXPECT_THAT(results[0].status.message(), HasSubstr("\"missing\""));
}

}  // namespace
}  // namespace onepass
