// Training from end to end: recipes, data, optimizer, logs and prompts on a tiny random base.
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>

#include "chain/runner.h"
#include "kernels/machine.h"
#include "prompt/soft_prompt.h"
#include "train_fixture.h"

namespace onepass {
namespace {

std::vector<double> TrainLosses(const TrainFolder& folder, const std::string& out) {
  std::vector<double> losses;
  for (const nlohmann::json& line : folder.Losses(out)) {
    if (line.contains("loss")) losses.push_back(line["loss"]);
  }
  return losses;
}

std::string FaultOf(const Result<TrainReport>& report) {
  return report.ok() ? "" : report.status().message();
}

// The losses of ten steps, written down when the gradients had been checked against PyTorch. Sums
// differ in their last bits between backends and compilers, and ten steps of Adam magnify that.
TEST(TrainRun, TenPinnedLosses) {
  const TrainFolder folder("pinned");
  const std::vector<double> pinned = {5.2890412, 4.9709562, 4.8196846, 5.0317179, 4.8385742,
                                      4.7818436, 4.7557041, 4.5459936, 4.7169198, 4.4805674};
  for (const auto& [backend, tolerance] : {std::pair{"ref", 2e-5}, std::pair{"cpu", 1e-4}}) {
    const std::string out = folder.Path(backend);
    ASSERT_EQ(FaultOf(folder.Train(
                  "a.yaml", {"max_steps=10", "out=" + out, std::string("backend=") + backend})),
              "");
    const std::vector<double> losses = TrainLosses(folder, backend);
    ASSERT_EQ(losses.size(), pinned.size());
    for (size_t i = 0; i < pinned.size(); ++i) {
      EXPECT_NEAR(losses[i], pinned[i], tolerance) << backend << ", step " << i + 1;
    }
  }
}

// The same of the second stage, which reads the first one's KV.
TEST(TrainRun, TenPinnedLossesOfTheSecondStage) {
  const TrainFolder folder("pinned_b");
  ASSERT_EQ(FaultOf(folder.Train("a.yaml", {"max_steps=10", "backend=ref"})), "");
  const std::vector<double> pinned = {5.2183406, 4.9029869, 4.7073362, 5.1231318, 5.1339711,
                                      4.5820642, 4.6117775, 4.1284984, 4.2632689, 4.1738484};
  for (const auto& [backend, tolerance] : {std::pair{"ref", 2e-5}, std::pair{"cpu", 1e-4}}) {
    const std::string out = folder.Path(backend);
    ASSERT_EQ(FaultOf(folder.Train(
                  "b.yaml", {"max_steps=10", "out=" + out, std::string("backend=") + backend})),
              "");
    const std::vector<double> losses = TrainLosses(folder, backend);
    ASSERT_EQ(losses.size(), pinned.size());
    for (size_t i = 0; i < pinned.size(); ++i) {
      EXPECT_NEAR(losses[i], pinned[i], tolerance) << backend << ", step " << i + 1;
    }
  }
}

TEST(TrainRun, TheEventFileHoldsTheLossesOfTheLog) {
  const TrainFolder folder("events");
  ASSERT_EQ(FaultOf(folder.Train("a.yaml", {"max_steps=4", "validate_every=2"})), "");
  std::vector<TrainFolder::Scalar> wanted;
  for (const nlohmann::json& line : folder.Losses("a")) {
    const int64_t step = line["step"];
    if (line.contains("validation_loss")) {
      wanted.push_back({step, "validation/loss", line["validation_loss"].get<float>()});
      continue;
    }
    wanted.push_back({step, "train/loss", line["loss"].get<float>()});
    wanted.push_back({step, "train/learning_rate", line["learning_rate"].get<float>()});
    wanted.push_back({step, "train/gradient_norm", line["gradient_norm"].get<float>()});
  }
  ASSERT_EQ(wanted.size(), 4U * 3 + 2);
  EXPECT_EQ(folder.Scalars("a"), wanted);
}

TEST(TrainRun, AThenBLearnAndLeavePromptsWithFacts) {
  const TrainFolder folder("ab");
  for (const char* stage : {"a", "b"}) {
    ASSERT_EQ(
        FaultOf(folder.Train(std::string(stage) + ".yaml", {"max_steps=40", "validate_every=10"})),
        "");
    const std::vector<double> losses = TrainLosses(folder, stage);
    EXPECT_LT(losses.back(), losses.front() - 0.5) << stage;
    for (const char* name : {"/best", "/last"}) {
      const Result<SoftPrompt> prompt = LoadSoftPrompt(folder.Path(stage) + name);
      ASSERT_TRUE(prompt.ok()) << prompt.status().message();
      EXPECT_EQ(prompt->length(), 6);
      ASSERT_TRUE(prompt->facts.has_value());
      EXPECT_EQ(prompt->facts->stage, stage);
      EXPECT_EQ(prompt->facts->placement, Placement::kFront);
      EXPECT_EQ(prompt->facts->base_type, "F32");
      EXPECT_EQ(prompt->facts->trained_as, stage[0] == 'a' ? "standard" : "fthss");
      EXPECT_EQ(nlohmann::json::parse(prompt->facts->recipe_json)["learning_rate"], 0.05);
    }
  }
}

TEST(TrainRun, BestIsThePromptOfTheLowestValidationLoss) {
  const TrainFolder folder("best");
  // A rate so high that the loss does not only fall.
  ASSERT_EQ(FaultOf(folder.Train("a.yaml", {"max_steps=30", "validate_every=5", "learning_rate=3",
                                            "schedule=constant"})),
            "");
  double best = INFINITY;
  int64_t best_step = 0;
  for (const nlohmann::json& line : folder.Losses("a")) {
    if (!line.contains("validation_loss")) continue;
    EXPECT_EQ(line["best"].get<bool>(), line["validation_loss"] < best);
    if (line["validation_loss"] < best) {
      best = line["validation_loss"];
      best_step = line["step"];
    }
  }
  ASSERT_GT(best_step, 0);
  // The kept prompt has that loss: no training, one validation.
  const std::string out = folder.Path("again");
  ASSERT_EQ(FaultOf(folder.Train("a.yaml", {"max_steps=1", "learning_rate=1e-30", "out=" + out,
                                            "init_prompt=" + folder.Path("a/best")})),
            "");
  EXPECT_NEAR(folder.Losses("again").back()["validation_loss"], best, 1e-9);
}

TEST(TrainRun, ThreadsDoNotChangeABit) {
  const TrainFolder folder("threads");
  for (const char* threads : {"1", "2", "3"}) {
    ASSERT_EQ(FaultOf(folder.Train("a.yaml", {"max_steps=6", "out=" + folder.Path(threads),
                                              std::string("threads=") + threads})),
              "");
  }
  EXPECT_EQ(folder.Losses("1"), folder.Losses("2"));
  EXPECT_EQ(folder.Losses("1"), folder.Losses("3"));
}

TEST(TrainRun, HowAStepFallsIntoMicroBatchesDoesNotMatter) {
  const TrainFolder folder("micro");
  // 24 samples in steps of 10: the last step of an epoch has 4. Uneven micro-batches: 4, 4, 2.
  const std::vector<std::pair<std::string, std::string>> ways = {
      {"10", "1"}, {"1", "10"}, {"5", "2"}};
  for (const auto& [batch, accumulation] : ways) {
    ASSERT_EQ(
        FaultOf(folder.Train("a.yaml", {"max_steps=6", "out=" + folder.Path(batch),
                                        "batch_size=" + batch, "accumulation=" + accumulation})),
        "");
  }
  const std::vector<double> want = TrainLosses(folder, "10");
  for (const char* way : {"1", "5"}) {
    const std::vector<double> got = TrainLosses(folder, way);
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 2e-5) << way << " " << i;
  }
}

TEST(TrainRun, TapingTheConstantsGivesTheSameLosses) {
  const TrainFolder folder("taped");
  ASSERT_EQ(FaultOf(folder.Train("a.yaml", {"max_steps=3"})), "");
  for (const char* placement : {"front", "inline"}) {
    if (std::string(placement) == "inline") {
      ASSERT_EQ(FaultOf(folder.Train("a.yaml", {"max_steps=3", "placement=inline",
                                                "out=" + folder.Path("a_inline")})),
                "");
    }
    const std::string upstream =
        "upstream_prompts=" +
        folder.Path(std::string(placement) == "inline" ? "a_inline/best" : "a/best");
    // A validation between two steps computes the constants without a tape, whatever the steps do.
    for (const char* taped : {"false", "true"}) {
      ASSERT_EQ(
          FaultOf(folder.Train(
              "b.yaml", {"max_steps=5", "validate_every=2", std::string("placement=") + placement,
                         upstream, "out=" + folder.Path(std::string(placement) + taped),
                         std::string("taped_constants=") + taped})),
          "");
    }
    EXPECT_EQ(TrainLosses(folder, std::string(placement) + "false"),
              TrainLosses(folder, std::string(placement) + "true"));
  }
}

TEST(TrainRun, DistillLearnsAllOutputsInOneStage) {
  const TrainFolder folder("distill");
  const std::vector<std::string> overrides = {"kind=distill",
                                              "chain=" + folder.Path("one_stage.yaml"),
                                              "stage=all",
                                              "max_steps=2",
                                              "distill_output={O_A}\n{O_B}",
                                              "out=" + folder.Path("d")};
  ASSERT_EQ(FaultOf(folder.Train("a.yaml", overrides)), "");
  // Every character of "{O_A}\n{O_B}" and the end token is a target.
  int64_t targets = 0;
  for (const nlohmann::json& line : folder.Losses("d")) {
    if (line.contains("target_tokens")) targets += line["target_tokens"].get<int64_t>();
  }
  EXPECT_EQ(targets, 8 * (13 + 1 + 3 + 1));
  // A chain of two stages has no single output.
  EXPECT_NE(FaultOf(folder.Train("a.yaml", {"kind=distill", "distill_output={O_A}"}))
                .find("want a chain of one stage"),
            std::string::npos);
}

// Generated upstream outputs are what the chain writes with the same prompts: as records, they give
// the same losses.
TEST(TrainRun, GeneratedUpstreamOutputsAreTheChains) {
  const TrainFolder folder("generated");
  folder.Write(
      "short.yaml",
      "name: short\nbase: base\nshared: \"{Q}\\n\"\nstages:\n"
      "  - {name: a, prompt: a/best, input: \"{DOC}\\n\", start: \"<bos>\", max_tokens: 5}\n"
      "  - {name: b, prompt: b/best, start: \"<bos>\", stop_tokens: [\"<eos>\"]}\n");
  ASSERT_EQ(FaultOf(folder.Train("a.yaml", {"max_steps=10"})), "");
  const auto train_b = [&](const std::string& kind, const std::string& out,
                           std::vector<std::string> more) {
    more.insert(more.end(), {"kind=" + kind, "chain=" + folder.Path("short.yaml"), "max_steps=4",
                             "validate_every=2", "out=" + folder.Path(out)});
    return FaultOf(folder.Train("b.yaml", more));
  };
  ASSERT_EQ(train_b("fthss", "b", {"upstream_outputs=generated"}), "");
  ASSERT_EQ(train_b("standard", "b_text", {"upstream_outputs=generated"}), "");
  ASSERT_EQ(train_b("fthss", "b_gold", {}), "");

  auto base = LoadBase(folder.Path("base"), {.thread_count = 1});
  ASSERT_TRUE(base.ok()) << base.status().message();
  const auto spec = LoadChainSpec(folder.Path("short.yaml"));
  ASSERT_TRUE(spec.ok()) << spec.status().message();
  const auto runner = ChainRunner::Create(**base, *spec, {});
  ASSERT_TRUE(runner.ok()) << runner.status().message();
  for (const char* name : {"train", "valid"}) {
    const auto records = LoadRecords(folder.Path(name + std::string(".jsonl")));
    ASSERT_TRUE(records.ok()) << records.status().message();
    const std::vector<RecordResult> results = (*runner)->Run(*records);
    std::string lines;
    for (size_t i = 0; i < results.size(); ++i) {
      nlohmann::json line;
      for (const RecordField& field : (*records)[i].fields) line[field.name] = field.text;
      line["O_A"] = results[i].stages[0].text;
      lines += line.dump() + "\n";
    }
    folder.Write(std::string(name) + "_written.jsonl", lines);
  }
  const std::vector<std::string> written = {
      "data=" + folder.Path("train_written.jsonl"),
      "validation_data=" + folder.Path("valid_written.jsonl")};
  ASSERT_EQ(train_b("fthss", "b_written", written), "");
  ASSERT_EQ(train_b("standard", "b_text_written", written), "");
  EXPECT_EQ(folder.Losses("b"), folder.Losses("b_written"));
  EXPECT_EQ(folder.Losses("b_text"), folder.Losses("b_text_written"));
  EXPECT_NE(folder.Losses("b"), folder.Losses("b_gold"));
}

TEST(TrainRun, GeneratingNeedsTheEarlierPrompts) {
  const TrainFolder folder("generated_without");
  EXPECT_THAT(FaultOf(folder.Train("b.yaml", {"kind=standard", "upstream_outputs=generated"})),
              testing::HasSubstr("upstream_outputs: stage \"a\": want its trained prompt"));
  EXPECT_THAT(FaultOf(folder.Train("a.yaml", {"upstream_outputs=generated"})),
              testing::HasSubstr("want a stage with earlier ones, found \"a\", the first"));
}

TEST(TrainRun, Bf16RoundsTheBaseAndNothingElse) {
  const TrainFolder folder("bf16");
  for (const char* bf16 : {"false", "true"}) {
    ASSERT_EQ(FaultOf(folder.Train("a.yaml", {"max_steps=3", std::string("bf16=") + bf16,
                                              "out=" + folder.Path(bf16)})),
              "");
  }
  const std::vector<double> whole = TrainLosses(folder, "false");
  const std::vector<double> rounded = TrainLosses(folder, "true");
  ASSERT_EQ(whole.size(), rounded.size());
  for (size_t i = 0; i < whole.size(); ++i) {
    EXPECT_NE(whole[i], rounded[i]);
    EXPECT_NEAR(whole[i], rounded[i], 0.05);
  }
  // The prompt is the stored base's.
  EXPECT_TRUE(LoadSoftPrompt(folder.Path("true/best"))->facts.has_value());
  EXPECT_EQ(LoadSoftPrompt(folder.Path("true/best"))->facts->base_fingerprint,
            LoadSoftPrompt(folder.Path("false/best"))->facts->base_fingerprint);
}

TEST(TrainRun, AFinishedRunIsNotTrainedAgainAndAnotherRecipeIsRefused) {
  const TrainFolder folder("finished");
  ASSERT_EQ(FaultOf(folder.Train("a.yaml", {"max_steps=4"})), "");
  const std::string metrics = folder.Read("a/metrics.jsonl");
  const Result<TrainReport> again = folder.Train("a.yaml", {"max_steps=4"});
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(again->steps, 4);
  EXPECT_EQ(folder.Read("a/metrics.jsonl"), metrics);

  const std::string fault = FaultOf(folder.Train("a.yaml", {"max_steps=4", "learning_rate=0.1"}));
  EXPECT_NE(fault.find("learning_rate: checkpoint 0.05, recipe 0.1"), std::string::npos) << fault;
  EXPECT_EQ(folder.Read("a/metrics.jsonl"), metrics);
  const std::string continued = folder.Path("continued");
  ASSERT_EQ(FaultOf(folder.Train("a.yaml", {"max_steps=4", "out=" + continued,
                                            "init_prompt=" + folder.Path("a/best")})),
            "");
  EXPECT_NE(
      FaultOf(folder.Train("a.yaml", {"max_steps=4", "out=" + continued})).find("init_prompt_hash"),
      std::string::npos);
  folder.Write("train.jsonl", TrainFolder::Records(24, 3));
  EXPECT_NE(FaultOf(folder.Train("a.yaml", {"max_steps=4"})).find("data_hash"), std::string::npos);
  EXPECT_EQ(FaultOf(folder.Train("a.yaml", {"max_steps=4"}, /*restart=*/true)), "");
  EXPECT_NE(folder.Read("a/metrics.jsonl"), metrics);
}

TEST(TrainRun, TheBestPromptComesBackFromTheCheckpoint) {
  const TrainFolder folder("best_again");
  const std::vector<std::string> run = {"max_steps=4", "validate_every=2"};
  ASSERT_EQ(FaultOf(folder.Train("a.yaml", run)), "");
  const std::string best = folder.Read("a/best/adapter_model.safetensors");
  std::filesystem::remove_all(folder.Path("a/best"));
  ASSERT_EQ(FaultOf(folder.Train("a.yaml", run)), "");
  EXPECT_EQ(folder.Read("a/best/adapter_model.safetensors"), best);
}

// Keeps what a run says.
struct Listener : TrainObserver {
  std::vector<std::string> warnings;
  int64_t samples = 0;
  void OnWarning(const std::string& text) override { warnings.push_back(text); }
  void OnStart(const TrainStart& start) override { samples = start.samples; }
};

TEST(TrainRun, AnotherInstructionSetGoesOnWithAWarning) {
  const std::vector<std::string> names = InstructionSetNames();
  if (names.size() < 2) GTEST_SKIP() << "this machine has one instruction set only";
  const TrainFolder folder("instruction_set");
  const std::vector<std::string> overrides = {"max_steps=2"};
  const Result<Recipe> recipe = LoadRecipe(folder.Path("a.yaml"), overrides);
  ASSERT_TRUE(recipe.ok());
  Listener listener;
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(FaultOf(Train(*recipe, {.observer = &listener})), "");
    EXPECT_THAT(listener.warnings, testing::IsEmpty());
  }
  ForceInstructionSet(names.back());
  const std::string fault = FaultOf(Train(*recipe, {.observer = &listener}));
  ForceInstructionSet("");
  ASSERT_EQ(fault, "");
  EXPECT_THAT(listener.warnings,
              testing::ElementsAre(testing::HasSubstr("instruction set \"" + names.front() +
                                                      "\", going on with \"" + names.back())));
}

