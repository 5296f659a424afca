#include "chain/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "chain/explain.h"
#include "chain/guard.h"
#include "core/file.h"

namespace onepass {
namespace {

using ::testing::HasSubstr;

ChainSpec Spec(Placement placement, Handoff handoff, int stages) {
  ChainSpec spec;
  spec.name = "example";
  spec.placement = placement;
  spec.handoff = handoff;
  spec.shared = "{S}";
  for (int i = 0; i < stages; ++i) {
    StageSpec stage;
    stage.name = std::string(1, static_cast<char>('a' + i));
    stage.input = "{I}";
    stage.start = "<bos>";
    stage.max_tokens = 32;
    spec.stages.push_back(std::move(stage));
  }
  return spec;
}

std::vector<int64_t> Lengths(int stages) {
  std::vector<int64_t> lengths;
  for (int i = 0; i < stages; ++i) lengths.push_back(10 + i);
  return lengths;
}

Plan Compiled(const ChainSpec& spec) {
  Result<Plan> plan = CompilePlan(spec, Lengths(static_cast<int>(spec.stages.size())));
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  return plan.ok() ? *std::move(plan) : Plan();
}

// The goldens are this test's own output, read and checked by hand against docs/method.md; to write
// them anew: ONEPASS_WRITE_GOLDENS=1 chain_test --gtest_filter=Plan.*
void ExpectGolden(const std::string& name, const std::string& text) {
  const std::string path = std::string(ONEPASS_SOURCE_DIR) + "/tests/golden/plan/" + name;
  if (std::getenv("ONEPASS_WRITE_GOLDENS") != nullptr) {
    ASSERT_TRUE(WriteFileAtomically(path, text).ok());
  }
  const Result<std::string> golden = ReadFile(path);
  ASSERT_TRUE(golden.ok()) << golden.status().message();
  EXPECT_EQ(text, *golden) << path;
}

TEST(Plan, TablesAreThoseOfTheMethod) {
  for (const Placement placement : kPlacements) {
    for (int stages = 1; stages <= 3; ++stages) {
      std::string text;
      for (const Handoff handoff : kHandoffs) {
        const ChainSpec spec = Spec(placement, handoff, stages);
        text += ExplainPlan(spec, Compiled(spec), {.prompt_lengths = Lengths(stages)}) + "\n";
      }
      ExpectGolden(std::string(NameOf(placement)) + "_" + std::to_string(stages) + ".txt", text);
    }
  }
}

// a -> b -> a -> b ... and c behind it; a loop that may end behind each a.
ChainSpec LoopSpec(Placement placement, Handoff handoff, int rounds) {
  ChainSpec spec = Spec(placement, handoff, 3);
  spec.stages[0].input.clear();
  spec.flow = {{.names = {"a", "b"}, .rounds = rounds, .until = {.stage = "a", .tokens = 5}},
               {.names = {"c"}, .until = {}}};
  return spec;
}

TEST(Plan, LoopsAreWrittenOut) {
  const Plan plan = Compiled(LoopSpec(Placement::kFront, Handoff::kKv, 3));
  ASSERT_EQ(plan.step_count(), 7);
  const int stages[] = {0, 1, 0, 1, 0, 1, 2};
  const int runs[] = {0, 0, 1, 1, 2, 2, 0};
  for (int step = 0; step < 7; ++step) {
    EXPECT_EQ(plan.steps[step].stage, stages[step]);
    EXPECT_EQ(plan.steps[step].run, runs[step]);
    EXPECT_EQ(plan.steps[step].round, step < 6 ? step / 2 : 0);
    EXPECT_EQ(plan.steps[step].checked, step < 6 && step % 2 == 0);
    EXPECT_EQ(plan.steps[step].behind_part, step < 6 ? 6 : 7);
  }
}

TEST(Plan, ALoopsTableIsThatOfTheMethod) {
  for (const Placement placement : kPlacements) {
    std::string text;
    for (const Handoff handoff : kHandoffs) {
      const ChainSpec spec = LoopSpec(placement, handoff, 2);
      text += ExplainPlan(spec, Compiled(spec), {.prompt_lengths = Lengths(3)}) + "\n";
    }
    ExpectGolden(std::string(NameOf(placement)) + "_loop.txt", text);
  }
}

TEST(Plan, OwnInputsThatStandFirstAreBeforeTheSharedOne) {
  std::string text;
  for (const Handoff handoff : kHandoffs) {
    ChainSpec spec = LoopSpec(Placement::kFront, handoff, 2);
    spec.stages[1].input_first = spec.stages[2].input_first = true;
    spec.room = 50;
    text += ExplainPlan(spec, Compiled(spec), {.prompt_lengths = Lengths(3)}) + "\n";
  }
  ExpectGolden("first_loop.txt", text);
}

// The visibility table a second time, over whole segments of all rounds.
TEST(Plan, InALoopEveryViewIsWhatTheTableSays) {
  for (const Placement placement : kPlacements) {
    const Plan plan = Compiled(LoopSpec(placement, Handoff::kKv, 4));
    const bool front = placement == Placement::kFront;
    for (int reader = 0; reader < std::ssize(plan.segments); ++reader) {
      const PlannedSegment& r = plan.segments[reader];
      for (int id = 0; id < std::ssize(plan.segments); ++id) {
        const PlannedSegment& s = plan.segments[id];
        const bool earlier = s.step < r.step || (s.step == r.step && id < reader);
        bool sees = false;
        if (earlier && r.kind != SegmentKind::kSharedInput &&
            !(r.kind == SegmentKind::kPrompt && front)) {
          const bool own = s.stage == r.stage &&
                           (s.kind == SegmentKind::kOwnInput ||
                            (s.kind == SegmentKind::kPrompt && r.kind != SegmentKind::kPrompt));
          sees = s.kind == SegmentKind::kSharedInput || s.kind == SegmentKind::kOutput || own;
        }
        const bool found = std::ranges::find(r.view, id) != r.view.end();
        EXPECT_EQ(found, sees) << NameOf(placement) << ": reader " << reader << ", segment " << id;
      }
    }
    // One running index: every segment stands behind the one before it.
    int last = -1;
    for (int id = 0; id < std::ssize(plan.segments); ++id) {
      if (plan.segments[id].step < 0) continue;
      EXPECT_EQ(plan.segments[id].after, last);
      last = id;
    }
    // A stage's prompt and input stand once.
    for (int stage = 0; stage < 3; ++stage) {
      const auto count = [&](SegmentKind kind) {
        return std::ranges::count_if(plan.segments, [&](const PlannedSegment& s) {
          return s.kind == kind && s.stage == stage;
        });
      };
      EXPECT_EQ(count(SegmentKind::kPrompt), 1);
      EXPECT_EQ(count(SegmentKind::kOwnInput), stage == 0 ? 0 : 1);
    }
  }
}

TEST(Plan, ATextHandoffReadsEverythingAgainAndACachedOneWhatIsNew) {
  const auto texts = [](const Plan& plan, int step) {
    std::vector<std::string> names;
    for (const int id : plan.steps[step].writes) {
      for (const int text : plan.segments[id].text_of) {
        const PlannedSegment& read = plan.segments[text];
        names.push_back((read.kind == SegmentKind::kOutput ? "O" : "I") +
                        std::to_string(read.step));
      }
    }
    return names;
  };
  using testing::ElementsAre;
  const Plan text = Compiled(LoopSpec(Placement::kFront, Handoff::kText, 3));
  EXPECT_THAT(texts(text, 0), ElementsAre());
  EXPECT_THAT(texts(text, 1), ElementsAre("O0"));
  EXPECT_THAT(texts(text, 3), ElementsAre("O0", "I1", "O1", "O2"));
  EXPECT_THAT(texts(text, 4), ElementsAre("O0", "O1", "O2", "O3"));
  const Plan cached = Compiled(LoopSpec(Placement::kFront, Handoff::kTextCached, 3));
  EXPECT_THAT(texts(cached, 1), ElementsAre("O0"));
  EXPECT_THAT(texts(cached, 2), ElementsAre("O1"));
  EXPECT_THAT(texts(cached, 3), ElementsAre("O2"));
  EXPECT_THAT(texts(cached, 6), ElementsAre("O0", "O1", "O2", "O3", "O4", "O5"));
}

TEST(Plan, AStageThatMayNotHaveRunCannotRunAgainElsewhere) {
  ChainSpec spec = LoopSpec(Placement::kFront, Handoff::kKv, 3);
  spec.flow.push_back({.names = {"b"}, .until = {}});
  EXPECT_THAT(CompilePlan(spec, Lengths(3)).status().message(),
              HasSubstr("stage \"b\" runs again behind a loop that may end before its first run"));
  spec.flow.back().names = {"a"};  // always ran
  EXPECT_TRUE(CompilePlan(spec, Lengths(3)).ok());
  spec.flow.back().names = {"b"};
  spec.flow[0].until.stage = "b";
  EXPECT_TRUE(CompilePlan(spec, Lengths(3)).ok());
}

TEST(Plan, ACachedStageMustHaveReadAllBeforeItsLastRun) {
  ChainSpec spec = LoopSpec(Placement::kFront, Handoff::kTextCached, 3);
  spec.flow.push_back({.names = {"a"}, .until = {}});
  spec.flow[0].until = {.stage = "b", .tokens = 5};
  EXPECT_THAT(CompilePlan(spec, Lengths(3)).status().message(),
              HasSubstr("stage \"a\" runs again behind a loop that may end behind \"b\""));
  spec.flow[0].until.stage = "a";
  EXPECT_TRUE(CompilePlan(spec, Lengths(3)).ok());
  spec.flow[0].until = {};
  EXPECT_TRUE(CompilePlan(spec, Lengths(3)).ok());
  spec.flow[0].until = {.stage = "b", .tokens = 5};
  spec.SetHandoff(Handoff::kText);
  EXPECT_TRUE(CompilePlan(spec, Lengths(3)).ok());
}

TEST(Plan, KeepingStepsCutsWhatStandsBehind) {
  Plan plan = Compiled(LoopSpec(Placement::kFront, Handoff::kKv, 3));
  const Plan whole = plan;
  plan.KeepSteps(3);
  EXPECT_EQ(plan.step_count(), 3);
  EXPECT_EQ(plan.OutputOf(2), std::ssize(plan.segments) - 1);
  for (int id = 0; id < std::ssize(plan.segments); ++id) {
    EXPECT_EQ(plan.segments[id].view, whole.segments[id].view);
    EXPECT_EQ(plan.OutlivesRecords(id), whole.OutlivesRecords(id));
    EXPECT_LE(plan.segments[id].dies_after, 3);
  }
  EXPECT_EQ(plan.segments[plan.OutputOf(2)].dies_after, 2);
}

TEST(Plan, NoSegmentSeesAnotherStagesPromptOrInput) {
  for (const Placement placement : kPlacements) {
    for (const Handoff handoff : kHandoffs) {
      const Plan plan = Compiled(Spec(placement, handoff, 3));
      for (const PlannedSegment& reader : plan.segments) {
        for (const int id : reader.view) {
          const PlannedSegment& seen = plan.segments[id];
          if (seen.kind == SegmentKind::kPrompt || seen.kind == SegmentKind::kOwnInput) {
            EXPECT_EQ(seen.stage, reader.stage);
          }
          if (seen.kind == SegmentKind::kOutput) {
            EXPECT_EQ(handoff, Handoff::kKv);
          }
        }
      }
    }
  }
}

TEST(Plan, ViewsAreInTheOrderOfPositionsAndNeverOverlap) {
  for (const Placement placement : kPlacements) {
    for (const Handoff first : kHandoffs) {
      for (const Handoff second : kHandoffs) {
        ChainSpec spec = Spec(placement, first, 3);
        spec.stages[2].handoff = second;
        const Result<Plan> compiled = CompilePlan(spec, Lengths(3));
        if (!compiled.ok()) continue;  // text, then kv of two outputs: refused
        const Plan& plan = *compiled;
        // Any lengths will do: 7 tokens a segment but for the prompts.
        std::vector<int64_t> counts;
        for (const PlannedSegment& segment : plan.segments) {
          counts.push_back(segment.kind == SegmentKind::kPrompt ? 10 + segment.stage : 7);
        }
        std::vector<int64_t> starts;
        for (const PlannedSegment& segment : plan.segments) {
          starts.push_back(segment.after < 0 ? segment.offset
                                             : starts[segment.after] + counts[segment.after]);
        }
        for (size_t id = 0; id < plan.segments.size(); ++id) {
          int64_t end = 0;
          for (const int seen : plan.segments[id].view) {
            EXPECT_GE(starts[seen], end);
            end = starts[seen] + counts[seen];
          }
          if (plan.segments[id].kind != SegmentKind::kPrompt) EXPECT_GE(starts[id], end);
        }
      }
    }
  }
}

TEST(Plan, ADeadSegmentIsNeverReadAndALiveOneIs) {
  for (const Placement placement : kPlacements) {
    for (const Handoff handoff : kHandoffs) {
      const Plan plan = Compiled(Spec(placement, handoff, 3));
      std::vector<int> last_read(plan.segments.size(), -1);
      for (int stage = 0; stage < 3; ++stage) {
        for (const int id : plan.steps[stage].writes) {
          last_read[id] = std::max(last_read[id], stage);
          for (const int seen : plan.segments[id].view) last_read[seen] = stage;
        }
      }
      for (size_t id = 0; id < plan.segments.size(); ++id) {
        const PlannedSegment& segment = plan.segments[id];
        const bool kept = segment.kind == SegmentKind::kPrompt && placement == Placement::kFront &&
                          handoff != Handoff::kText;
        EXPECT_EQ(segment.dies_after, kept ? 3 : last_read[id]);
      }
    }
  }
}

TEST(Plan, WithoutPromptsAndInputsOnlyOutputsRemain) {
  ChainSpec spec = Spec(Placement::kFront, Handoff::kKv, 2);
  spec.shared.clear();
  for (StageSpec& stage : spec.stages) stage.input.clear();
  const Result<Plan> plan = CompilePlan(spec, {0, 0});
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  ASSERT_EQ(plan->segments.size(), 2u);
  EXPECT_EQ(plan->segments[0].kind, SegmentKind::kOutput);
  EXPECT_EQ(plan->segments[1].view, std::vector<int>{0});
  EXPECT_EQ(plan->segments[1].after, 0);
}

TEST(Plan, ReadsChooseWhichOutputsAreSeen) {
  ChainSpec spec = Spec(Placement::kFront, Handoff::kKv, 3);
  spec.stages[2].reads = {"a"};
  Plan plan = Compiled(spec);
  // P_a P_b P_c S I_a O_a I_b O_b I_c O_c
  EXPECT_EQ(plan.segments[9].view, (std::vector<int>{2, 3, 5, 8}));
  EXPECT_EQ(plan.segments[7].dies_after, 1);
  spec.stages[2].reads = std::vector<std::string>{};
  plan = Compiled(spec);
  EXPECT_EQ(plan.segments[9].view, (std::vector<int>{2, 3, 8}));
}

TEST(Plan, KvOfATextStagesOutputIsReadWhereItsPositionsFit) {
  ChainSpec spec = Spec(Placement::kFront, Handoff::kKv, 3);
  spec.stages[1].handoff = Handoff::kText;
  EXPECT_THAT(CompilePlan(spec, Lengths(3)).status().message(),
              HasSubstr("stage \"c\" takes the KV of \"a\"'s output, but runs on from \"b\""));
  spec.stages[2].reads = {"b"};
  EXPECT_TRUE(CompilePlan(spec, Lengths(3)).ok());
}

TEST(Plan, AStageThatNothingStartsIsRefused) {
  for (const Placement placement : kPlacements) {
    ChainSpec spec = Spec(placement, Handoff::kKv, 2);
    for (StageSpec& stage : spec.stages) stage.start.clear();
    EXPECT_TRUE(CompilePlan(spec, {4, 4}).ok());
    spec.stages[1].input.clear();
    // An inline prompt sees all that the output does; a front one saw nothing.
    const Result<Plan> plan = CompilePlan(spec, {4, 4});
    EXPECT_EQ(plan.ok(), placement == Placement::kInline);
    EXPECT_FALSE(CompilePlan(spec, {4, 0}).ok());
    spec.stages[1].handoff = Handoff::kText;
    EXPECT_TRUE(CompilePlan(spec, {4, 4}).ok());
  }
}

class GuardTest : public ::testing::Test {
 protected:
  GuardTest() : plan_(Compiled(Spec(Placement::kFront, Handoff::kKv, 2))) {
    written_.resize(plan_.segments.size());
    for (size_t id = 0; id + 1 < plan_.segments.size(); ++id) Write(static_cast<int>(id));
  }
  SegmentRef Make(int id, uint64_t hash) {
    auto segment = std::make_unique<Segment>(pool_, 0,
                                             Provenance{.kind = plan_.segments[id].kind,
                                                        .stage = plan_.segments[id].stage,
                                                        .content_hash = hash});
    const int32_t token = 1;
    EXPECT_TRUE(segment->Extend({&token, 1}).ok());
    return segment;
  }
  void Write(int id) { written_[id] = {Make(id, 100 + id), static_cast<uint64_t>(100 + id), 1}; }
  std::string Fault(const KvView& view) {
    return GuardRead(plan_, kReader, written_, view).message();
  }

