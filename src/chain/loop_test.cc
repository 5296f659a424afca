// Chains whose stages run again and again: a -> b -> a -> b ... until a rule holds, then c.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <nlohmann/json.hpp>

#include "chain/result_json.h"
#include "chain/run_file.h"
#include "chain/runner_for_test.h"

namespace onepass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Where prompts and own inputs stand.
struct Layout {
  constexpr Layout(Placement where, bool first = false)  // NOLINT(google-explicit-constructor)
      : placement(where), input_first(first) {}
  Placement placement;
  bool input_first;
};
constexpr Layout kLayouts[] = {Placement::kFront, Placement::kInline, {Placement::kFront, true}};

ChainSpec Loop(Layout layout, int rounds, UntilRule until = {}) {
  ChainSpec spec;
  spec.name = "loop";
  spec.file = "loop.yaml";
  spec.placement = layout.placement;
  spec.shared = "Q: {Q}\n";
  spec.room = layout.input_first ? 40 : 0;
  spec.stages.resize(3);
  spec.stages[0] = {.name = "a", .start = "<bos>"};
  spec.stages[1] = {.name = "b", .input = "{D}:", .start = "<note>"};
  spec.stages[2] = {.name = "c", .input = "so", .start = "<bos>"};
  for (StageSpec& stage : spec.stages) {
    stage.stop_tokens = {"<eos>"};
    stage.max_tokens = 6;
    stage.sampling = {.temperature = 0.8, .seed = 3};
    stage.input_first = layout.input_first && !stage.input.empty();
  }
  spec.flow = {{.names = {"a", "b"}, .rounds = rounds, .until = std::move(until)},
               {.names = {"c"}, .until = {}}};
  return spec;
}

class LoopTest : public RunnerFixture {
 protected:
  std::vector<std::string> Ran(const ChainSpec& spec, const RecordResult& result) {
    std::vector<std::string> names;
    for (const StageResult& run : result.stages) names.push_back(spec.stages[run.stage].name);
    return names;
  }
};

TEST_F(LoopTest, RunsItsRoundsAndGoesOn) {
  const ChainSpec spec = Loop(Placement::kFront, 2);
  const auto runner = Make(spec);
  const RecordResult result = RunOne(*runner, Records()[0]);
  EXPECT_THAT(Ran(spec, result), ElementsAre("a", "b", "a", "b", "c"));
  ASSERT_EQ(result.loops.size(), 1u);
  EXPECT_EQ(result.loops[0].rounds, 2);
  EXPECT_EQ(result.loops[0].end, LoopEnd::kRounds);
  EXPECT_NE(result.stages[0].tokens, result.stages[2].tokens);
  EXPECT_EQ(result.LastRunOf(0), &result.stages[2]);
}

TEST_F(LoopTest, EveryRuleEndsItWhereItHolds) {
  const RecordResult all = RunOne(*Make(Loop(Placement::kFront, 4)), Records()[0]);
  // A token and a letter that the second output of a has and the first has not.
  TokenId token = -1;
  for (const TokenId id : all.stages[2].tokens) {
    if (std::ranges::find(all.stages[0].tokens, id) == all.stages[0].tokens.end()) token = id;
  }
  ASSERT_GE(token, 0);
  std::string letter;
  for (const char c : all.stages[2].text) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) continue;
    if (all.stages[0].text.find(c) == std::string::npos) letter = c;
  }
  ASSERT_NE(letter, "");
  const auto until = [&](UntilRule rule) {
    const ChainSpec spec = Loop(Placement::kFront, 4, std::move(rule));
    const RecordResult result = RunOne(*Make(spec), Records()[0]);
    // What ran is what ran without the rule.
    for (size_t i = 0; i + 1 < result.stages.size(); ++i) {
      EXPECT_EQ(result.stages[i].tokens, all.stages[i].tokens);
    }
    EXPECT_EQ(Ran(spec, result).back(), "c");
    EXPECT_EQ(result.loops.size(), 1u);
    return std::pair(std::ssize(result.stages), result.loops[0].end);
  };
  const std::string token_text = base_->tokenizer->TokenOf(token);
  EXPECT_EQ(until({.stage = "a", .token = token_text}), std::pair(4L, LoopEnd::kToken));
  EXPECT_EQ(until({.stage = "a", .text = "[" + letter + "]"}), std::pair(4L, LoopEnd::kText));
  EXPECT_EQ(until({.tokens = 13}), std::pair(4L, LoopEnd::kTokens));
  EXPECT_EQ(until({.tokens = 12}), std::pair(3L, LoopEnd::kTokens));
  EXPECT_EQ(until({.stage = "b", .tokens = 18}), std::pair(5L, LoopEnd::kTokens));
  EXPECT_EQ(until({.tokens = 1000}), std::pair(9L, LoopEnd::kRounds));
}

