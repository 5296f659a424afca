// The replay's losses are training's, its table says what happened, and records that do not fit are
// cut or left out.
#include "bench/replay.h"

#include <cmath>

#include "bench/measure.h"
#include "chain/runner_for_test.h"
#include "chain/trace.h"
#include "core/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "train/prompt_gradient.h"

namespace onepass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// a -> b -> a ... at most three rounds.
ChainSpec Loop(Placement placement) {
  ChainSpec spec;
  spec.name = "loop";
  spec.file = "loop.yaml";
  spec.placement = placement;
  spec.shared = "Q: {Q}\n";
  spec.stages.resize(2);
  spec.stages[0] = {.name = "a", .start = "<bos>", .stop_tokens = {"<eos>"}};
  spec.stages[1] = {.name = "b", .input = "{D}:", .start = "<note>", .stop_tokens = {"</note>"}};
  spec.flow = {{.names = {"a", "b"}, .rounds = 3, .until = {.stage = "a", .text = "!"}}};
  return spec;
}

constexpr const char* kRecords =
    R"({"Q": "who?", "D": "the other", "O_1A": "he", "O_1B": "then", "O_2A": "go!"}
{"Q": "why?", "D": "none", "O_1A": "no!"}
{"Q": "what is it?", "D": "a the", "O_1A": "x", "O_1B": "y", "O_2A": "z", "O_2B": "u", "O_3A": "v!"}
)";
const std::vector<std::string> kFields = {"O_{round}A", "O_{round}B"};

class ReplayBenchTest : public RunnerFixture {
 protected:
  void SetUp() override {
    RunnerFixture::SetUp();
    input_ = ::testing::TempDir() + "/onepass_replay_bench.jsonl";
    WriteRecords(kRecords);
  }
  void WriteRecords(const std::string& text) {
    ASSERT_TRUE(WriteFileAtomically(input_, text).ok());
  }
  Result<BenchReport> Bench(const ChainSpec& spec, int64_t most_records = 0) {
    return BenchReplay(*base_, spec,
                       {.input = input_, .outputs = kFields, .most_records = most_records});
  }
  static double Cell(const BenchReport& report, const std::string& what, const std::string& stage,
                     const std::string& handoff, size_t column) {
    for (const auto& row : report.rows) {
      if (row[0] != BenchCell(what) || row[1] != BenchCell(stage)) continue;
      if (row[2] != BenchCell(handoff)) continue;
      const auto* count = std::get_if<int64_t>(&row[column]);
      return count != nullptr ? static_cast<double>(*count) : std::get<double>(row[column]);
    }
    ADD_FAILURE() << "no row " << what << " " << stage << " " << handoff;
    return -1;
  }
  static int64_t Fact(const BenchReport& report, const std::string& name) {
    for (const auto& [key, value] : report.facts) {
      if (key == name) return std::get<int64_t>(value);
    }
    return -1;
  }

  std::string input_;
};