  // P_a P_b S I_a O_a I_b O_b
  static constexpr int kReader = 6;
  Plan plan_;
  PagePool pool_{{.layers = 1, .kv_heads = 1, .head_dim = 2, .page_tokens = 4}, 64};
  std::vector<WrittenSegment> written_;
};

TEST_F(GuardTest, LetsTheViewOfThePlanPass) {
  const KvView view = AttachView(plan_, kReader, written_);
  ASSERT_EQ(view.segments().size(), 4u);
  EXPECT_TRUE(GuardRead(plan_, kReader, written_, view).ok());
  written_[5] = {};  // an empty own input is not there
  EXPECT_TRUE(GuardRead(plan_, kReader, written_, AttachView(plan_, kReader, written_)).ok());
}

TEST_F(GuardTest, RefusesEveryReadOutsideThePlan) {
  const KvView good = AttachView(plan_, kReader, written_);
  KvView more = good;
  more.Append(written_[0].segment);
  EXPECT_EQ(Fault(more),
            "read refused: output of stage 1: the prompt of stage 0 is not in its plan");
  const auto& segments = good.segments();
  EXPECT_EQ(Fault(KvView({written_[0].segment, segments[1], segments[2], segments[3]})),
            "read refused: output of stage 1 wants the prompt of stage 1, found the prompt of "
            "stage 0 in its view");
  EXPECT_EQ(Fault(KvView({segments[0], segments[1], segments[2]})),
            "read refused: output of stage 1 wants the own input of stage 1, found nothing in its "
            "view");
  // Another record's shared input has the right kind and stage.
  EXPECT_THAT(Fault(KvView({segments[0], Make(2, 7), segments[2], segments[3]})),
              HasSubstr("found the shared input"));
  written_[4].content_hash = 1;
  EXPECT_EQ(
      Fault(good),
      "read refused: output of stage 1: the output of stage 0 is not what its writer recorded");
  written_[4] = {nullptr, 104, 1};
  EXPECT_EQ(Fault(good),
            "read refused: output of stage 1 wants the output of stage 0, which is dead");
}

TEST(Explain, KnownLengthsGivePositionsAndBytes) {
  const ChainSpec spec = Spec(Placement::kFront, Handoff::kKv, 2);
  const Plan plan = Compiled(spec);
  ExplainFacts facts{.token_counts = {10, 11, 5, 6, -1, 7, -1}, .prompt_lengths = {10, 11}};
  facts.layout = {.layers = 2, .kv_heads = 1, .head_dim = 4, .page_tokens = 8};
  const std::string text = ExplainPlan(spec, plan, facts);
  EXPECT_THAT(text, HasSubstr("21"));
  EXPECT_THAT(text, HasSubstr("32+|O[a]|"));
  EXPECT_THAT(text, HasSubstr("512"));
  const std::string json = ExplainPlanJson(spec, plan, facts);
  EXPECT_THAT(json, HasSubstr(R"("id":3,"name":"I[a]")"));
  EXPECT_THAT(json, HasSubstr(R"("tokens":6,"start":26,"kv_bytes":512})"));
  EXPECT_THAT(text, HasSubstr("prompts front, KV in f32\n"));
  // Of int8: rows of four quants and a scale.
  facts.layout.dtype = DType::kI8;
  EXPECT_THAT(ExplainPlan(spec, plan, facts), HasSubstr("prompts front, KV in int8\n"));
  const std::string narrow = ExplainPlanJson(spec, plan, facts);
  EXPECT_THAT(narrow, HasSubstr(R"("tokens":6,"start":26,"kv_bytes":256})"));
  EXPECT_THAT(narrow, HasSubstr(R"("kv_type":"int8","kv_bytes_per_token":32)"));
}

}  // namespace
}  // namespace onepass
