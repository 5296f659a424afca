// Offline training: `onepass kv dump` stores what stage a leaves, stage b is trained on the mapped
// file, and every loss and vector is, to the bit, that of online training. Also which records
// either of them takes for samples.
#include <gmock/gmock.h>

#include "program.h"
#include "train/training_setup.h"
#include "train_fixture.h"

namespace onepass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

void ExpectOnlineLosses(const TrainFolder& folder) {
  std::vector<nlohmann::json> want = folder.Losses("online");
  std::vector<nlohmann::json> got = folder.Losses("offline");
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    // Only the trained part goes through the model.
    if (got[i].contains("tokens")) EXPECT_LT(got[i]["tokens"], want[i]["tokens"]);
    got[i].erase("tokens");
    want[i].erase("tokens");
    EXPECT_EQ(got[i], want[i]);
  }
  EXPECT_EQ(folder.Read("offline/last/adapter_model.safetensors"),
            folder.Read("online/last/adapter_model.safetensors"));
}

// Its parameter is the prompts' placement, or "first": in front, and own inputs before S.
class OfflineTraining : public ::testing::TestWithParam<const char*> {
 protected:
  OfflineTraining()
      : folder_(std::string("offline_") + GetParam()),
        placement_(std::string("placement=") +
                   (GetParam() == std::string("first") ? "front" : GetParam())) {
    if (GetParam() == std::string("first")) {
      std::string chain = folder_.Read("chain.yaml");
      for (size_t at = chain.find("    start:"); at != std::string::npos;
           at = chain.find("    start:", at)) {
        chain.insert(at, "    input_first: true\n");
        at = chain.find("    start:", at) + 1;
      }
      folder_.Write("chain.yaml", chain + "room: 64\n");
    }
    const Result<TrainReport> first = folder_.Train("a.yaml", {"max_steps=5", placement_});
    ONEPASS_CHECK(first.ok(), first.status().message());
    EXPECT_EQ(Dump("kv").exit_code, 0);
  }

  Outcome Dump(const std::string& out, const std::string& more = "") const {
    return RunOnepass("kv dump '" + folder_.Path("b.yaml") + "' " + placement_ + " " + more +
                      " --out '" + folder_.Path(out) + "'");
  }
  Result<TrainReport> TrainB(const std::string& out, std::vector<std::string> more) const {
    more.insert(more.end(),
                {"max_steps=12", "validate_every=5", "out=" + folder_.Path(out), placement_});
    return folder_.Train("b.yaml", more);
  }

  TrainFolder folder_;
  std::string placement_;
};

TEST_P(OfflineTraining, LossesAndPromptsAreThoseOfOnlineTraining) {
  const Result<TrainReport> online = TrainB("online", {});
  ASSERT_TRUE(online.ok()) << online.status().message();
  const Result<TrainReport> offline = TrainB("offline", {"upstream_kv=" + folder_.Path("kv")});
  ASSERT_TRUE(offline.ok()) << offline.status().message();
  ExpectOnlineLosses(folder_);
}

TEST_P(OfflineTraining, TheFileHoldsWhatTheTrainedStageReadsAndSaysWhatItCosts) {
  const Outcome dump = Dump("again");
  ASSERT_EQ(dump.exit_code, 0) << dump.output;
  const Result<std::shared_ptr<const SafetensorsFile>> file =
      SafetensorsFile::Open(folder_.Path("again/train.safetensors"));
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ((*file)->tensors().size(), 2u * 24u);  // S and O_A of each record
  int64_t bytes = 0;
  for (const auto& [name, tensor] : (*file)->tensors()) bytes += std::ssize(tensor.bytes);
  EXPECT_THAT(dump.output, HasSubstr("24 samples"));
  EXPECT_THAT(dump.output, HasSubstr(" " + std::to_string(bytes) + " bytes (256 a token)"));
  EXPECT_EQ(folder_.Read("again/train.safetensors"), folder_.Read("kv/train.safetensors"));
}

