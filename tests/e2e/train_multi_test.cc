// Traces of several rounds: all stages learn together, with added tokens of their own, and the
// runner writes under kv hand-off what they learned, round by round.
#include <gmock/gmock.h>

#include "chain/runner.h"
#include "train_fixture.h"

namespace onepass {
namespace {

using ::testing::HasSubstr;

// a asks, b replies, until a says "!": two and three rounds of them.
// `layout`: the prompts' placement, or "first": in front, and b's own input before the question.
void WriteLoop(const TrainFolder& folder, const std::string& layout) {
  const bool first = layout == "first";
  folder.Write("loop.yaml",
               "name: loop\nbase: base\nplacement: " + (first ? "front\nroom: 12" : layout) + R"(
shared: "{Q}\n"
stages:
  - {name: a, prompt: multi/last/a, added_tokens: ["<a>", "</a>"], start: "<a>",
     stop_tokens: ["</a>"], max_tokens: 4}
  - {name: b, prompt: multi/last/b, added_tokens: ["<b>", "</b>"], start: "<b>",
     stop_tokens: ["</b>"], max_tokens: 4, input: "{K}:", input_first: )" +
                   (first ? "true" : "false") + R"(}
flow:
  - {loop: [a, b], rounds: 3, until: {stage: a, text: "!"}}
)");
  folder.Write("traces.jsonl",
               R"({"Q": "x", "K": "one", "O_1A": "p", "O_1B": "q", "O_2A": "r!"}
{"Q": "y", "K": "two", "O_1A": "s", "O_1B": "t", "O_2A": "u", "O_2B": "v", "O_3A": "w!"}
)");
  folder.Write("multi.yaml",
               "kind: fthss-multi\nchain: loop.yaml\ndata: traces.jsonl\n"
               "validation_data: traces.jsonl\noutputs: O_{round}A, O_{round}B\nprompt_length: 8\n"
               "init: vocabulary\nlearning_rate: 0.15\nbatch_size: 2\naccumulation: 1\nthreads: 1\n"
               "max_steps: 400\nout: multi\n");
}

class TrainMulti : public ::testing::TestWithParam<const char*> {};

TEST_P(TrainMulti, TheRunnerWritesTheTracesThatWereLearned) {
  const TrainFolder folder(std::string("multi_") + GetParam());
  WriteLoop(folder, GetParam());
  const Result<TrainReport> report = folder.Train("multi.yaml", {});
  ASSERT_TRUE(report.ok()) << report.status().message();
  const std::vector<nlohmann::json> losses = folder.Losses("multi");
  EXPECT_LT(report->last_loss, 0.4);
  EXPECT_GT(losses.front()["stage_losses"]["a"], 1);
  EXPECT_LT(losses.back()["stage_losses"]["b"], 0.1);

  Result<std::unique_ptr<Base>> base = LoadBase(folder.Path("base"), {.thread_count = 1});
  ASSERT_TRUE(base.ok()) << base.status().message();
  const Result<ChainSpec> spec = LoadChainSpec(folder.Path("loop.yaml"));
  ASSERT_TRUE(spec.ok()) << spec.status().message();
  const Result<std::vector<Record>> records = LoadRecords(folder.Path("traces.jsonl"));
  ASSERT_TRUE(records.ok());
  const Result<std::unique_ptr<ChainRunner>> runner =
      ChainRunner::Create(**base, *spec, {.batch = 2});
  ASSERT_TRUE(runner.ok()) << runner.status().message();
  const std::vector<RecordResult> results = (*runner)->Run(*records);
  const std::vector<std::vector<std::string>> want = {{"p", "q", "r!"}, {"s", "t", "u", "v", "w!"}};
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_TRUE(results[i].status.ok()) << results[i].status.message();
    std::vector<std::string> texts;
    for (const StageResult& run : results[i].stages) {
      texts.push_back(run.text);
      EXPECT_EQ(run.finish, FinishReason::kStopToken);
      // Its own end token, which stands behind all of the base's and the other stage's.
      EXPECT_EQ(run.stop_token, (*base)->config().vocab_size + 2 * run.stage + 1);
    }
    EXPECT_EQ(texts, want[i]);
    EXPECT_EQ(results[i].loops[0].end, LoopEnd::kText);
    EXPECT_EQ(results[i].TokensRecomputed(), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, TrainMulti, ::testing::Values("front", "inline", "first"),
                         [](const auto& param_info) { return std::string(param_info.param); });

// Where a text that is read again has the tokens that were written, standard training on a cached
// text chain is that on the plain one, with the trace in one sequence instead of one a round.
TEST(TrainMultiText, ACachedTextChainHasTheLossesOfThePlainOne) {
  const TrainFolder folder("multi_text");
  WriteLoop(folder, "front");
  const auto write = [&](const std::string& handoff) {
    folder.Write(handoff + ".yaml", "base: base\nhandoff: " + handoff + R"(
shared: "{Q}\n"
stages:
  - {name: a, start: "<bos>", stop_tokens: ["<eos>"], read_as: "<bos>{text}", max_tokens: 4}
  - {name: b, start: "<bos>", stop_tokens: ["<eos>"], read_as: "<bos>{text}", max_tokens: 4,
     input: "{K}:"}
flow:
  - {loop: [a, b], rounds: 3, until: {stage: a, text: "!"}}
)");
  };
  for (const std::string stage : {"a", "b"}) {
    std::vector<std::vector<nlohmann::json>> losses;
    for (const std::string handoff : {"text", "text-cached"}) {
      write(handoff);
      const std::string out = stage + "_" + handoff;
      const Result<TrainReport> report =
          folder.Train("multi.yaml", {"kind=standard", "stage=" + stage, "max_steps=5",
                                      "chain=" + folder.Path(handoff + ".yaml"),
                                      "learning_rate=0.01", "out=" + folder.Path(out)});
      ASSERT_TRUE(report.ok()) << report.status().message();
      losses.push_back(folder.Losses(out));
    }
    ASSERT_EQ(losses[0].size(), losses[1].size());
    for (size_t i = 0; i < losses[0].size(); ++i) {
      if (!losses[0][i].contains("loss")) continue;
      EXPECT_NEAR(losses[0][i]["loss"], losses[1][i]["loss"], 1e-4) << stage << " line " << i;
      EXPECT_LT(losses[1][i]["tokens"], losses[0][i]["tokens"]);
    }
  }
}

// A trace in one go: the baseline that learns to write all outputs.
TEST(TrainMultiDistill, WritesTheWholeTrace) {
  const TrainFolder folder("multi_distill");
  WriteLoop(folder, "front");
  folder.Write("one.yaml", R"(base: base
stages:
  - {name: all, prompt: d/last, input: "{Q}{K}:", start: "<bos>", stop_tokens: ["<eos>"],
     max_tokens: 12}
)");
  const Result<TrainReport> report =
      folder.Train("multi.yaml", {"kind=distill", "chain=" + folder.Path("one.yaml"),
                                  "outputs=", "distill_rounds={O_{round}A} | -{O_{round}B}",
                                  "max_steps=1000", "out=" + folder.Path("d")});
  ASSERT_TRUE(report.ok()) << report.status().message();
  Result<std::unique_ptr<Base>> base = LoadBase(folder.Path("base"), {.thread_count = 1});
  ASSERT_TRUE(base.ok());
  const Result<ChainSpec> spec = LoadChainSpec(folder.Path("one.yaml"));
  ASSERT_TRUE(spec.ok()) << spec.status().message();
  const Result<std::vector<Record>> records = LoadRecords(folder.Path("traces.jsonl"));
  const auto runner = ChainRunner::Create(**base, *spec, {});
  ASSERT_TRUE(runner.ok()) << runner.status().message();
  const std::vector<RecordResult> results = (*runner)->Run(*records);
  EXPECT_EQ(results[0].stages[0].text, "p-qr!");
  EXPECT_EQ(results[1].stages[0].text, "s-tu-vw!");
  folder.Write("one.yaml", folder.Read("one.yaml") + "flow: [{loop: [all], rounds: 2}]\n");
  EXPECT_THAT(folder
                  .Train("multi.yaml", {"kind=distill", "chain=" + folder.Path("one.yaml"),
                                        "outputs=", "distill_output={Q}"})
                  .status()
                  .message(),
              HasSubstr("want a stage that runs once for kind distill"));
}

TEST(TrainMultiFaults, EachNamesItsPlace) {
  const TrainFolder folder("multi_faults");
  WriteLoop(folder, "front");
  const auto fault = [&](const std::string& records, std::vector<std::string> overrides = {}) {
    folder.Write("traces.jsonl", records);
    overrides.push_back("max_steps=1");
    return folder.Train("multi.yaml", overrides, /*restart=*/true).status().message();
  };
  const std::string inputs = R"({"Q": "x", "K": "k", )";
  EXPECT_THAT(fault(inputs + R"("O_1A": "p", "O_2A": "q"})"),
              HasSubstr("want no field \"O_2A\", since it has no \"O_1B\""));
  EXPECT_THAT(fault(inputs + R"("O_1B": "p"})"), HasSubstr("\"O_1A\""));
  EXPECT_THAT(
      fault(inputs + R"("O_1A": "p", "O_1B": "p", "O_2A": "p", "O_2B": "p", "O_3A": "p", )" +
            R"("O_3B": "p", "O_4A": "p"})"),
      HasSubstr("want no field \"O_4A\", since the chain's flow has 3"));
  const std::string good = inputs + R"("O_1A": "p"})";
  EXPECT_EQ(fault(good, {"stage=a"}), folder.Path("multi.yaml") +
                                          ": stage: kind fthss-multi trains all stages at once: "
                                          "want no value");
  EXPECT_THAT(fault(good, {"outputs=O_A,O_{round}B"}),
              HasSubstr("outputs: want \"{round}\" in the field of stage \"a\""));
  EXPECT_THAT(fault(good, {"init=text", "init_text=a | b | c"}),
              HasSubstr("init_text: want one text, or 2 separated by \" | \", found 3"));
  EXPECT_EQ(fault(good), "");
  // A chain that adds other tokens than its prompts have is refused.
  std::string chain = folder.Read("loop.yaml");
  const std::string token = R"("<b>", "</b>")";
  chain.replace(chain.find(token), token.size(), R"("<b>", "</b>", "<c>")");
  folder.Write("loop.yaml", chain);
  Result<std::unique_ptr<Base>> base = LoadBase(folder.Path("base"), {.thread_count = 1});
  ASSERT_TRUE(base.ok());
  const Result<ChainSpec> spec = LoadChainSpec(folder.Path("loop.yaml"));
  EXPECT_THAT(ChainRunner::Create(**base, *spec, {}).status().message(),
              HasSubstr("prompt: added tokens: want \"<b>\", \"</b>\", \"<c>\", found \"<b>\", "
                        "\"</b>\""));
  chain.replace(chain.find("\"<c>\""), 5, "\"<eos>\"");
  folder.Write("loop.yaml", chain);
  const Result<ChainSpec> known = LoadChainSpec(folder.Path("loop.yaml"));
  EXPECT_THAT(ChainRunner::Create(**base, *known, {}).status().message(), HasSubstr("<eos>"));
}

}  // namespace
}  // namespace onepass