TEST(TrainRun, AnUpstreamPromptIsNeededAndMustFit) {
  const TrainFolder folder("upstream");
  EXPECT_NE(FaultOf(folder.Train("b.yaml", {})).find("want its trained prompt at"),
            std::string::npos);
  ASSERT_EQ(FaultOf(folder.Train("a.yaml", {"max_steps=1", "placement=inline"})), "");
  EXPECT_NE(FaultOf(folder.Train("b.yaml", {})).find("inline"), std::string::npos);
}

// A front prompt's length moves what follows. One that will be trained again has the recipe's.
TEST(TrainRun, ALaterPromptOfAnotherBaseLendsNoLength) {
  const TrainFolder folder("later_prompt");
  const auto losses_of_a = [&] {
    EXPECT_EQ(FaultOf(folder.Train("a.yaml", {"max_steps=2"}, true)), "");
    return folder.Losses("a");
  };
  const auto before = losses_of_a();
  ASSERT_EQ(FaultOf(folder.Train("b.yaml", {"max_steps=1", "prompt_length=9"})), "");
  EXPECT_NE(losses_of_a(), before);
  nlohmann::json facts = nlohmann::json::parse(folder.Read("b/best/onepass.json"));
  facts.at("base_fingerprint") = "0123456789abcdef";
  folder.Write("b/best/onepass.json", facts.dump());
  EXPECT_EQ(losses_of_a(), before);
}