TEST_F(LoopTest, TheStopTokenOfAnOutputEndsItToo) {
  ChainSpec spec = Loop(Placement::kFront, 4, {.stage = "a", .token = "<eos>"});
  const RecordResult all = RunOne(*Make(spec), Records()[0]);
  ASSERT_EQ(all.loops[0].end, LoopEnd::kRounds);
  const std::string token = base_->tokenizer->TokenOf(all.stages[2].tokens.back());
  spec.stages[0].stop_tokens = {token};
  spec.flow[0].until.token = token;
  const RecordResult result = RunOne(*Make(spec), Records()[0]);
  ASSERT_EQ(result.loops[0].end, LoopEnd::kToken);
  const StageResult& last = result.stages[result.stages.size() - 2];
  EXPECT_EQ(last.finish, FinishReason::kStopToken);
  EXPECT_EQ(base_->tokenizer->TokenOf(last.stop_token), token);
}

TEST_F(LoopTest, RecordsOfABatchLeaveTheLoopEachInItsRound) {
  for (const Layout layout : kLayouts) {
    for (const Handoff handoff : kHandoffs) {
      const ChainSpec spec = Loop(layout, 4, {.stage = "a", .text = "[a-m]"});
      const std::vector<Record> records = Records();
      const std::vector<RecordResult> together =
          Make(spec, {.handoff = handoff, .batch = 4})->Run(records);
      const auto alone = Make(spec, {.handoff = handoff});
      std::vector<size_t> lengths;
      for (size_t i = 0; i < records.size(); ++i) {
        const RecordResult one = RunOne(*alone, records[i]);
        ASSERT_EQ(one.stages.size(), together[i].stages.size());
        for (size_t run = 0; run < one.stages.size(); ++run) {
          EXPECT_EQ(one.stages[run].tokens, together[i].stages[run].tokens);
          EXPECT_EQ(one.stages[run].tokens_computed, together[i].stages[run].tokens_computed);
        }
        EXPECT_EQ(one.peak_kv_bytes, together[i].peak_kv_bytes);
        lengths.push_back(one.stages.size());
      }
      EXPECT_NE(*std::ranges::min_element(lengths), *std::ranges::max_element(lengths));
    }
  }
}

TEST_F(LoopTest, KvHandoffEqualsFullRecomputationBitwise) {
  for (const char* backend : {"ref", "cpu"}) {
    UseBackend(backend);
    for (const Layout layout : kLayouts) {
      // On cpu the bits do not depend on how keys are cut into calls where KV is narrow.
      const DType kv_dtype = std::string(backend) == "cpu" ? DType::kBF16 : DType::kF32;
      const auto runner = Make(Loop(layout, 3), {.kv_dtype = kv_dtype});
      Held held;
      const RecordResult result = RunOne(*runner, Records()[2], &held);
      Recomputation recomputation(*base_, runner->plan(), held, Prompts(), kv_dtype);
      int64_t next = 0;
      for (const int id : recomputation.order()) {
        const PlannedSegment& planned = runner->plan().segments[id];
        if (planned.kind == SegmentKind::kSharedInput) next += runner->plan().room;
        if (!planned.before_shared) {
          EXPECT_EQ(held[id]->start_position(), next) << "positions are one running index";
          next = held[id]->end_position();
        }
        EXPECT_EQ(KvOf(*held[id]), KvOf(*recomputation.fresh(id))) << backend << " segment " << id;
      }
      EXPECT_EQ(result.TokensRecomputed(), 0);
    }
  }
}

// Under a text hand-off each run is one sequence of plain text: that of a chain of one stage.
TEST_F(LoopTest, TextHandoffIsAPlainPromptOfWhatWasSaid) {
  const auto runner = Make(Loop(Placement::kFront, 2), {.handoff = Handoff::kText});
  const Record record = Records()[0];
  Held held;
  const RecordResult result = RunOne(*runner, record, &held);
  const Plan& plan = runner->plan();
  const std::string a1 = result.stages[0].text, b1 = result.stages[1].text;
  const std::string a2 = result.stages[2].text;
  for (int id = 0; id < std::ssize(plan.segments); ++id) {
    const PlannedSegment& segment = plan.segments[id];
    if (segment.step != 3 || segment.text_of.empty()) continue;
    std::vector<TokenId> want;
    for (const std::string& text :
         {a1 + "\n", std::string("the other thing:"), b1 + "\n" + a2 + "\n"}) {
      const std::vector<TokenId> tokens = base_->tokenizer->Encode(text, {});
      want.insert(want.end(), tokens.begin(), tokens.end());
    }
    EXPECT_EQ(held[id]->tokens(), want);
  }
}

