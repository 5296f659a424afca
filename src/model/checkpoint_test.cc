#include "model/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

namespace onepass {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// Owns the bytes of a model in memory, so that tests can spoil it before it is written.
struct Weights {
  struct Tensor {
    DType dtype = DType::kF32;
    std::vector<int64_t> shape;
    std::vector<std::byte> bytes;
  };
  std::map<std::string, Tensor> tensors;

  void Add(const std::string& name, DType dtype, std::vector<int64_t> shape, int fill) {
    int64_t bytes = SizeOf(dtype);
    for (int64_t extent : shape) bytes *= extent;
    tensors[name] = {dtype, std::move(shape),
                     std::vector<std::byte>(static_cast<size_t>(bytes), std::byte(fill))};
  }
};

Weights WeightsOf(const ModelConfig& config, DType dtype = DType::kF32) {
  Weights weights;
  int fill = 0;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    weights.Add(spec.name, dtype, spec.shape, ++fill % 60);
  }
  return weights;
}

class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "onepass-checkpoint-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
    config_ = NamedShape("tiny").value();
  }
  void TearDown() override { fs::remove_all(dir_); }

  std::string At(const std::string& name) const { return dir_ + "/" + name; }
  void Put(const std::string& name, const std::string& text) const {
    ASSERT_TRUE(WriteFileAtomically(At(name), text).ok());
  }
  void WriteConfig() const { Put("config.json", ConfigToJson(config_, DType::kF32)); }
  void WriteWeights(const Weights& weights, const std::string& file = "model.safetensors",
                    const std::function<bool(const std::string&)>& keep = {}) const {
    std::vector<NamedTensor> tensors;
    for (const auto& [name, tensor] : weights.tensors) {
      if (keep && !keep(name)) continue;
      tensors.push_back({name, {tensor.dtype, tensor.shape, tensor.bytes}});
    }
    ASSERT_TRUE(WriteSafetensors(At(file), tensors, {}).ok());
  }
  // Opens what is in the folder; the fault's message, or "(none)".
  std::string FaultOf() const {
    const auto checkpoint = Checkpoint::Open(dir_);
    return checkpoint.ok() ? "(none)" : checkpoint.status().message();
  }
  std::string FingerprintOf() const {
    const auto checkpoint = Checkpoint::Open(dir_);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    return checkpoint.ok() ? (*checkpoint)->Fingerprint() : "";
  }

  std::string dir_;
  ModelConfig config_;
};

TEST_F(CheckpointTest, OpensWhatWasWritten) {
  WriteConfig();
  const Weights weights = WeightsOf(config_);
  WriteWeights(weights);
  const auto checkpoint = Checkpoint::Open(dir_);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ((*checkpoint)->config().width, config_.width);
  EXPECT_EQ((*checkpoint)->path(), dir_);
  EXPECT_EQ((*checkpoint)->dtype(), DType::kF32);
  for (const auto& [name, want] : weights.tensors) {
    EXPECT_TRUE(std::ranges::equal((*checkpoint)->tensor(name).bytes, want.bytes)) << name;
  }
}

TEST_F(CheckpointTest, FaultsNameTheTensor) {
  WriteConfig();
  const std::string norm = "model.norm.weight";
  Weights weights = WeightsOf(config_);
  weights.tensors.erase(norm);
  WriteWeights(weights);
  EXPECT_EQ(FaultOf(),
            "checkpoint: \"model.norm.weight\": want [32], found nothing (" + dir_ + ")");
  weights.Add(norm, DType::kF32, {31}, 0);
  WriteWeights(weights);
  EXPECT_EQ(FaultOf(), "checkpoint: \"model.norm.weight\": want [32], found [31] (" +
                           At("model.safetensors") + ")");
  weights.Add(norm, DType::kF32, {32, 1}, 0);
  WriteWeights(weights);
  EXPECT_THAT(FaultOf(), HasSubstr("found [32, 1]"));
  weights.Add(norm, DType::kI32, {32}, 0);
  WriteWeights(weights);
  EXPECT_THAT(FaultOf(), HasSubstr("\"model.norm.weight\": want F32, F16 or BF16, found I32"));
  weights.Add(norm, DType::kF16, {32}, 0);
  WriteWeights(weights);
  EXPECT_EQ(FaultOf(), "(none)");
  weights.Add("model.layers.0.self_attn.q_norm.weight", DType::kF32, {8}, 0);
  WriteWeights(weights);
  EXPECT_THAT(FaultOf(), HasSubstr("\"model.layers.0.self_attn.q_norm.weight\": not a tensor of "
                                   "this llama config"));
}