// By an independent way: training's, which runs all segments of the plan itself.
TEST_F(ReplayBenchTest, LossesUnderKvAreTrainings) {
  for (const Placement placement : {Placement::kFront, Placement::kInline}) {
    std::vector<SoftPrompt> prompts = Prompts();
    prompts.pop_back();
    const std::vector<int64_t> lengths = {prompts[0].length(), prompts[1].length()};
    Buffer<float> parameters(lengths[0] + lengths[1], 32);
    std::ranges::copy(prompts[0].vectors.span(), parameters.span().begin());
    std::ranges::copy(prompts[1].vectors.span(),
                      parameters.span().begin() + prompts[0].vectors.size());
    const auto runner = Make(Loop(placement), {.handoff = Handoff::kKv}, std::move(prompts));
    ASSERT_NE(runner, nullptr);
    const Plan& plan = runner->plan();
    const Result<TapePlan> tape = MakeTapePlan(plan, {0, 1}, false);
    ASSERT_TRUE(tape.ok()) << tape.status().message();
    PagePool pool(base_->config().Layout(16, DType::kF32), 256);
    PromptGradient<float> gradient(*base_->model, pool, plan, *tape, lengths);

    const Result<std::vector<Record>> records = LoadRecords(input_);
    ASSERT_TRUE(records.ok()) << records.status().message();
    for (const Record& record : *records) {
      const auto outputs = TraceOf(plan, kFields, nullptr, record);
      ASSERT_TRUE(outputs.ok()) << outputs.status().message();
      const auto tokens =
          TokensOfPlan(runner->templates(), plan, {.record = &record, .texts = *outputs});
      ASSERT_TRUE(tokens.ok()) << tokens.status().message();
      TrainSample sample{.tokens = *tokens, .ran = {}, .targets = {}};
      for (const auto& output : *outputs) sample.ran.push_back(output.has_value());
      for (const int id : tape->targets) {
        const PlannedSegment& segment = plan.segments[id];
        if (!sample.ran[segment.step]) continue;
        sample.targets.push_back({.id = id,
                                  .start_count = 1,
                                  .end_token = runner->templates().StopTokens(segment.stage)[0]});
      }
      const TrainSample* pointer = &sample;
      std::vector<float> want;
      const auto loss = gradient.Run({&pointer, 1}, std::as_const(parameters).view(), 1, {}, &want);
      ASSERT_TRUE(loss.ok()) << loss.status().message();
      const auto replay = runner->Replay(record, *outputs);
      ASSERT_TRUE(replay.ok()) << replay.status().message();
      std::vector<float> found;
      for (const auto& losses : replay->losses) {
        found.insert(found.end(), losses.begin(), losses.end());
      }
      ASSERT_EQ(found.size(), want.size());
      for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(found[i], want[i], 1e-5) << i;
    }
  }
}

TEST_F(ReplayBenchTest, TheTableSaysWhatHappened) {
  const Result<BenchReport> report = Bench(Loop(Placement::kFront));
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(Fact(*report, "records"), 3);
  EXPECT_EQ(Fact(*report, "skipped"), 0);
  constexpr size_t kN = 3, kMean = 4, kDeviation = 5, kMedian = 7;
  EXPECT_EQ(Cell(*report, "rounds", "-", "-", kMean), 2);
  EXPECT_EQ(Cell(*report, "rounds", "-", "-", kDeviation), 1);
  EXPECT_EQ(Cell(*report, "loss", "a", "kv", kN), 6);
  EXPECT_EQ(Cell(*report, "loss", "b", "text", kN), 3);
  EXPECT_EQ(Cell(*report, "handoff_ms", "-", "kv", kN), 6);
  EXPECT_EQ(Cell(*report, "tokens_recomputed", "-", "kv", kMean), 0);
  EXPECT_GT(Cell(*report, "tokens_recomputed", "-", "text", kMedian),
            Cell(*report, "tokens_recomputed", "-", "text-cached", kMedian));
  EXPECT_GT(Cell(*report, "tokens_reused", "-", "kv", kMean),
            Cell(*report, "tokens_reused", "-", "text", kMean));
  // Nothing is handed to the first output, so all hand-offs say it alike, to the last bit.
  const Result<BenchReport> one = Bench(Loop(Placement::kFront), 1);
  ASSERT_TRUE(one.ok()) << one.status().message();
  EXPECT_EQ(Fact(*one, "records"), 1);
  EXPECT_EQ(Cell(*one, "rounds", "-", "-", kDeviation), 0);
  WriteRecords(R"({"Q": "why?", "D": "none", "O_1A": "no!"})");
  const Result<BenchReport> first = Bench(Loop(Placement::kFront));
  ASSERT_TRUE(first.ok()) << first.status().message();
  EXPECT_EQ(Cell(*first, "loss", "a", "kv", kMean), Cell(*first, "loss", "a", "text", kMean));
  EXPECT_EQ(Cell(*first, "loss", "a", "kv", kMean),
            Cell(*first, "loss", "a", "text-cached", kMean));
}