// What stands behind a loop reads what was said in it, and nothing of the rounds that never were.
TEST_F(LoopTest, BehindALoopLeftEarlyAllIsAsIfItHadNoFurtherRounds) {
  for (const Handoff handoff : kHandoffs) {
    const auto left =
        Make(Loop(Placement::kFront, 4, {.stage = "b", .tokens = 1}), {.handoff = handoff});
    const auto ended = Make(Loop(Placement::kFront, 1), {.handoff = handoff});
    const RecordResult early = RunOne(*left, Records()[0]), whole = RunOne(*ended, Records()[0]);
    ASSERT_EQ(early.stages.size(), 3u);
    ASSERT_EQ(whole.stages.size(), 3u);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(early.stages[i].tokens_prefilled, whole.stages[i].tokens_prefilled);
      EXPECT_EQ(early.stages[i].tokens_recomputed, whole.stages[i].tokens_recomputed);
    }
  }
}

TEST_F(LoopTest, PeakBytesAreThoseThatThePlanPredicts) {
  for (const Layout layout : kLayouts) {
    for (const Handoff handoff : kHandoffs) {
      for (const int tokens : {13, 1000}) {
        const ChainSpec spec = Loop(layout, 3, {.tokens = tokens});
        const auto runner = Make(spec, {.handoff = handoff, .page_tokens = 4});
        std::vector<int64_t> counts(runner->plan().segments.size());
        runner->on_step = [&](size_t, int, const std::vector<WrittenSegment>& written) {
          for (size_t id = 0; id < written.size(); ++id) counts[id] = written[id].token_count;
        };
        const Record record = Records()[0];
        const RecordResult result = std::move(runner->Run({&record, 1})[0]);
        ASSERT_TRUE(result.status.ok()) << result.status.message();
        EXPECT_EQ(result.peak_kv_bytes,
                  PeakKvBytes(runner->plan(), counts, runner->pool().layout()));
        EXPECT_EQ(result.peak_kv_bytes, runner->pool().bytes_peak());
      }
    }
  }
}

// An input that stands first ends where S starts; under text it is written again with each run.
TEST_F(LoopTest, AnInputBeforeTheSharedOneSeesNothingButItsPrompt) {
  for (const Handoff handoff : kHandoffs) {
    const ChainSpec spec = Loop({Placement::kFront, true}, 2);
    const auto runner = Make(spec, {.handoff = handoff});
    Held held;
    const RecordResult result = RunOne(*runner, Records()[0], &held);
    const Plan& plan = runner->plan();
    int64_t begin_of_shared = 0;
    std::vector<int> first;
    for (int id = 0; id < std::ssize(plan.segments); ++id) {
      const PlannedSegment& segment = plan.segments[id];
      if (segment.kind == SegmentKind::kSharedInput) begin_of_shared = held[id]->start_position();
      if (!segment.before_shared) continue;
      first.push_back(segment.stage);
      ASSERT_EQ(segment.view.size(), 1u);
      EXPECT_EQ(plan.segments[segment.view[0]].kind, SegmentKind::kPrompt);
      EXPECT_EQ(plan.segments[segment.view[0]].stage, segment.stage);
      EXPECT_EQ(held[id]->end_position(), begin_of_shared);
      const std::string text = segment.stage == 1 ? "the other thing:" : "so";
      EXPECT_EQ(held[id]->tokens(), base_->tokenizer->Encode(text, {}));
    }
    if (handoff == Handoff::kText) {
      EXPECT_THAT(first, ElementsAre(1, 1, 2));
    } else {
      EXPECT_THAT(first, ElementsAre(1, 2));
    }
    const int64_t again = std::ssize(base_->tokenizer->Encode("the other thing:", {}));
    const int64_t recomputed = result.stages[3].tokens_recomputed;
    if (handoff == Handoff::kText) EXPECT_GT(recomputed, again);
    if (handoff == Handoff::kKv) EXPECT_EQ(result.TokensRecomputed(), 0);
  }
}