TEST_P(OfflineTraining, KvOfAnotherRunIsRefused) {
  const std::string kv = "upstream_kv=" + folder_.Path("kv");
  folder_.Write("other.jsonl", TrainFolder::Records(24, 7));
  EXPECT_THAT(TrainB("x", {kv, "data=" + folder_.Path("other.jsonl")}).status().message(),
              HasSubstr("train.safetensors: data_hash: want what the KV was stored with, found "
                        "other content (make it again with onepass kv dump)"));
  EXPECT_THAT(TrainB("x", {"upstream_kv=" + folder_.Path("none")}).status().message(),
              HasSubstr("none/train.safetensors"));
  ASSERT_TRUE(
      folder_.Train("a.yaml", {"max_steps=1", "out=" + folder_.Path("a2"), placement_}).ok());
  EXPECT_THAT(TrainB("x", {kv, "upstream_prompts=" + folder_.Path("a2/best")}).status().message(),
              HasSubstr("upstream_prompts_hash"));
  const std::string whole = folder_.Read("kv/train.safetensors");
  folder_.Write("kv/train.safetensors", whole.substr(0, whole.size() - 4));
  EXPECT_THAT(TrainB("x", {kv}).status().message(), HasSubstr("train.safetensors"));
  folder_.Write("kv/train.safetensors", whole);
  EXPECT_THAT(TrainB("x", {kv, "taped_constants=true"}).status().message(),
              HasSubstr("want constant segments"));
}

INSTANTIATE_TEST_SUITE_P(Layouts, OfflineTraining, ::testing::Values("front", "inline", "first"),
                         [](const auto& param_info) { return std::string(param_info.param); });

TEST(KvDump, WantsSomethingConstant) {
  const TrainFolder folder("dump_nothing");
  folder.Write("plain.yaml", "name: p\nbase: base\nstages:\n  - {name: a, input: \"{DOC}\"}\n");
  const Outcome dump =
      RunOnepass("kv dump '" + folder.Path("a.yaml") + "' chain='" + folder.Path("plain.yaml") +
                 "' --out '" + folder.Path("kv") + "'");
  EXPECT_EQ(dump.exit_code, 1);
  EXPECT_THAT(dump.output, HasSubstr("want constant segments that the trained stage reads"));
}

TEST(KvDump, WantsAToken) {
  const TrainFolder folder("dump_no_token");
  folder.Write("empty.yaml",
               "name: e\nbase: base\nshared: \"{Q}\"\nstages:\n"
               "  - {name: a, prompt: a/best, input: \"{DOC}\", start: \"<bos>\"}\n");
  folder.Write("empty.jsonl", "{\"Q\": \"\", \"DOC\": \"x\", \"O_A\": \"y\"}\n");
  const std::string data = folder.Path("empty.jsonl");
  const Outcome dump = RunOnepass(
      "kv dump '" + folder.Path("a.yaml") + "' chain='" + folder.Path("empty.yaml") + "' data='" +
      data + "' validation_data='" + data + "' --out '" + folder.Path("kv") + "'");
  EXPECT_EQ(dump.exit_code, 1) << dump.output;
  EXPECT_THAT(dump.output, HasSubstr("want tokens to store in " + folder.Path("kv") +
                                     "/train.safetensors, found none"));
  EXPECT_FALSE(std::filesystem::exists(folder.Path("kv")));
}

// a and b speak in turn.
class TrainingInALoop : public ::testing::Test {
 protected:
  TrainingInALoop() : folder_("in_a_loop") {
    folder_.Write("loop.yaml",
                  folder_.Read("chain.yaml") + "flow:\n  - {loop: [a, b], rounds: 2}\n");
    folder_.Write("rounds.jsonl", kRounds);
    folder_.Write("loop_b.yaml",
                  "kind: fthss\nstage: b\nchain: loop.yaml\ndata: rounds.jsonl\n"
                  "validation_data: rounds.jsonl\noutputs: O_{round}A, O_{round}B\n"
                  "prompt_length: 6\ninit: vocabulary\nlearning_rate: 0.05\nbatch_size: 1\n"
                  "accumulation: 1\nthreads: 1\nmax_steps: 4\nout: online\n");
  }

