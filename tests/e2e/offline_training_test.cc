// Offline training: `onepass kv dump` stores what stage a leaves, stage b is trained on the mapped
// file, and every loss and vector is, to the bit, that of online training.
#include <gmock/gmock.h>

#include "program.h"
#include "train/training_setup.h"
#include "train_fixture.h"

namespace onepass {
namespace {

using ::testing::HasSubstr;

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
  std::vector<nlohmann::json> want = folder_.Losses("online");
  std::vector<nlohmann::json> got = folder_.Losses("offline");
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    // Only the trained part goes through the model.
    if (got[i].contains("tokens")) EXPECT_LT(got[i]["tokens"], want[i]["tokens"]);
    got[i].erase("tokens");
    want[i].erase("tokens");
    EXPECT_EQ(got[i], want[i]);
  }
  EXPECT_EQ(folder_.Read("offline/last/adapter_model.safetensors"),
            folder_.Read("online/last/adapter_model.safetensors"));
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
              HasSubstr("data_hash"));
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

}  // namespace
}  // namespace onepass