TEST_F(ReplayBenchTest, LongRecordsAreCutWhereTheChainSaysSoElseLeftOut) {
  const std::string long_text(400, 'x');
  WriteRecords(kRecords + (R"({"Q": "who?", "O_1A": "a", "O_1B": "b", "O_2A": "c!", "D": ")" +
                           long_text + "\"}\n"));
  ChainSpec spec = Loop(Placement::kFront);
  const Result<BenchReport> without = Bench(spec);
  ASSERT_TRUE(without.ok()) << without.status().message();
  EXPECT_EQ(Fact(*without, "records"), 3);
  EXPECT_EQ(Fact(*without, "skipped"), 1);
  spec.overlong = Overlong::kCut;
  spec.cut_field = "D";
  const Result<BenchReport> cut = Bench(spec);
  ASSERT_TRUE(cut.ok()) << cut.status().message();
  EXPECT_EQ(Fact(*cut, "records"), 4);
  EXPECT_EQ(Fact(*cut, "cut"), 1);
  EXPECT_EQ(Fact(*cut, "skipped"), 0);
  // What no cut makes fit is left out all the same.
  WriteRecords(R"({"Q": "who?", "D": "d", "O_1A": ")" + long_text + "!\"}\n");
  EXPECT_THAT(Bench(spec).status().message(),
              HasSubstr("want a record that fits the context, found none of 1"));
}

TEST_F(ReplayBenchTest, FaultsNameFileAndRecord) {
  const auto fault = [&](const std::string& records) {
    WriteRecords(records);
    const std::string message = Bench(Loop(Placement::kFront)).status().message();
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_THAT(message, HasSubstr(input_));
    return message;
  };
  EXPECT_THAT(fault(""), HasSubstr("found none of 0"));
  EXPECT_THAT(fault(R"({"Q": "x", "D")"), HasSubstr("record 1 (line 1)"));
  EXPECT_THAT(fault("{\"Q\": \"\xff\"}"), HasSubstr("record 1 (line 1)"));
  EXPECT_THAT(fault(R"([{"Q": "x", "D": "y", "O_1A": "z"})"), HasSubstr("want \",\" or \"]\""));
  EXPECT_THAT(fault(R"({"Q": "x", "D": "y"})"), HasSubstr("\"O_1A\""));
  EXPECT_THAT(fault(R"({"Q": "x", "D": "y", "O_1A": ["z"]})"),
              HasSubstr("want a string or a number, found array"));
  EXPECT_THAT(fault(R"({"Q": "x", "D": "y", "O_1A": "z", "O_2A": "u"})"),
              HasSubstr("want no field \"O_2A\", since it has no \"O_1B\""));
  const Result<BenchReport> none =
      BenchReplay(*base_, Loop(Placement::kFront), {.input = "/no-file", .outputs = kFields});
  EXPECT_THAT(none.status().message(), HasSubstr("/no-file"));
}

TEST(SummaryOf, IsMeanDeviationAndPercentiles) {
  const auto of = [](std::vector<double> values) {
    const Summary s = SummaryOf(std::move(values));
    return std::vector<double>{s.mean, s.deviation, s.tenth, s.median, s.ninetieth};
  };
  EXPECT_THAT(of({7}), ElementsAre(7, 0, 7, 7, 7));
  EXPECT_THAT(of({3, 1}),
              ElementsAre(2, std::sqrt(2.0), testing::DoubleEq(1.2), 2, testing::DoubleEq(2.8)));
  std::vector<double> eleven;
  for (int i = 10; i >= 0; --i) eleven.push_back(i);
  const Summary s = SummaryOf(eleven);
  EXPECT_DOUBLE_EQ(s.tenth, 1);
  EXPECT_DOUBLE_EQ(s.median, 5);
  EXPECT_DOUBLE_EQ(s.ninetieth, 9);
}

}  // namespace
}  // namespace onepass
