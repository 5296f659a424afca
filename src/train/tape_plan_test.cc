#include "train/tape_plan.h"

#include <gtest/gtest.h>

namespace onepass {
namespace {

// Stages a, b, c; c reads only b. Every stage has an input, a start token and a prompt.
ChainSpec ThreeStages(Handoff handoff, Placement placement) {
  ChainSpec spec;
  spec.name = "three";
  spec.base = "base";
  spec.handoff = handoff;
  spec.placement = placement;
  spec.shared = "S";
  for (const char* name : {"a", "b", "c"}) {
    StageSpec stage;
    stage.name = name;
    stage.input = "I";
    stage.start = "start";
    spec.stages.push_back(stage);
  }
  spec.stages[2].reads = std::vector<std::string>{"b"};
  return spec;
}

Plan Compile(const ChainSpec& spec, const std::vector<int64_t>& lengths) {
  Result<Plan> plan = CompilePlan(spec, lengths);
  ONEPASS_CHECK(plan.ok(), plan.status().message());
  return std::move(plan).value();
}

// "P0 S I0 ...": the segments of one role, as kind and stage.
std::string Names(const Plan& plan, const TapePlan& tape, TapeRole role) {
  std::string names;
  for (size_t id = 0; id < plan.segments.size(); ++id) {
    if (tape.roles[id] != role) continue;
    const PlannedSegment& segment = plan.segments[id];
    std::string name = "S";
    if (segment.kind == SegmentKind::kPrompt) name = "P";
    if (segment.kind == SegmentKind::kOutput) name = "O";
    if (segment.kind == SegmentKind::kOwnInput) name = segment.text_of.empty() ? "I" : "T";
    if (segment.stage >= 0) name += std::to_string(segment.stage);
    names += (names.empty() ? "" : " ") + name;
  }
  return names;
}

class TapePlanTest : public ::testing::TestWithParam<Placement> {};

TEST_P(TapePlanTest, UnderKvOnlyTheTrainedStagesOwnSegmentsAreTaped) {
  const Plan plan = Compile(ThreeStages(Handoff::kKv, GetParam()), {4, 4, 4});
  for (int stage = 0; stage < 3; ++stage) {
    const Result<TapePlan> tape = MakeTapePlan(plan, {stage}, false);
    ASSERT_TRUE(tape.ok()) << tape.status().message();
    const std::string s = std::to_string(stage);
    EXPECT_EQ(Names(plan, *tape, TapeRole::kTaped), "P" + s + " I" + s + " O" + s);
  }
}

TEST_P(TapePlanTest, WhatTheOutputDoesNotReadDirectlyOrIndirectlyIsNotComputed) {
  const Plan plan = Compile(ThreeStages(Handoff::kKv, GetParam()), {4, 4, 4});
  const bool front = GetParam() == Placement::kFront;
  // c reads b, and b reads a: all of it is needed.
  const Result<TapePlan> c = MakeTapePlan(plan, {2}, false);
  ASSERT_TRUE(c.ok());
  EXPECT_EQ(Names(plan, *c, TapeRole::kUnused), "");
  // Training a needs nothing of b and c.
  const Result<TapePlan> a = MakeTapePlan(plan, {0}, false);
  ASSERT_TRUE(a.ok());
  EXPECT_EQ(Names(plan, *a, TapeRole::kUnused), front ? "P1 P2 I1 O1 I2 O2" : "P1 I1 O1 P2 I2 O2");
  EXPECT_EQ(Names(plan, *a, TapeRole::kConstant), "S");
}

TEST_P(TapePlanTest, UnderTextEarlierStagesAreNotComputedAndReReadTextIsTapedIfItSeesThePrompt) {
  const Plan plan = Compile(ThreeStages(Handoff::kText, GetParam()), {4, 4, 4});
  const Result<TapePlan> tape = MakeTapePlan(plan, {1}, false);
  ASSERT_TRUE(tape.ok());
  if (GetParam() == Placement::kFront) {
    EXPECT_EQ(Names(plan, *tape, TapeRole::kTaped), "P1 T1 O1");
    EXPECT_EQ(Names(plan, *tape, TapeRole::kConstant), "S");
  } else {
    EXPECT_EQ(Names(plan, *tape, TapeRole::kTaped), "P1 I1 O1");
    EXPECT_EQ(Names(plan, *tape, TapeRole::kConstant), "S T1");
  }
}

TEST_P(TapePlanTest, TapedConstantsLeaveNoConstantAndComputeNoMore) {
  const Plan plan = Compile(ThreeStages(Handoff::kKv, GetParam()), {4, 4, 4});
  const Result<TapePlan> some = MakeTapePlan(plan, {1}, false);
  const Result<TapePlan> all = MakeTapePlan(plan, {1}, true);
  ASSERT_TRUE(some.ok() && all.ok());
  EXPECT_EQ(Names(plan, *all, TapeRole::kConstant), "");
  EXPECT_EQ(Names(plan, *all, TapeRole::kUnused), Names(plan, *some, TapeRole::kUnused));
}

TEST_P(TapePlanTest, AStageWithoutAPromptCannotBeTrained) {
  const Plan plan = Compile(ThreeStages(Handoff::kKv, GetParam()), {4, 0, 4});
  EXPECT_FALSE(MakeTapePlan(plan, {1}, false).ok());
  EXPECT_TRUE(MakeTapePlan(plan, {0}, false).ok());
}

INSTANTIATE_TEST_SUITE_P(Placements, TapePlanTest,
                         ::testing::Values(Placement::kFront, Placement::kInline),
                         [](const auto& param_info) {
                           return std::string(NameOf(param_info.param));
                         });

}  // namespace
}  // namespace onepass