TEST_F(LoopTest, AnInputThatTheRoomDoesNotHoldIsARecordsFault) {
  ChainSpec spec = Loop({Placement::kFront, true}, 2);
  spec.room = 3;
  const RecordResult result = std::move(Make(spec)->Run({&Records()[0], 1})[0]);
  EXPECT_THAT(result.status.message(),
              HasSubstr("want at most 3 tokens in an input that stands first (the chain's room)"));
  // One that just fits, and one of which nothing is there.
  const int64_t count = std::ssize(base_->tokenizer->Encode("the other thing:", {}));
  spec.room = count;
  EXPECT_TRUE(Make(spec)->Run({&Records()[0], 1})[0].status.ok());
  spec.room = count - 1;
  EXPECT_FALSE(Make(spec)->Run({&Records()[0], 1})[0].status.ok());
  // Cut to the room, alike for all hand-offs.
  spec.overlong = Overlong::kCut;
  spec.cut_field = "D";
  for (const Handoff handoff : kHandoffs) {
    const auto runner = Make(spec, {.handoff = handoff});
    Held held;
    const RecordResult cut = RunOne(*runner, Records()[0], &held);
    EXPECT_GT(cut.cut_bytes, 0);
    for (int id = 0; id < std::ssize(held); ++id) {
      const PlannedSegment& segment = runner->plan().segments[id];
      if (segment.before_shared && segment.stage == 1)
        EXPECT_LE(held[id]->token_count(), spec.room);
    }
  }
  ChainSpec empty = Loop({Placement::kFront, true}, 2);
  empty.stages[1].input = "{D}";
  Record nothing = Records()[0];
  for (RecordField& field : nothing.fields) {
    if (field.name == "D") field.text.clear();
  }
  for (const Handoff handoff : kHandoffs) {
    EXPECT_TRUE(Make(empty, {.handoff = handoff})->Run({&nothing, 1})[0].status.ok());
  }
}

// Two models that take turns hold one copy under kv, and one each under text hand-offs that cache.
TEST_F(LoopTest, OneCacheServesAllModels) {
  std::vector<int64_t> peaks;
  for (const Handoff handoff : {Handoff::kTextCached, Handoff::kKv}) {
    ChainSpec spec = Loop(Placement::kFront, 4);
    spec.stages.pop_back();
    spec.flow.pop_back();
    std::vector<SoftPrompt> prompts = Prompts();
    prompts.pop_back();
    const auto runner = Make(spec, {.handoff = handoff, .page_tokens = 1}, std::move(prompts));
    const RecordResult result = RunOne(*runner, Records()[0]);
    peaks.push_back(result.peak_kv_bytes);
  }
  EXPECT_GT(static_cast<double>(peaks[0]), 1.3 * static_cast<double>(peaks[1]));
}

TEST_F(LoopTest, ARoundThatDoesNotFitStopsTheRecordThere) {
  ChainSpec spec = Loop(Placement::kFront, 30);
  const RecordResult result = std::move(Make(spec)->Run({&Records()[0], 1})[0]);
  EXPECT_THAT(result.status.message(), HasSubstr("want at most 256 positions"));
  EXPECT_GT(result.stages.size(), 20u);
}

TEST_F(LoopTest, ALineNamesRoundsAndWhyTheLoopEnded) {
  const ChainSpec spec = Loop(Placement::kFront, 3, {.tokens = 7});
  const auto runner = Make(spec);
  const RecordResult result = RunOne(*runner, Records()[0]);
  const nlohmann::json line = nlohmann::json::parse(ResultToJson(spec, runner->plan(), result));
  EXPECT_EQ(line["loops"].dump(), R"([{"ended_by":"tokens","flow":0,"rounds":1}])");
  EXPECT_EQ(line["stages"].size(), 3u);
  EXPECT_EQ(line["stages"][1]["name"], "b");
  EXPECT_EQ(line["stages"][1]["round"], 1);
}

TEST_F(LoopTest, ATokenThatTheBaseLacksIsRefused) {
  const auto runner =
      ChainRunner::Create(*base_, Loop(Placement::kFront, 3, {.token = "<end>"}), Prompts(), {});
  EXPECT_EQ(runner.status().message(),
            "loop.yaml: flow[0]: until.token: want a token of the base's tokenizer or of a stage, "
            "found \"<end>\", which none has");
}

}  // namespace
}  // namespace onepass