TEST(TrainRun, FaultyRecordsStopTheRunOrAreLeftOut) {
  const TrainFolder folder("faulty");
  folder.Write("train.jsonl",
               TrainFolder::Records(6, 1) +
                   "{\"Q\": \"no more\"}\n"
                   "not json\n"
                   "{\"Q\": \"x\", \"DOC\": \"y\", \"O_A\": \"\", \"O_B\": \"z\"}\n" +
                   TrainFolder::Records(1, 2));
  const std::string fault = FaultOf(folder.Train("a.yaml", {}));
  EXPECT_NE(fault.find("train.jsonl: record 7 (line 7)"), std::string::npos) << fault;
  EXPECT_NE(fault.find("O_A"), std::string::npos) << fault;
  EXPECT_EQ(fault.find('\n'), std::string::npos);

  Listener observer;
  const std::vector<std::string> overrides = {"on_error=skip", "max_steps=1"};
  const Result<Recipe> recipe = LoadRecipe(folder.Path("a.yaml"), overrides);
  ASSERT_TRUE(recipe.ok());
  ASSERT_EQ(FaultOf(Train(*recipe, {.observer = &observer})), "");
  EXPECT_EQ(observer.samples, 7);
  ASSERT_EQ(observer.warnings.size(), 4U);  // three records, and how many in all
  EXPECT_NE(observer.warnings.back().find("left out 3 faulty records"), std::string::npos);

  folder.Write("train.jsonl", "{}\n");
  EXPECT_NE(FaultOf(folder.Train("a.yaml", {"on_error=skip"})).find("want at least one sample"),
            std::string::npos);
}