  static constexpr char kRounds[] =
      R"({"Q": "x", "DOC": "one", "O_1A": "p", "O_1B": "qq", "O_2A": "rr", "O_2B": "s"}
{"Q": "y", "DOC": "two", "O_1A": "tt", "O_1B": "u", "O_2A": "v", "O_2B": "ww"}
)";
  TrainFolder folder_;
};

// a's second output reads b's, so it is taped, and it reads a's prompt.
TEST_F(TrainingInALoop, OfflineLossesAreThoseOfOnlineTraining) {
  ASSERT_TRUE(folder_.Train("a.yaml", {"max_steps=2"}).ok());
  const std::string kv = folder_.Path("kv");
  const Outcome dump =
      RunOnepass("kv dump '" + folder_.Path("loop_b.yaml") + "' --out '" + kv + "'");
  ASSERT_EQ(dump.exit_code, 0) << dump.output;
  const Result<TrainReport> online = folder_.Train("loop_b.yaml", {});
  ASSERT_TRUE(online.ok()) << online.status().message();
  const Result<TrainReport> offline =
      folder_.Train("loop_b.yaml", {"upstream_kv=" + kv, "out=" + folder_.Path("offline")});
  ASSERT_TRUE(offline.ok()) << offline.status().message();
  ExpectOnlineLosses(folder_);
}

// The plan ends with a's last output; the records go on.
TEST_F(TrainingInALoop, RecordsMayHaveTheRoundsOfTheWholeFlow) {
  const auto fault = [&] {
    return folder_.Train("loop_b.yaml", {"kind=standard", "stage=a", "max_steps=1"})
        .status()
        .message();
  };
  EXPECT_EQ(fault(), "");
  folder_.Write("rounds.jsonl", R"({"Q": "x", "DOC": "y", "O_1A": "p", "O_1B": "q", "O_2A": "r", )"
                                R"("O_2B": "s", "O_3B": "t"})");
  EXPECT_THAT(fault(), HasSubstr("want no field \"O_3B\", since the chain's flow has 2"));
}

TEST_F(TrainingInALoop, RecordsInWhichNoTrainedStageRunsAreLeftOut) {
  struct Listener : TrainObserver {
    void OnStart(const TrainStart& start) override { samples = start.samples; }
    void OnWarning(const std::string& text) override { warnings.push_back(text); }
    int64_t samples = 0;
    std::vector<std::string> warnings;
  } listener;
  const std::string ends_early = "{\"Q\": \"z\", \"DOC\": \"three\", \"O_1A\": \"p\"}\n";
  folder_.Write("rounds.jsonl", kRounds + ends_early);
  const std::vector<std::string> overrides = {"kind=standard"};
  const Result<Recipe> recipe = LoadRecipe(folder_.Path("loop_b.yaml"), overrides);
  ASSERT_TRUE(recipe.ok()) << recipe.status().message();
  const Status status = Train(*recipe, {.observer = &listener}).status();
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(listener.samples, 2);
  const auto warning = HasSubstr("rounds.jsonl: left out 1 records in which no trained stage runs");
  EXPECT_THAT(listener.warnings, ElementsAre(warning, warning));  // data and validation data

  folder_.Write("rounds.jsonl", ends_early);
  EXPECT_THAT(folder_.Train("loop_b.yaml", overrides).status().message(),
              HasSubstr("rounds.jsonl: want at least one sample, found none (1 records in which no "
                        "trained stage runs)"));
}

TEST(OverlongSamples, NameTheLimitThatTheyPassAndTheirOwnNumber) {
  const TrainFolder folder("limits");
  nlohmann::json record = nlohmann::json::parse(TrainFolder::Records(1, 1));
  record["DOC"] = std::string(2000, 'x');
  folder.Write("train.jsonl", record.dump() + "\n");
  // S 13, I_A 2001, O_A 14; two prompts of 6 stand before them.
  EXPECT_THAT(folder.Train("a.yaml", {"max_tokens=2027"}).status().message(),
              HasSubstr("want at most 2027 tokens (max_tokens), found 2028 ("));
  EXPECT_THAT(folder.Train("a.yaml", {"max_tokens=2028"}).status().message(),
              HasSubstr("want at most 512 positions (the base's context), found 2040 ("));
}

}  // namespace
}  // namespace onepass
