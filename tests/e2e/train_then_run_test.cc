// What was trained is what is run: a chain of three stages learns one record by heart, and the
// runner, under kv hand-off, writes it. The loss of each output over the KV that the runner holds
// equals the loss that training had, so views, positions and tokens are the same in both.
#include <cmath>

#include "chain/runner.h"
#include "kv/segment.h"
#include "train_fixture.h"

namespace onepass {
namespace {

const char* const kStages[] = {"a", "b", "c"};
const char* const kOutputs[] = {"up", "no", "z"};

void WriteThreeStages(const TrainFolder& folder, const std::string& placement) {
  std::string chain =
      "name: three\nbase: base\nplacement: " + placement + "\nshared: \"{Q}\\n\"\n" + "stages:\n";
  for (const char* stage : kStages) {
    chain += std::string("  - name: ") + stage + "\n    prompt: " + stage + "/last\n" +
             "    stop_tokens: [\"<eos>\"]\n    max_tokens: 4\n";
    // b has no start token: its first token follows from its own input. c reads b alone.
    if (stage[0] != 'a') chain += "    input: \"{Q}:\"\n";
    if (stage[0] != 'b') chain += "    start: \"<bos>\"\n";
    if (stage[0] == 'c') chain += "    reads: [b]\n";
    folder.Write(std::string(stage) + ".yaml",
                 std::string("chain: three.yaml\ndata: one.jsonl\nvalidation_data: one.jsonl\n") +
                     "outputs: O_1,O_2,O_3\nprompt_length: 12\ninit: vocabulary\n" +
                     "learning_rate: 0.15\nbatch_size: 1\naccumulation: 1\nthreads: 1\n" +
                     "max_steps: 300\nkind: fthss\nstage: " + stage + "\nout: " + stage + "\n");
  }
  folder.Write("three.yaml", chain);
  folder.Write("one.jsonl", R"({"Q": "Say it", "O_1": "up", "O_2": "no", "O_3": "z"})");
}

class TrainThenRun : public ::testing::TestWithParam<const char*> {};

TEST_P(TrainThenRun, TheRunnerWritesWhatTrainingTaughtWithTheSameLoss) {
  const TrainFolder folder(std::string("then_run_") + GetParam());
  WriteThreeStages(folder, GetParam());
  std::vector<double> trained;
  for (const char* stage : kStages) {
    const Result<TrainReport> report = folder.Train(std::string(stage) + ".yaml", {});
    ASSERT_TRUE(report.ok()) << report.status().message();
    trained.push_back(folder.Losses(stage).back()["validation_loss"]);
  }

  Result<std::unique_ptr<Base>> base = LoadBase(folder.Path("base"), {.thread_count = 1});
  ASSERT_TRUE(base.ok()) << base.status().message();
  const Result<ChainSpec> spec = LoadChainSpec(folder.Path("three.yaml"));
  ASSERT_TRUE(spec.ok()) << spec.status().message();
  Result<std::unique_ptr<ChainRunner>> created = ChainRunner::Create(**base, *spec, {});
  ASSERT_TRUE(created.ok()) << created.status().message();
  ChainRunner& runner = **created;
  Transformer<float>& model = *(*base)->model;
  const Tokenizer& tokenizer = *(*base)->tokenizer;

  // The loss of a stage's output over what the record holds when that output is complete. Without a
  // start token (stage b) the first target has no row here, and only the text is compared.
  std::vector<double> ran;
  runner.on_step = [&](size_t, int stage, const std::vector<WrittenSegment>& held) {
    const int target = runner.plan().OutputOf(stage);
    const KvView view = AttachView(runner.plan(), target, held);
    std::vector<int32_t> tokens = runner.templates().StartTokens(stage);
    for (TokenId id : tokenizer.Encode(kOutputs[stage], {})) tokens.push_back(id);
    Segment tail(held[target].segment->pool(), held[target].segment->start_position(), {});
    ASSERT_TRUE(tail.Extend(tokens).ok());
    const ForwardItem<float> item{
        .view = &view, .tail = &tail, .new_count = std::ssize(tokens), .vectors = {}};
    const View<const float> rows = model.Forward({&item, 1}, nullptr);
    std::vector<int32_t> targets(tokens.begin() + 1, tokens.end());
    targets.push_back(*tokenizer.IdOf("<eos>"));
    Buffer<float> hidden(rows.rows(), rows.cols());
    std::copy_n(rows.data(), hidden.size(), hidden.data());
    const std::vector<float> scale(targets.size(), 1);
    std::vector<float> losses(targets.size());
    model.Loss(hidden.view(), targets, scale, losses, {});
    double sum = 0;
    for (float loss : losses) sum += loss;
    ran.push_back(sum / static_cast<double>(losses.size()));
  };
  const Result<std::vector<Record>> records = LoadRecords(folder.Path("one.jsonl"));
  ASSERT_TRUE(records.ok());
  const std::vector<RecordResult> results = runner.Run(*records);
  ASSERT_TRUE(results[0].status.ok()) << results[0].status.message();
  ASSERT_EQ(ran.size(), 3U);
  for (int stage = 0; stage < 3; ++stage) {
    EXPECT_EQ(results[0].stages[stage].text, kOutputs[stage]);
    EXPECT_EQ(results[0].stages[stage].finish, FinishReason::kStopToken);
    EXPECT_EQ(results[0].stages[stage].tokens_recomputed, 0);
    if (stage != 1) EXPECT_NEAR(ran[stage], trained[stage], 1e-5) << "stage " << stage;
  }
}

INSTANTIATE_TEST_SUITE_P(Placements, TrainThenRun, ::testing::Values("front", "inline"),
                         [](const auto& param_info) { return std::string(param_info.param); });

}  // namespace
}  // namespace onepass