TEST(TrainRun, OverlongSamplesAreRefusedSkippedOrCut) {
  const TrainFolder folder("overlong");
  std::string chain = folder.Read("chain.yaml");
  folder.Write("chain.yaml", chain + "overlong: cut\ncut_field: DOC\n");
  nlohmann::json record = nlohmann::json::parse(TrainFolder::Records(1, 1));
  record["DOC"] = std::string(2000, 'x');
  folder.Write("train.jsonl", TrainFolder::Records(3, 1) + record.dump() + "\n");
  EXPECT_NE(FaultOf(folder.Train("a.yaml", {"overlong=refuse"})).find("record 4"),
            std::string::npos);
  const auto tokens = [&] { return folder.Losses("a").front()["tokens"].get<int64_t>(); };
  ASSERT_EQ(FaultOf(folder.Train("a.yaml", {"overlong=skip", "max_steps=1"}, true)), "");
  const int64_t without = tokens();
  // As the chain says: the documents are cut so that the sample has just max_tokens.
  ASSERT_EQ(FaultOf(folder.Train("a.yaml", {"max_tokens=100", "max_steps=1"}, true)), "");
  EXPECT_EQ(tokens(), without + 100);
  EXPECT_NE(FaultOf(folder.Train("a.yaml", {"max_tokens=20", "max_steps=1"}, true)), "");

  // An input that stands first is cut to its room.
  std::string first = chain;
  first.insert(first.find("    start:"), "    input_first: true\n");
  folder.Write("chain.yaml", first + "room: 50\noverlong: cut\ncut_field: DOC\n");
  EXPECT_NE(
      FaultOf(folder.Train("a.yaml", {"overlong=refuse"}))
          .find("record 4 (line 4): want at most 50 tokens in an input that stands first (the "
                "chain's room), found 2001"),
      std::string::npos);
  ASSERT_EQ(FaultOf(folder.Train("a.yaml", {"max_steps=1"}, true)), "");
  EXPECT_LT(tokens(), without + 100);
}

