#include "chain/runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "chain/explain.h"
#include "chain/runner_for_test.h"

namespace onepass {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

constexpr DType kKvTypes[] = {DType::kF32, DType::kBF16, DType::kI8};

// Three stages of the forms that differ: with and without own input, by start token.
ChainSpec ThreeStages(Placement placement) {
  ChainSpec spec;
  spec.name = "three";
  spec.file = "three.yaml";
  spec.placement = placement;
  spec.shared = "Q: {Q}\n";
  spec.stages.resize(3);
  spec.stages[0] = {.name = "a", .input = "{D}\n", .start = "<bos>"};
  spec.stages[1] = {.name = "b", .input = "then {N}:", .start = "<bos>"};
  spec.stages[2] = {.name = "c", .start = "<note>"};
  for (StageSpec& stage : spec.stages) {
    stage.stop_tokens = {"<eos>"};
    stage.max_tokens = 9;
    stage.sampling = {.temperature = 0.8, .seed = 3};
  }
  return spec;
}

// Which earlier stages' outputs a stage reads: [reader][written by].
using Reads = std::array<std::array<bool, 3>, 3>;
constexpr Reads kAllEarlier = {{{}, {true}, {true, true}}};

// The method's table, written down a second time, for the segments of a kv hand-off.
bool MayRead(Placement placement, const Reads& reads, const PlannedSegment& reader,
             const PlannedSegment& target) {
  const bool own = reader.stage == target.stage;
  const bool reads_output =
      reader.stage >= 0 && target.kind == SegmentKind::kOutput && reads[reader.stage][target.stage];
  switch (reader.kind) {
    case SegmentKind::kSharedInput:
      return false;
    case SegmentKind::kPrompt:
      return placement == Placement::kInline &&
             (target.kind == SegmentKind::kSharedInput || reads_output);
    case SegmentKind::kOwnInput:
      return target.kind == SegmentKind::kSharedInput ||
             (target.kind == SegmentKind::kPrompt && own) || reads_output;
    case SegmentKind::kOutput:
      return target.kind == SegmentKind::kSharedInput ||
             (target.kind == SegmentKind::kPrompt && own) ||
             (target.kind == SegmentKind::kOwnInput && own) || reads_output;
  }
  return false;
}

class RunnerTest : public RunnerFixture {};

TEST_F(RunnerTest, KvHandoffEqualsFullRecomputationBitwiseOnRef) {
  for (const Placement placement : kPlacements) {
    for (const DType kv_dtype : kKvTypes) {
      const auto runner = Make(ThreeStages(placement), {.kv_dtype = kv_dtype});
      Held held;
      RunOne(*runner, Records()[2], &held);
      Recomputation recomputation(*base_, runner->plan(), held, Prompts(), kv_dtype);
      ASSERT_EQ(recomputation.order().size(), runner->plan().segments.size());
      int64_t next = 0;
      for (const int id : recomputation.order()) {
        EXPECT_EQ(held[id]->start_position(), next) << "positions are one running index";
        next = held[id]->end_position();
        EXPECT_EQ(KvOf(*held[id]), KvOf(*recomputation.fresh(id)))
            << NameOf(placement) << " segment " << id << " in " << KvTypeName(kv_dtype);
        EXPECT_EQ(held[id]->provenance().content_hash,
                  recomputation.fresh(id)->provenance().content_hash);
      }
    }
  }
}

// A row's conversion depends on the row alone, and the cpu's rows on no batch.
TEST_F(RunnerTest, NarrowKvHandoffEqualsFullRecomputationBitwiseOnCpu) {
  UseBackend("cpu");
  for (const Placement placement : kPlacements) {
    for (const DType kv_dtype : {DType::kBF16, DType::kI8}) {
      const auto runner = Make(ThreeStages(placement), {.kv_dtype = kv_dtype});
      Held held;
      RunOne(*runner, Records()[2], &held);
      Recomputation recomputation(*base_, runner->plan(), held, Prompts(), kv_dtype);
      for (const int id : recomputation.order()) {
        EXPECT_EQ(KvOf(*held[id]), KvOf(*recomputation.fresh(id)))
            << NameOf(placement) << " segment " << id << " in " << KvTypeName(kv_dtype);
      }
    }
  }
}

TEST_F(RunnerTest, NarrowKvIsNearTheKvInF32) {
  for (const char* backend : {"ref", "cpu"}) {
    UseBackend(backend);
    const auto wide = Make(ThreeStages(Placement::kFront));
    Held held;
    RunOne(*wide, Records()[2], &held);
    for (const DType kv_dtype : {DType::kBF16, DType::kI8}) {
      // The tokens of the f32 run, whatever this type would have written.
      Recomputation narrow(*base_, wide->plan(), held, Prompts(), kv_dtype);
      for (const int id : narrow.order()) {
        const std::vector<float> exact = KvOf(*held[id]);
        const std::vector<float> near = KvOf(*narrow.fresh(id));
        ASSERT_EQ(exact.size(), near.size());
        double error = 0;
        double size = 0;
        for (size_t i = 0; i < exact.size(); ++i) {
          error += std::pow(exact[i] - near[i], 2);
          size += std::pow(exact[i], 2);
        }
        EXPECT_GT(error, 0);
        EXPECT_LT(std::sqrt(error / size), 0.01) << backend << " in " << KvTypeName(kv_dtype);
        EXPECT_NE(held[id]->provenance().content_hash, narrow.fresh(id)->provenance().content_hash);
      }
    }
  }
}

TEST_F(RunnerTest, PeakBytesAreThoseThatThePlanPredictsOfTheType) {
  for (const Placement placement : kPlacements) {
    for (const DType kv_dtype : kKvTypes) {
      const auto runner = Make(ThreeStages(placement), {.page_tokens = 4, .kv_dtype = kv_dtype});
      ASSERT_EQ(runner->pool().layout(), base_->config().Layout(4, kv_dtype));
      const RecordResult result = RunOne(*runner, Records()[0]);
      EXPECT_EQ(result.peak_kv_bytes, runner->pool().bytes_peak());
      Held held;
      RunOne(*runner, Records()[0], &held);
      ExplainFacts facts{.prompt_lengths = {5, 3, 4}, .layout = runner->pool().layout()};
      for (const SegmentRef& segment : held) facts.token_counts.push_back(segment->token_count());
      const nlohmann::json plan =
          nlohmann::json::parse(ExplainPlanJson(runner->spec(), runner->plan(), facts));
      const int64_t predicted =
          PeakKvBytes(runner->plan(), facts.token_counts, runner->pool().layout());
      EXPECT_EQ(result.peak_kv_bytes, predicted) << KvTypeName(kv_dtype);
      EXPECT_EQ(plan["kv_bytes_per_token"], base_->config().Layout(1, kv_dtype).TokenBytes());
    }
  }
}

TEST_F(RunnerTest, KvIsStoredInWhatInferenceMayChooseOnly) {
  for (const DType dtype : {DType::kF64, DType::kF16, DType::kU8}) {
    const auto runner =
        ChainRunner::Create(*base_, ThreeStages(Placement::kFront), Prompts(), {.kv_dtype = dtype});
    EXPECT_EQ(runner.status().message(),
              "kv: want f32, bf16 or int8, found " + std::string(NameOf(dtype)));
  }
}

TEST_F(RunnerTest, KvHandoffIsNearFullRecomputationOnCpu) {
  UseBackend("cpu");
  for (const Placement placement : kPlacements) {
    const auto runner = Make(ThreeStages(placement));
    Held held;
    RunOne(*runner, Records()[2], &held);
    Recomputation recomputation(*base_, runner->plan(), held, Prompts());
    for (const int id : recomputation.order()) {
      const std::vector<float> ours = KvOf(*held[id]);
      const std::vector<float> fresh = KvOf(*recomputation.fresh(id));
      ASSERT_EQ(ours.size(), fresh.size());
      for (size_t i = 0; i < ours.size(); ++i) ASSERT_NEAR(ours[i], fresh[i], 2e-5);
    }
  }
}

TEST_F(RunnerTest, EveryPairSeesOrDoesNotSeeAsTheMethodSays) {
  Reads only_a = kAllEarlier;
  only_a[2][1] = false;
  for (const char* backend : {"ref", "cpu"}) {
    UseBackend(backend);
    for (const Placement placement : kPlacements) {
      for (const Reads& reads : {kAllEarlier, only_a}) {
        ChainSpec spec = ThreeStages(placement);
        if (reads == only_a) spec.stages[2].reads = {"a"};
        const auto runner = Make(spec);
        const Plan& plan = runner->plan();
        Held held;
        RunOne(*runner, Records()[0], &held);
        Recomputation recomputation(*base_, plan, held, Prompts());
        for (const int reader : recomputation.order()) {
          for (const int target : recomputation.order()) {
            if (reader == target) continue;
            const bool may =
                MayRead(placement, reads, plan.segments[reader], plan.segments[target]);
            const SegmentRef changed = recomputation.WithChanged(reader, target);
            const bool same = KvOf(*changed) == KvOf(*recomputation.fresh(reader));
            EXPECT_EQ(same, !may) << backend << ", " << NameOf(placement)
                                  << (reads == only_a ? ", c reads a" : "") << ": reader " << reader
                                  << ", segment " << target;
          }
        }
      }
    }
  }
}

// End to end: what a stage cannot see even through others never changes its KV or its tokens.
TEST_F(RunnerTest, AStagesPromptAndInputReachOnlyItselfAndLaterStages) {
  for (const Placement placement : kPlacements) {
    for (const Handoff handoff : kHandoffs) {
      const RunnerOptions options{.handoff = handoff};
      const auto runner = Make(ThreeStages(placement), options);
      Held before;
      const RecordResult was = RunOne(*runner, Records()[0], &before);
      for (int stage = 0; stage < 3; ++stage) {
        for (const bool change_prompt : {true, false}) {
          std::vector<SoftPrompt> prompts = Prompts();
          ChainSpec spec = ThreeStages(placement);
          if (change_prompt) {
            prompts[stage].vectors.span()[0] += 1;
          } else if (stage < 2) {
            spec.stages[stage].input = "!" + spec.stages[stage].input;
          } else {
            continue;
          }
          const auto other = Make(spec, options, std::move(prompts));
          Held after;
          const RecordResult is = RunOne(*other, Records()[0], &after);
          for (size_t id = 0; id < before.size(); ++id) {
            if (before[id] == nullptr) continue;  // joined with the texts before it
            const PlannedSegment& segment = runner->plan().segments[id];
            const bool own = segment.stage == stage;
            if (segment.stage < stage ||
                (segment.kind == SegmentKind::kPrompt && !own && placement == Placement::kFront)) {
              EXPECT_EQ(KvOf(*before[id]), KvOf(*after[id])) << id;
            }
            if (own && segment.kind == SegmentKind::kOutput) {
              EXPECT_NE(KvOf(*before[id]), KvOf(*after[id])) << id;
            }
          }
          for (int i = 0; i < stage; ++i) EXPECT_EQ(was.stages[i].tokens, is.stages[i].tokens);
        }
      }
    }
  }
}

TEST_F(RunnerTest, CountersProveThatKvRecomputesNothing) {
  for (const Placement placement : kPlacements) {
    for (const Handoff handoff : kHandoffs) {
      const auto runner = Make(ThreeStages(placement), {.handoff = handoff});
      const int64_t before = runner->counters().tokens_computed;
      Held held;
      const RecordResult result = RunOne(*runner, Records()[1], &held);
      EXPECT_EQ(runner->counters().tokens_computed - before, result.TokensComputed());
      int64_t shared = 0;
      int64_t again = 0;
      int64_t written = 0;
      Transcript transcript;
      for (const StageResult& stage : result.stages) transcript.texts.emplace_back(stage.text);
      const InputTokens no_inputs{.shared = {}, .own = {{}, {}, {}}};
      for (size_t id = 0; id < held.size(); ++id) {
        const PlannedSegment& segment = runner->plan().segments[id];
        const int64_t count = held[id] == nullptr ? 0 : held[id]->token_count();
        if (segment.dies_after < 3) written += count;
        if (segment.kind == SegmentKind::kSharedInput) shared = count;
        if (segment.text_of.empty()) continue;
        again += std::ssize(runner->templates().TokensOf(runner->plan(), static_cast<int>(id),
                                                         no_inputs, transcript));
      }
      EXPECT_EQ(result.TokensComputed(), written);
      switch (handoff) {
        case Handoff::kKv:
          EXPECT_EQ(result.TokensRecomputed(), 0);
          EXPECT_EQ(again, 0);
          EXPECT_GT(result.stages[2].tokens_reused, 0);
          break;
        case Handoff::kTextCached:
          EXPECT_EQ(result.TokensRecomputed(), again);
          EXPECT_EQ(result.TokensReused(),
                    2 * shared + (placement == Placement::kFront ? 5 + 3 + 4 : 0));
          break;
        case Handoff::kText:
          EXPECT_EQ(result.TokensRecomputed(), again + 2 * shared);
          EXPECT_EQ(result.TokensReused(), 0);
          break;
      }
    }
  }
}

TEST_F(RunnerTest, ABatchWritesTheTokensOfItsRecordsAlone) {
  for (const char* backend : {"ref", "cpu"}) {
    UseBackend(backend);
    for (const Placement placement : kPlacements) {
      for (const auto& [handoff, kv_dtype] :
           {std::pair{Handoff::kText, DType::kF32}, std::pair{Handoff::kTextCached, DType::kF32},
            std::pair{Handoff::kKv, DType::kF32}, std::pair{Handoff::kText, DType::kI8},
            std::pair{Handoff::kKv, DType::kBF16}, std::pair{Handoff::kKv, DType::kI8}}) {
        const std::vector<Record> records = Records();
        const auto alone = Make(ThreeStages(placement), {.handoff = handoff, .kv_dtype = kv_dtype});
        const auto batched =
            Make(ThreeStages(placement), {.handoff = handoff, .batch = 3, .kv_dtype = kv_dtype});
        const std::vector<RecordResult> one = alone->Run(records);
        const std::vector<RecordResult> many = batched->Run(records);
        for (size_t i = 0; i < records.size(); ++i) {
          ASSERT_TRUE(many[i].status.ok()) << many[i].status.message();
          EXPECT_EQ(one[i].number, many[i].number);
          EXPECT_EQ(one[i].peak_kv_bytes, many[i].peak_kv_bytes);
          for (int stage = 0; stage < 3; ++stage) {
            EXPECT_EQ(one[i].stages[stage].tokens, many[i].stages[stage].tokens);
            EXPECT_EQ(one[i].stages[stage].tokens_computed, many[i].stages[stage].tokens_computed);
          }
        }
      }
    }
  }
}

TEST_F(RunnerTest, ColdEqualsWarmTokenForToken) {
  for (const auto& [backend, kv_dtype] :
       {std::pair{"ref", DType::kF32}, std::pair{"cpu", DType::kF32},
        std::pair{"cpu", DType::kBF16}, std::pair{"cpu", DType::kI8}}) {
    UseBackend(backend);
    const std::vector<Record> records = Records();
    const auto warm = Make(ThreeStages(Placement::kFront), {.kv_dtype = kv_dtype});
    const auto cold = Make(ThreeStages(Placement::kFront), {.cold = true, .kv_dtype = kv_dtype});
    const std::vector<RecordResult> warm_results = warm->Run(records);
    const std::vector<RecordResult> cold_results = cold->Run(records);
    for (size_t i = 0; i < records.size(); ++i) {
      for (int stage = 0; stage < 3; ++stage) {
        EXPECT_EQ(warm_results[i].stages[stage].tokens, cold_results[i].stages[stage].tokens);
      }
      EXPECT_EQ(cold_results[i].TokensComputed(), warm_results[i].TokensComputed() + 5 + 3 + 4);
      // A fresh process, this record first.
      const auto fresh = Make(ThreeStages(Placement::kFront), {.kv_dtype = kv_dtype});
      EXPECT_EQ(RunOne(*fresh, records[i]).stages[2].tokens, warm_results[i].stages[2].tokens);
    }
  }
}

// The baseline is not made slow: a text hand-off prefills texts and own input in one call.
TEST_F(RunnerTest, TextsReadAgainAndOwnInputShareAForwardCall) {
  ChainSpec joined = ThreeStages(Placement::kFront);
  joined.handoff = Handoff::kText;
  joined.stages.pop_back();
  ChainSpec without = joined;
  without.stages[1].input.clear();
  std::vector<int64_t> calls;
  for (const ChainSpec& spec : {joined, without}) {
    std::vector<SoftPrompt> prompts = Prompts();
    prompts.pop_back();
    const auto runner = Make(spec, {}, std::move(prompts));
    const RecordResult result = RunOne(*runner, Records()[0]);
    int64_t decoded = 0;
    for (const StageResult& stage : result.stages) {
      decoded += std::ssize(stage.tokens) + (stage.finish == FinishReason::kStopToken ? 1 : 0);
    }
    calls.push_back(runner->counters().forward_calls - decoded);
  }
  EXPECT_EQ(calls[0], calls[1]);
}

TEST_F(RunnerTest, DeadSegmentsAreFreedAtTheHandoff) {
  for (const Placement placement : kPlacements) {
    for (const Handoff handoff : kHandoffs) {
      const auto runner = Make(ThreeStages(placement), {.handoff = handoff});
      const int64_t resident = runner->pool().bytes_used();
      runner->on_step = [&](size_t, int stage, const std::vector<WrittenSegment>& written) {
        for (size_t id = 0; id < written.size(); ++id) {
          if (written[id].segment == nullptr) continue;
          EXPECT_GE(runner->plan().segments[id].dies_after, stage);
        }
      };
      const RecordResult result = RunOne(*runner, Records()[0]);
      EXPECT_EQ(runner->pool().bytes_used(), resident);
      EXPECT_EQ(runner->pool().bytes_peak(), result.peak_kv_bytes);
    }
  }
}

TEST_F(RunnerTest, OneCacheServesAnyNumberOfStagesUnderKv) {
  // Pages of one token: bytes tell tokens. The first stage's document is the most of everything.
  const RunnerOptions options{.page_tokens = 1};
  const int64_t token_bytes = base_->config().Layout(1, DType::kF32).PageBytes();
  std::vector<int64_t> peaks;
  for (size_t stages = 1; stages <= 3; ++stages) {
    ChainSpec spec = ThreeStages(Placement::kInline);
    spec.stages.resize(stages);
    std::vector<SoftPrompt> prompts = Prompts();
    prompts.resize(stages);
    const auto runner = Make(spec, options, std::move(prompts));
    peaks.push_back(RunOne(*runner, Records()[2]).peak_kv_bytes);
  }
  // Alone, the first stage's last token is read by nobody and need not be fed.
  EXPECT_LE(peaks[1] - peaks[0], token_bytes);
  EXPECT_EQ(peaks[1], peaks[2]);
}

TEST_F(RunnerTest, AFullContextNeedsNoTableOfPagesForIt) {
  ModelConfig config = TinyConfig();
  config.max_positions = int64_t{1} << 30;
  const auto base = LoadTinyBase(WriteTinyBase("runner_test_wide", config), "ref");
  ASSERT_NE(base, nullptr);
  const auto runner =
      ChainRunner::Create(*base, ThreeStages(Placement::kFront), Prompts(), {.batch = 4096});
  ASSERT_TRUE(runner.ok()) << runner.status().message();
  const std::vector<Record> records = Records();
  EXPECT_TRUE((*runner)->Run({records.data(), 1})[0].status.ok());
}

TEST_F(RunnerTest, AnOutputCutByItsLengthHandsAllItsTokensOver) {
  ChainSpec spec = ThreeStages(Placement::kFront);
  spec.stages[0].stop_tokens.clear();
  const auto runner = Make(spec);
  Held held;
  const RecordResult result = RunOne(*runner, Records()[0], &held);
  EXPECT_EQ(result.stages[0].finish, FinishReason::kLength);
  const int output = runner->plan().OutputOf(0);
  EXPECT_EQ(held[output]->token_count(), 1 + 9);  // <bos> and all that were sampled
}

TEST_F(RunnerTest, AFaultyRecordIsItsOwnFault) {
  const auto runner = Make(ThreeStages(Placement::kFront), {.batch = 4});
  std::vector<Record> records = Records();
  records[1].fields.pop_back();
  const std::vector<RecordResult> results = runner->Run(records);
  EXPECT_EQ(results[1].status.message(),
            "record 2 (line 2): want field \"N\", found only \"Q\", \"D\"");
  for (const size_t i : {0, 2, 3}) EXPECT_TRUE(results[i].status.ok());
  const auto alone = Make(ThreeStages(Placement::kFront));
  EXPECT_EQ(results[2].stages[2].tokens, RunOne(*alone, records[2]).stages[2].tokens);
}

TEST_F(RunnerTest, AnOverlongRecordIsRefusedWithNumbers) {
  const auto runner = Make(ThreeStages(Placement::kFront), {.batch = 2});
  std::vector<Record> records = Records();
  records[0].fields[1].text = std::string(400, 'x');
  const std::vector<RecordResult> results = runner->Run(records);
  // 12 of prompts; "Q: who?\n" 8; 400 + 1; "then 1:" 5 ("the" is a token); 3 outputs of 1 + 9.
  EXPECT_EQ(
      results[0].status.message(),
      "record 1 (line 1): want at most 256 positions (the base's context), found 456 with 414 "
      "input tokens and outputs as long as they may be "
      "(a chain with `overlong: cut` shortens its cut_field)");
  EXPECT_TRUE(results[1].status.ok());
}

// Up to its window a base that slides is like any other; beyond, a record is refused by its name.
TEST_F(RunnerTest, ARecordThatExceedsTheSlidingWindowIsRefused) {
  ModelConfig config = TinyConfig();
  config.architecture = "mistral";
  config.sliding_window = config.max_positions = 128;
  const auto base = LoadTinyBase(WriteTinyBase("runner_test_window", config), "ref");
  ASSERT_NE(base, nullptr);
  ASSERT_EQ(base->config().max_positions, 128);
  const auto runner =
      ChainRunner::Create(*base, ThreeStages(Placement::kFront), Prompts(), {.batch = 2});
  ASSERT_TRUE(runner.ok()) << runner.status().message();
  std::vector<Record> records = Records();
  records[0].fields[1].text = std::string(100, 'x');
  const std::vector<RecordResult> results = (*runner)->Run({records.data(), 2});
  EXPECT_EQ(results[0].status.message(),
            "record 1 (line 1): want at most 128 positions (the base's sliding window), found 156 "
            "with 114 input tokens and outputs as long as they may be "
            "(a chain with `overlong: cut` shortens its cut_field)");
  EXPECT_TRUE(results[1].status.ok()) << results[1].status.message();
}

TEST_F(RunnerTest, CuttingTakesTheEndOfTheCutFieldOnly) {
  ChainSpec spec = ThreeStages(Placement::kFront);
  spec.overlong = Overlong::kCut;
  spec.cut_field = "D";
  std::string document;
  std::vector<int64_t> cuts;
  for (int i = 0; i < 80; ++i) document += "\xC3\xA9\xE2\x82\xAC";  // characters of 2 and 3 bytes
  for (const Handoff handoff : kHandoffs) {
    const auto runner = Make(spec, {.handoff = handoff});
    Record record = MakeRecord(1, "who?", document);
    Held held;
    const RecordResult result = RunOne(*runner, record, &held);
    EXPECT_GT(result.cut_bytes, 0);
    const std::string kept = TextOf(held, runner->plan(), SegmentKind::kOwnInput, 0);
    ASSERT_EQ(kept.back(), '\n');
    EXPECT_EQ(document.compare(0, kept.size() - 1, kept, 0, kept.size() - 1), 0)
        << "a prefix, in whole characters";
    EXPECT_EQ(static_cast<int64_t>(kept.size() - 1), std::ssize(document) - result.cut_bytes);
    EXPECT_EQ(TextOf(held, runner->plan(), SegmentKind::kSharedInput, -1), "Q: who?\n");
    // Behind the first output's text, where that is read again.
    EXPECT_THAT(TextOf(held, runner->plan(), SegmentKind::kOwnInput, 1), EndsWith("then 1:"));
    cuts.push_back(result.cut_bytes);
    if (handoff != Handoff::kKv) continue;  // which needs the most positions
    // Two more characters would not have fit.
    record.fields[1].text = document.substr(0, kept.size() - 1 + 5);
    ChainSpec refusing = ThreeStages(Placement::kFront);
    EXPECT_FALSE(Make(refusing, {.handoff = handoff})->Run({&record, 1})[0].status.ok());
  }
  EXPECT_THAT(cuts, testing::Each(cuts[0])) << "the hand-offs see the same inputs";
  // A question that stands behind the documents, in one template with them, stays whole too.
  ChainSpec behind = spec;
  behind.shared.clear();
  behind.stages[0].input = "{D}\n{Q}\n";
  const auto runner = Make(behind);
  Held held;
  EXPECT_GT(RunOne(*runner, MakeRecord(1, "who?", document), &held).cut_bytes, 0);
  EXPECT_THAT(TextOf(held, runner->plan(), SegmentKind::kOwnInput, 0), EndsWith("\nwho?\n"));
  // What no cut mends for the kv hand-off is no fault of a text one, which needs fewer positions.
  ChainSpec wide = spec;
  for (StageSpec& stage : wide.stages) stage.reads = std::vector<std::string>{};
  Record tight = MakeRecord(1, std::string(209, 'q'), "x");
  EXPECT_FALSE(Make(wide)->Run({&tight, 1})[0].status.ok());
  const RecordResult fits = RunOne(*Make(wide, {.handoff = Handoff::kText}), tight);
  EXPECT_EQ(fits.cut_bytes, 0);
  Record record = MakeRecord(1, std::string(400, 'q'), "x");
  const std::vector<RecordResult> results = Make(spec)->Run({&record, 1});
  EXPECT_THAT(results[0].status.message(), HasSubstr("cutting all of field \"D\" is not enough"));
}

TEST_F(RunnerTest, TooFewPagesAreTheFaultOfTheRecordsThatNeedThem) {
  const KvLayout layout = base_->config().Layout(16, DType::kF32);
  std::vector<Record> records = Records();
  records[2].fields[1].text = std::string(180, 'x');
  // Together the records do not fit; each of the small ones does.
  const auto runner =
      Make(ThreeStages(Placement::kFront), {.batch = 4, .max_kv_bytes = 11 * layout.PageBytes()});
  const std::vector<RecordResult> results = runner->Run(records);
  EXPECT_TRUE(results[0].status.ok()) << results[0].status.message();
  EXPECT_EQ(results[2].status.code(), StatusCode::kExhausted);
  EXPECT_THAT(results[2].status.message(), HasSubstr("record 3 (line 3): kv pages: want"));
  EXPECT_TRUE(results[3].status.ok()) << results[3].status.message();
  EXPECT_LE(runner->pool().bytes_peak(), 11 * layout.PageBytes());
}

TEST_F(RunnerTest, ChainsMixHandoffs) {
  ChainSpec spec = ThreeStages(Placement::kFront);
  spec.stages[0].handoff = Handoff::kText;
  spec.stages[2].handoff = Handoff::kTextCached;
  const RecordResult mixed = RunOne(*Make(spec), Records()[0]);
  const RecordResult kv = RunOne(*Make(ThreeStages(Placement::kFront)), Records()[0]);
  EXPECT_EQ(mixed.stages[0].tokens, kv.stages[0].tokens);
  EXPECT_EQ(mixed.stages[1].tokens, kv.stages[1].tokens);
  EXPECT_EQ(mixed.stages[1].tokens_recomputed, 0);
  EXPECT_GT(mixed.stages[2].tokens_recomputed, 0);
}

TEST_F(RunnerTest, AnOutputMayFollowItsInputWithoutAStartToken) {
  for (const Placement placement : kPlacements) {
    ChainSpec spec = ThreeStages(placement);
    spec.stages[0].start.clear();
    spec.stages[1].start.clear();
    const auto runner = Make(spec);
    Held held;
    const RecordResult result = RunOne(*runner, Records()[0], &held);
    EXPECT_EQ(held[runner->plan().OutputOf(0)]->token_count(), std::ssize(result.stages[0].tokens));
    spec.stages[0].input = "{D}";
    Record record = MakeRecord(1, "q", "");
    const std::vector<RecordResult> results = Make(spec)->Run({&record, 1});
    EXPECT_THAT(results[0].status.message(),
                HasSubstr("stage \"a\": want an input that the output"));
  }
}

TEST_F(RunnerTest, EmptyInputsAreLeftOutOfViews) {
  ChainSpec spec = ThreeStages(Placement::kFront);
  spec.shared = "{Q}";
  spec.stages[0].input = "{D}";
  const Record record = MakeRecord(1, "", "");
  for (const Handoff handoff : kHandoffs) {
    const auto runner = Make(spec, {.handoff = handoff});
    EXPECT_EQ(RunOne(*runner, record).stages.size(), 3u);
  }
}

TEST_F(RunnerTest, PromptsOfTheWrongWidthAreRefused) {
  std::vector<SoftPrompt> prompts = Prompts();
  prompts[1] = RandomPrompt(4, 16, 1);
  const auto runner =
      ChainRunner::Create(*base_, ThreeStages(Placement::kFront), std::move(prompts), {});
  EXPECT_EQ(runner.status().message(), "three.yaml: stage \"b\": prompt: want width 32, found 16");
}

TEST_F(RunnerTest, SampledOutputsDependOnTheSeedAndTheRecordAlone) {
  const auto runner = Make(ThreeStages(Placement::kFront));
  const RecordResult once = RunOne(*runner, Records()[0]);
  EXPECT_EQ(once.stages[0].tokens, RunOne(*runner, Records()[0]).stages[0].tokens);
  Record renumbered = Records()[0];
  renumbered.number = 9;
  EXPECT_NE(once.stages[0].tokens, RunOne(*runner, renumbered).stages[0].tokens);
}

}  // namespace
}  // namespace onepass