TEST_F(CheckpointTest, RotaryBuffersOfOldFilesAreIgnored) {
  WriteConfig();
  Weights weights = WeightsOf(config_);
  WriteWeights(weights);
  const std::string fingerprint = FingerprintOf();
  weights.Add("model.layers.1.self_attn.rotary_emb.inv_freq", DType::kF32, {4}, 1);
  WriteWeights(weights);
  EXPECT_EQ(FingerprintOf(), fingerprint);
}

TEST_F(CheckpointTest, BiasesAreWantedWhereTheConfigSaysSo) {
  config_.qkv_bias = config_.output_bias = config_.mlp_bias = true;
  WriteConfig();
  Weights weights = WeightsOf(config_);
  EXPECT_TRUE(weights.tensors.contains("model.layers.0.self_attn.o_proj.bias"));
  EXPECT_TRUE(weights.tensors.contains("model.layers.1.mlp.down_proj.bias"));
  WriteWeights(weights);
  EXPECT_EQ(FaultOf(), "(none)");
  weights.tensors.erase("model.layers.1.self_attn.k_proj.bias");
  WriteWeights(weights);
  EXPECT_THAT(FaultOf(), HasSubstr("\"model.layers.1.self_attn.k_proj.bias\": want [16]"));
}

TEST_F(CheckpointTest, UntiedHeadIsATensorOfItsOwn) {
  config_.tied_head = false;
  WriteConfig();
  Weights weights = WeightsOf(config_);
  WriteWeights(weights);
  EXPECT_EQ(FaultOf(), "(none)");
  weights.tensors.erase("lm_head.weight");
  WriteWeights(weights);
  EXPECT_THAT(FaultOf(), HasSubstr("\"lm_head.weight\": want [96, 32], found nothing"));
}

TEST_F(CheckpointTest, TiedHeadMayStandUnderEitherNameOrTwice) {
  WriteConfig();
  Weights weights = WeightsOf(config_);
  WriteWeights(weights);
  const std::string fingerprint = FingerprintOf();
  weights.tensors["lm_head.weight"] = weights.tensors["model.embed_tokens.weight"];
  WriteWeights(weights);
  EXPECT_EQ(FingerprintOf(), fingerprint);
  weights.tensors.erase("model.embed_tokens.weight");
  WriteWeights(weights);
  EXPECT_EQ(FingerprintOf(), fingerprint);
}

TEST_F(CheckpointTest, TiedHeadThatDiffersIsRefused) {
  WriteConfig();
  Weights weights = WeightsOf(config_);
  weights.Add("lm_head.weight", DType::kF32, {96, 32}, 99);
  WriteWeights(weights);
  EXPECT_THAT(FaultOf(), HasSubstr("\"lm_head.weight\": differs"));
}

bool InFirstShard(const std::string& name) { return name.find("layers.0") != std::string::npos; }

