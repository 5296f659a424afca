// Records with outputs that are given: what is held, counted and refused. (That the losses are
// those of training is bench/replay_test.cc's.)
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chain/runner_for_test.h"
#include "chain/trace.h"

namespace onepass {
namespace {

using ::testing::HasSubstr;

// a -> b -> a -> b ..., at most three rounds, then c. b has no start and no stop token.
ChainSpec Loop(Placement placement) {
  ChainSpec spec;
  spec.name = "loop";
  spec.file = "loop.yaml";
  spec.placement = placement;
  spec.shared = "Q: {Q}\n";
  spec.stages.resize(3);
  spec.stages[0] = {.name = "a", .start = "<bos>"};
  spec.stages[1] = {.name = "b", .input = "{D}:"};
  spec.stages[2] = {.name = "c", .input = "so", .start = "<bos>"};
  spec.stages[0].stop_tokens = spec.stages[2].stop_tokens = {"<eos>"};
  spec.flow = {{.names = {"a", "b"}, .rounds = 3, .until = {.stage = "a", .text = "!"}},
               {.names = {"c"}, .until = {}}};
  return spec;
}

Record Trace(const std::vector<std::pair<std::string, std::string>>& outputs) {
  Record record = MakeRecord(1, "who is the other?", "a longer document than the others");
  for (const auto& [name, text] : outputs) {
    record.fields.push_back({.name = name, .text = text, .json_type = "string"});
  }
  return record;
}

const std::vector<std::string> kFields = {"O_{round}A", "O_{round}B", "O_C"};

Record TwoRounds() {
  return Trace({{"O_1A", "the one"}, {"O_1B", "of them there"}, {"O_2A", "go on!"}, {"O_C", "he"}});
}

class ReplayTest : public RunnerFixture {
 protected:
  // Without a start token b's first token follows from its own input, which later runs write under
  // text alone.
  static ChainSpec Spec(Placement placement, Handoff handoff) {
    ChainSpec spec = Loop(placement);
    if (handoff != Handoff::kText) spec.stages[1].start = "<note>";
    return spec;
  }
};

TEST_F(ReplayTest, WhatIsHeldAndCountedIsWhatThePlanSays) {
  for (const Placement placement : kPlacements) {
    for (const Handoff handoff : kHandoffs) {
      SCOPED_TRACE(std::string(NameOf(handoff)) + (placement == Placement::kFront ? " front" : ""));
      const auto runner = Make(Spec(placement, handoff), {.handoff = handoff, .page_tokens = 4});
      ASSERT_NE(runner, nullptr);
      const Plan& plan = runner->plan();
      const Record record = TwoRounds();
      const auto outputs = TraceOf(plan, kFields, nullptr, record);
      ASSERT_TRUE(outputs.ok()) << outputs.status().message();

      Held held(plan.segments.size());
      runner->on_step = [&](size_t, int, const std::vector<WrittenSegment>& written) {
        for (size_t id = 0; id < written.size(); ++id) {
          if (written[id].segment != nullptr) held[id] = written[id].segment;
        }
      };
      const auto with_held = runner->Replay(record, *outputs);
      ASSERT_TRUE(with_held.ok()) << with_held.status().message();
      std::vector<int64_t> counts;
      int64_t computed = 0;
      for (size_t id = 0; id < held.size(); ++id) {
        counts.push_back(held[id] == nullptr ? 0 : held[id]->token_count());
        if (plan.segments[id].kind == SegmentKind::kPrompt && plan.segments[id].step < 0) {
          counts[id] = runner->PromptLengths()[plan.segments[id].stage];
        } else {
          computed += counts[id];
        }
      }
      EXPECT_EQ(TextOf(held, plan, SegmentKind::kOutput, 2), "<bos>he");
      held.clear();
      runner->on_step = nullptr;

      // While what is dead is held, more is.
      if (handoff == Handoff::kText) {
        EXPECT_GT(with_held->record.peak_kv_bytes,
                  PeakKvBytes(plan, counts, runner->pool().layout()));
      }
      // Twice the same, and nothing is left behind.
      for (int i = 0; i < 2; ++i) {
        const auto replay = runner->Replay(record, *outputs);
        ASSERT_TRUE(replay.ok()) << replay.status().message();
        const RecordResult& result = replay->record;
        EXPECT_EQ(result.peak_kv_bytes, PeakKvBytes(plan, counts, runner->pool().layout()));
        EXPECT_EQ(result.TokensComputed(), computed);
        EXPECT_EQ(result.TokensRecomputed() > 0, handoff != Handoff::kKv);
        ASSERT_EQ(result.stages.size(), 4u);
        ASSERT_EQ(replay->losses.size(), 4u);
        for (size_t run = 0; run < 4; ++run) {
          const StageResult& stage = result.stages[run];
          const size_t stop = stage.stage == 1 ? 0 : 1;  // b has no stop token
          EXPECT_EQ(replay->losses[run].size(), stage.tokens.size() + stop);
          EXPECT_EQ(replay->losses[run], with_held->losses[run]);
          for (const float loss : replay->losses[run]) EXPECT_GT(loss, 0);
        }
      }
    }
  }
}

// Records whose outputs are what a run wrote, where its text has just the run's tokens.
TEST_F(ReplayTest, CountsAreThoseOfARunThatWroteTheSame) {
  ChainSpec spec = Loop(Placement::kFront);
  spec.flow = {{.names = {"a", "b", "c"}, .until = {}}};
  spec.stages[1].start = "<note>";
  for (const Handoff handoff : kHandoffs) {
    SCOPED_TRACE(NameOf(handoff));
    int compared = 0;
    for (uint64_t seed = 1; seed < 1000 && compared < 2; ++seed) {
      for (StageSpec& stage : spec.stages) {
        stage.max_tokens = 2;
        stage.sampling = {.temperature = 1, .seed = seed};
      }
      const auto runner = Make(spec, {.handoff = handoff});
      ASSERT_NE(runner, nullptr);
      Record record = Trace({});
      const RecordResult ran = RunOne(*runner, record);
      bool same = true;
      for (const StageResult& run : ran.stages) {
        same = same && !run.text.empty() && runner->templates().OutputText(run.text) == run.tokens;
        const char* const names[] = {"O_1A", "O_1B", "O_C"};
        record.fields.push_back(
            {.name = names[run.stage], .text = run.text, .json_type = "string"});
      }
      if (!same) continue;
      ++compared;
      const auto outputs = TraceOf(runner->plan(), kFields, nullptr, record);
      ASSERT_TRUE(outputs.ok()) << outputs.status().message();
      const auto replay = runner->Replay(record, *outputs);
      ASSERT_TRUE(replay.ok()) << replay.status().message();
      for (size_t i = 0; i < ran.stages.size(); ++i) {
        const StageResult& replayed = replay->record.stages[i];
        EXPECT_EQ(replayed.tokens, ran.stages[i].tokens);
        EXPECT_EQ(replayed.tokens_reused, ran.stages[i].tokens_reused);
        EXPECT_EQ(replayed.tokens_recomputed, ran.stages[i].tokens_recomputed);
      }
    }
    EXPECT_EQ(compared, 2);
  }
}

TEST_F(ReplayTest, WhatDoesNotFitOrSaysNothingIsRefused) {
  const auto runner = Make(Spec(Placement::kFront, Handoff::kKv));
  const auto fault = [&](const Record& record) {
    const auto outputs = TraceOf(runner->plan(), kFields, nullptr, record);
    if (!outputs.ok()) return outputs.status().message();
    return runner->Replay(record, *outputs).status().message();
  };
  EXPECT_EQ(fault(TwoRounds()), "");
  EXPECT_THAT(fault(Trace({{"O_1A", std::string(300, 'x')}, {"O_C", "y"}})),
              HasSubstr("record 1 (line 1): stage \"a\": want at most 256 positions"));
  EXPECT_THAT(fault(Trace({{"O_1A", "x"}, {"O_1B", ""}, {"O_2A", "!"}, {"O_C", "y"}})),
              HasSubstr("stage \"b\": want an output that has tokens, found \"\""));
  EXPECT_THAT(fault(Trace({{"O_1A", "x"}})), HasSubstr("\"O_C\""));
  // An empty output of a stage with start and stop tokens is one that ends at once.
  EXPECT_EQ(fault(Trace({{"O_1A", ""}, {"O_C", "y"}})), "");
}

TEST_F(ReplayTest, FieldsOfAllStagesAreWanted) {
  const auto runner = Make(Spec(Placement::kFront, Handoff::kKv));
  EXPECT_THAT(CheckTraceFields(runner->plan(), {"O_{round}A", "O_{round}B"}).message(),
              HasSubstr("outputs: want a record field for each of 3 stages, found 2"));
  EXPECT_THAT(CheckTraceFields(runner->plan(), {"O_{round}A", "O_B", "O_C"}).message(),
              HasSubstr("outputs: want \"{round}\" in the field of stage \"b\", which runs more "
                        "than once, found \"O_B\""));
}

}  // namespace
}  // namespace onepass