// A file size limit stands for a full disk: writes fail in the middle of the run.
TEST(TrainRun, AFullDiskIsOneLineAndTheLastCheckpointGoesOn) {
  const TrainFolder folder("full");
  const std::vector<std::string> limits = {"max_steps=60", "checkpoint_every=5"};
  ASSERT_EQ(FaultOf(folder.Train("a.yaml", {"max_steps=60", "out=" + folder.Path("whole")})), "");
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{.rlim_cur = 8000, .rlim_max = 8000};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(2);
    const std::string fault = FaultOf(folder.Train("a.yaml", limits));
    const bool one_line =
        fault.find("cannot write") != std::string::npos && fault.find('\n') == std::string::npos;
    _exit(fault.empty() ? 0 : one_line ? 1 : 3);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  ASSERT_EQ(WEXITSTATUS(status), 1);
  ASSERT_TRUE(std::filesystem::exists(folder.Path("a/checkpoint.safetensors")));
  ASSERT_EQ(FaultOf(folder.Train("a.yaml", limits)), "");
  EXPECT_EQ(TrainLosses(folder, "a"), TrainLosses(folder, "whole"));
}

TEST(TrainRun, AValidationLossThatIsNoNumberIsNoBest) {
  const TrainFolder folder("nan_validation");
  const std::string fault = FaultOf(folder.Train(
      "a.yaml", {"max_steps=20", "learning_rate=1e38", "warmup_ratio=0", "validate_every=1"}));
  EXPECT_NE(fault.find("want a finite validation loss"), std::string::npos) << fault;
  EXPECT_TRUE(LoadSoftPrompt(folder.Path("a/best")).ok());
}

TEST(TrainRun, ALossThatIsNoNumberStopsWithTheStep) {
  const TrainFolder folder("nan");
  const std::string fault =
      FaultOf(folder.Train("a.yaml", {"max_steps=20", "learning_rate=1e38", "warmup_ratio=0"}));
  EXPECT_NE(fault.find("want a finite loss"), std::string::npos) << fault;
}

}  // namespace
}  // namespace onepass