class ShardedCheckpoint : public CheckpointTest {
 protected:
  void SetUp() override {
    CheckpointTest::SetUp();
    WriteConfig();
    weights_ = WeightsOf(config_);
    WriteWeights(weights_, "model-1.safetensors", InFirstShard);
    WriteWeights(weights_, "model-2.safetensors", [](auto& n) { return !InFirstShard(n); });
    for (const auto& [name, tensor] : weights_.tensors) {
      map_[name] = InFirstShard(name) ? "model-1.safetensors" : "model-2.safetensors";
    }
  }
  void WriteIndex() const {
    const nlohmann::json index = {{"metadata", {{"total_size", 1}}}, {"weight_map", map_}};
    Put("model.safetensors.index.json", index.dump());
  }

  Weights weights_;
  nlohmann::json map_;
};

TEST_F(ShardedCheckpoint, IsTheSameAsOneFile) {
  WriteIndex();
  const std::string sharded = FingerprintOf();
  WriteWeights(weights_);
  EXPECT_EQ(FingerprintOf(), sharded);
}

TEST_F(ShardedCheckpoint, IndexMayNotLeaveTheFolder) {
  for (const char* hostile :
       {"../model-1.safetensors", "/etc/passwd", "sub/x.safetensors", "..", "model-1.bin", ""}) {
    map_["model.norm.weight"] = hostile;
    WriteIndex();
    EXPECT_THAT(FaultOf(), HasSubstr("\"model.norm.weight\": want the plain name of a")) << hostile;
  }
  map_["model.norm.weight"] = 3;
  WriteIndex();
  EXPECT_THAT(FaultOf(), HasSubstr("found 3"));
}

TEST_F(ShardedCheckpoint, IndexThatLiesIsRefused) {
  map_["model.norm.weight"] = "model-1.safetensors";
  WriteIndex();
  EXPECT_THAT(FaultOf(), HasSubstr("\"model.norm.weight\": the index wants it here"));
  map_["model.norm.weight"] = "model-3.safetensors";
  WriteIndex();
  EXPECT_THAT(FaultOf(), HasSubstr("model-3.safetensors: cannot open: No such file"));
  map_["model.norm.weight"] = "model-2.safetensors";
  map_["more"] = "model-2.safetensors";
  WriteIndex();
  EXPECT_THAT(FaultOf(), HasSubstr("\"more\": the index names it, the shard lacks it"));
  map_.erase("more");
  map_.erase("model.norm.weight");
  WriteIndex();
  EXPECT_THAT(FaultOf(), HasSubstr("\"model.norm.weight\": the index does not name it"));
}

TEST_F(ShardedCheckpoint, TensorInTwoShardsIsRefused) {
  WriteIndex();
  WriteWeights(weights_, "model-2.safetensors");
  EXPECT_THAT(FaultOf(), HasSubstr("stands in " + At("model-1.safetensors") + " too"));
}

TEST_F(ShardedCheckpoint, IndexWithoutAMapIsRefused) {
  for (const char* text : {"[]", "{}", R"({"weight_map":[]})", "", "{\"weight_map\":{}"}) {
    Put("model.safetensors.index.json", text);
    EXPECT_NE(FaultOf(), "(none)") << text;
  }
}

TEST_F(CheckpointTest, EmptyFolderSaysWhatIsMissing) {
  EXPECT_THAT(FaultOf(), HasSubstr("config.json: cannot open"));
  WriteConfig();
  EXPECT_THAT(FaultOf(), HasSubstr("want model.safetensors or model.safetensors.index.json"));
}

TEST_F(CheckpointTest, FingerprintSeesWhatMatters) {
  WriteConfig();
  Weights weights = WeightsOf(config_);
  WriteWeights(weights);
  const std::string first = FingerprintOf();
  EXPECT_EQ(first.size(), 16u);
  EXPECT_EQ(FingerprintOf(), first);
  weights.tensors["model.norm.weight"].bytes[5] ^= std::byte(1);
  WriteWeights(weights);
  const std::string one_bit = FingerprintOf();
  EXPECT_NE(one_bit, first);
  config_.rope_theta = 20000;
  WriteConfig();
  EXPECT_NE(FingerprintOf(), one_bit);
  config_.rope_theta = 10000;
  config_.max_positions = 2048;  // more context does not change what a prompt was trained on
  WriteConfig();
  EXPECT_EQ(FingerprintOf(), one_bit);
}

TEST_F(CheckpointTest, InitBaseIsDeterministic) {
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    ASSERT_TRUE(InitBase(config_, dtype, 5, At("a")).ok());
    ASSERT_TRUE(InitBase(config_, dtype, 5, At("b")).ok());
    ASSERT_TRUE(InitBase(config_, dtype, 6, At("c")).ok());
    for (const char* file : {"/config.json", "/model.safetensors"}) {
      EXPECT_EQ(*ReadFile(At("a") + file), *ReadFile(At("b") + file));
    }
    EXPECT_NE(*ReadFile(At("a/model.safetensors")), *ReadFile(At("c/model.safetensors")));
    const auto checkpoint = Checkpoint::Open(At("a"));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    EXPECT_EQ((*checkpoint)->dtype(), dtype);
  }
}

TEST_F(CheckpointTest, InitBaseHasTheStatedDistribution) {
  // Big enough for more than one block of random numbers a tensor.
  config_.vocab_size = 4096;
  ASSERT_TRUE(InitBase(config_, DType::kF32, 5, dir_).ok());
  const auto checkpoint = Checkpoint::Open(dir_);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  const RawTensor& embedding = (*checkpoint)->tensor("model.embed_tokens.weight");
  std::vector<double> values(static_cast<size_t>(embedding.element_count()));
  ConvertTo(embedding, 0, std::ssize(values), values.data());
  double sum = 0, squares = 0;
  for (double v : values) sum += v, squares += v * v;
  const double n = static_cast<double>(values.size());
  EXPECT_NEAR(sum / n, 0, 5 * 0.02 / std::sqrt(n));
  EXPECT_NEAR(std::sqrt(squares / n), 0.02, 0.02 * 5 / std::sqrt(2 * n));
  // No stretch of it repeats: block borders have streams of their own.
  EXPECT_NE(values[0], values[1 << 14]);
  const RawTensor& norm = (*checkpoint)->tensor("model.norm.weight");
  std::vector<float> ones(32);
  ConvertTo(norm, 0, 32, ones.data());
  EXPECT_THAT(ones, testing::Each(1.0f));
}

TEST_F(CheckpointTest, InitBaseOnAFullDiskLeavesNoBase) {
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {10000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = InitBase(config_, DType::kF32, 5, dir_);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_TRUE(fs::is_empty(dir_));
}

TEST_F(CheckpointTest, InitBaseRefusesBadShapes) {
  config_.kv_heads = 3;
  EXPECT_EQ(InitBase(config_, DType::kF32, 5, dir_).code(), StatusCode::kInvalidArgument);
  config_.kv_heads = 2;
  EXPECT_EQ(InitBase(config_, DType::kI32, 5, dir_).code(), StatusCode::kUnsupported);
  EXPECT_TRUE(fs::is_empty(dir_));
}

TEST(Checkpoint, RealModelsOpen) {
  const std::string models = ONEPASS_SOURCE_DIR "/../shared/models";
  if (!fs::exists(models)) GTEST_SKIP() << "no " << models;
  const auto stories = Checkpoint::Open(models + "/stories260k");
  ASSERT_TRUE(stories.ok()) << stories.status().message();
  EXPECT_EQ((*stories)->config().ParameterCount(), 260032);
  // Its only large matrix stands under the head's name.
  const auto tiny_stories = Checkpoint::Open(models + "/tinystories-656k");
  ASSERT_TRUE(tiny_stories.ok()) << tiny_stories.status().message();
  EXPECT_EQ((*tiny_stories)->tensor("model.embed_tokens.weight").shape,
            (std::vector<int64_t>{2048, 128}));
}

}  // namespace
}  // namespace onepass
