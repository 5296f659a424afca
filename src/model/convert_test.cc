// A base in 8 and 4 bits: what ConvertBase writes, what it refuses, and that hostile blocks are
// refused in one line.
#include "model/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>
#include <vector>

#include "core/file.h"
#include "kernels/registry.h"
#include "model/transformer.h"

namespace onepass {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// Logits [T, V] of a few tokens.
std::vector<float> LogitsOf(const Checkpoint& checkpoint, const std::string& backend) {
  const std::vector<int32_t> ids = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8};
  const auto ops = std::move(MakeOps(backend, {.thread_count = 2})).value();
  const std::shared_ptr<const Checkpoint> borrowed(std::shared_ptr<void>(), &checkpoint);
  const auto model = std::move(Transformer<float>::Create(borrowed, *ops)).value();
  PagePool pool(checkpoint.config().Layout(16, DType::kF32), 8);
  Segment tail(pool, 0, {});
  EXPECT_TRUE(tail.Extend(ids).ok());
  const KvView nothing;
  const ForwardItem<float> item{
      .view = &nothing, .tail = &tail, .new_count = std::ssize(ids), .vectors = {}};
  Buffer<float> logits(std::ssize(ids), checkpoint.config().vocab_size);
  model->Logits(model->Forward({&item, 1}, nullptr), logits.view());
  return {logits.span().begin(), logits.span().end()};
}

double LargestDifference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::abs(static_cast<double>(a[i]) - b[i]));
  }
  return most;
}

class ConvertTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "onepass-convert-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
    config_.architecture = "llama";
    config_.vocab_size = 50;
    config_.width = 64;
    config_.layers = 2;
    config_.heads = 4;
    config_.kv_heads = 2;
    config_.head_dim = 16;
    config_.feed_forward = 96;
    config_.max_positions = 64;
    config_.tied_head = true;
  }
  void TearDown() override { fs::remove_all(dir_); }

  std::string At(const std::string& name) const { return dir_ + "/" + name; }
  std::shared_ptr<const Checkpoint> Opened(const std::string& name) const {
    auto checkpoint = Checkpoint::Open(At(name));
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    return checkpoint.ok() ? *checkpoint : nullptr;
  }
  std::shared_ptr<const Checkpoint> Random(const std::string& name, DType dtype = DType::kF32) {
    EXPECT_TRUE(InitBase(config_, dtype, 7, At(name)).ok());
    return Opened(name);
  }
  Result<ConvertReport> Convert(const Checkpoint& base, const std::string& to,
                                const ConvertOptions& options = {}, int threads = 2) {
    ThreadPool pool(threads);
    return ConvertBase(base, options, At(to), pool, {});
  }

  std::string dir_;
  ModelConfig config_;
};

TEST_F(ConvertTest, MatricesAreInBlocksAndTheRestIsAsItWas) {
  const auto base = Random("base", DType::kBF16);
  for (const BlockType type : {BlockType::kQ8_0, BlockType::kQ4_0}) {
    const std::string name(FormatOf(type).name);
    const auto report = Convert(*base, name, {.weights = type});
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_EQ(report->quantised_count, 2 * 7 + 1);
    EXPECT_EQ(report->dense_matrix_count, 0);
    const auto found = Opened(name);
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(found->stored_bytes(), report->bytes);
    EXPECT_EQ(found->stored_type(), name);
    EXPECT_NE(found->Fingerprint(), base->Fingerprint());
    const auto config = nlohmann::json::parse(ReadFile(At(name + "/config.json")).value());
    EXPECT_EQ(config["quantization_config"]["quant_method"], "onepass");
    EXPECT_EQ(config["hidden_size"], 64);
    for (const TensorSpec& spec : ExpectedTensors(config_)) {
      SCOPED_TRACE(spec.name);
      const BlockTensor* blocks = found->blocks(spec.name);
      if (spec.shape.size() == 1) {
        EXPECT_EQ(blocks, nullptr);
        EXPECT_TRUE(
            std::ranges::equal(found->tensor(spec.name).bytes, base->tensor(spec.name).bytes));
        continue;
      }
      ASSERT_NE(blocks, nullptr);
      const bool is_head = spec.name == "model.embed_tokens.weight";
      EXPECT_EQ(blocks->type, is_head ? BlockType::kQ8_0 : type);
      const int64_t count = blocks->element_count();
      std::vector<float> want(static_cast<size_t>(count));
      std::vector<float> values(want.size());
      ConvertTo<float>(base->tensor(spec.name), 0, count, want.data());
      ConvertTo<float>(found->tensor(spec.name), 0, count, values.data());
      // Deviation 0.02: the largest of 32 is below 0.1.
      EXPECT_LT(LargestDifference(values, want), blocks->type == BlockType::kQ8_0 ? 0.0005 : 0.01);
      EXPECT_GT(LargestDifference(values, want), 0);
    }
  }
}

// Back to dense: F32 has the very values of the blocks, BF16 has them rounded.
TEST_F(ConvertTest, DenseTypesHoldTheValuesOfTheBlocks) {
  for (const bool tied_head : {true, false}) {
    config_.tied_head = tied_head;
    for (const BlockType blocks : {BlockType::kQ8_0, BlockType::kQ4_0}) {
      const auto base = Random("base");
      ASSERT_TRUE(Convert(*base, "blocks", {.weights = blocks, .head = blocks}).ok());
      const auto from = Opened("blocks");
      for (const BlockType type : {BlockType::kF32, BlockType::kBF16}) {
        SCOPED_TRACE(std::string(FormatOf(blocks).name) + " to " +
                     std::string(FormatOf(type).name) + (tied_head ? ", tied head" : ""));
        const auto report = Convert(*from, "dense", {.weights = type, .head = type});
        ASSERT_TRUE(report.ok()) << report.status().message();
        EXPECT_EQ(report->quantised_count + report->dense_matrix_count, 0);
        const auto found = Opened("dense");
        ASSERT_NE(found, nullptr);
        EXPECT_EQ(found->stored_bytes(), report->bytes);
        const auto config = nlohmann::json::parse(ReadFile(At("dense/config.json")).value());
        EXPECT_FALSE(config.contains("quantization_config"));
        EXPECT_EQ(config["torch_dtype"], type == BlockType::kF32 ? "float32" : "bfloat16");
        for (const TensorSpec& spec : ExpectedTensors(config_)) {
          SCOPED_TRACE(spec.name);
          const RawTensor& tensor = found->tensor(spec.name);
          EXPECT_EQ(tensor.dtype, DenseDType(type));
          std::vector<float> want(static_cast<size_t>(tensor.element_count()));
          std::vector<float> values(want.size());
          ConvertTo<float>(from->tensor(spec.name), 0, std::ssize(want), want.data());
          if (type == BlockType::kBF16) {
            for (float& v : want) v = ToFloat(ToBF16(v));
          }
          ConvertTo<float>(tensor, 0, std::ssize(values), values.data());
          EXPECT_EQ(values, want);
        }
      }
    }
  }
}

TEST_F(ConvertTest, EveryKeyOfTheDenseTypeIsSet) {
  const auto base = Random("base");
  nlohmann::json config = nlohmann::json::parse(ReadFile(At("base/config.json")).value());
  using Keys = std::vector<std::string>;
  for (const Keys& keys :
       {Keys{}, Keys{"dtype"}, Keys{"torch_dtype"}, Keys{"dtype", "torch_dtype"}}) {
    config.erase("dtype");
    config.erase("torch_dtype");
    for (const std::string& key : keys) config[key] = "float32";
    ASSERT_TRUE(WriteFileAtomically(At("base/config.json"), config.dump()).ok());
    ASSERT_TRUE(Convert(*base, "out", {.weights = BlockType::kBF16}).ok());
    nlohmann::json want = config;
    for (const std::string& key : keys.empty() ? Keys{"torch_dtype"} : keys) want[key] = "bfloat16";
    nlohmann::json found = nlohmann::json::parse(ReadFile(At("out/config.json")).value());
    found.erase("quantization_config");  // of the head
    EXPECT_EQ(found, want);
  }
}

// The layers dense, the head in blocks: both are said, and an own embedding goes with the layers.
TEST_F(ConvertTest, TheHeadMayBeOfAnotherKindThanTheLayers) {
  config_.tied_head = false;
  const auto base = Random("base");
  ASSERT_TRUE(Convert(*base, "out", {.weights = BlockType::kBF16, .head = BlockType::kQ8_0}).ok());
  const auto found = Opened("out");
  ASSERT_NE(found, nullptr);
  EXPECT_NE(found->blocks("lm_head.weight"), nullptr);
  EXPECT_EQ(found->tensor("model.embed_tokens.weight").dtype, DType::kBF16);
  EXPECT_EQ(found->tensor("model.norm.weight").dtype, DType::kBF16);
  const auto config = nlohmann::json::parse(ReadFile(At("out/config.json")).value());
  EXPECT_EQ(config["quantization_config"]["weights"], "BF16");
  EXPECT_EQ(config["quantization_config"]["head"], "Q8_0");
}

TEST_F(ConvertTest, AnEmbeddingOfItsOwnStaysDense) {
  config_.tied_head = false;
  const auto base = Random("base");
  ASSERT_TRUE(Convert(*base, "out", {.weights = BlockType::kQ4_0, .head = BlockType::kQ4_0}).ok());
  const auto found = Opened("out");
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->blocks("model.embed_tokens.weight"), nullptr);
  ASSERT_NE(found->blocks("lm_head.weight"), nullptr);
  EXPECT_EQ(found->blocks("lm_head.weight")->type, BlockType::kQ4_0);
}

TEST_F(ConvertTest, RowsThatAreNoWholeBlocksStayDense) {
  config_.feed_forward = 40;
  const auto base = Random("base");
  const auto report = Convert(*base, "out");
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->dense_matrix_count, 2);
  const auto found = Opened("out");
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->blocks("model.layers.1.mlp.down_proj.weight"), nullptr);
  EXPECT_NE(found->blocks("model.layers.1.mlp.up_proj.weight"), nullptr);
}

TEST_F(ConvertTest, ThreadsAndASecondPassChangeNoByte) {
  const auto base = Random("base");
  const ConvertOptions options{.weights = BlockType::kQ4_0};
  ASSERT_TRUE(Convert(*base, "one", options, 1).ok());
  ASSERT_TRUE(Convert(*base, "four", options, 4).ok());
  ASSERT_TRUE(Convert(*Opened("one"), "again", options).ok());
  const std::string bytes = ReadFile(At("one/model.safetensors")).value();
  EXPECT_EQ(ReadFile(At("four/model.safetensors")).value(), bytes);
  EXPECT_EQ(ReadFile(At("again/model.safetensors")).value(), bytes);
  EXPECT_EQ(Opened("again")->Fingerprint(), Opened("one")->Fingerprint());
}

// ref multiplies with the values; cpu multiplies integers, near them.
TEST_F(ConvertTest, LogitsAreThoseOfTheValuesInTheBlocks) {
  const auto base = Random("base");
  const std::vector<float> before = LogitsOf(*base, "ref");
  for (const BlockType type : {BlockType::kQ8_0, BlockType::kQ4_0}) {
    const std::string name(FormatOf(type).name);
    ASSERT_TRUE(Convert(*base, name, {.weights = type, .head = type}).ok());
    const auto found = Opened(name);
    std::vector<NamedTensor> dense;
    for (const TensorSpec& spec : ExpectedTensors(config_)) {
      dense.push_back({spec.name, found->tensor(spec.name)});
    }
    ASSERT_TRUE(MakeDirectories(At("dense")).ok());
    ASSERT_TRUE(WriteSafetensors(At("dense/model.safetensors"), dense, {}).ok());
    ASSERT_TRUE(
        WriteFileAtomically(At("dense/config.json"), ConfigToJson(config_, DType::kF32)).ok());
    const std::vector<float> want = LogitsOf(*Opened("dense"), "ref");
    EXPECT_EQ(LogitsOf(*found, "ref"), want);
    const double size = *std::ranges::max_element(want);
    ASSERT_GT(size, 0.1);
    EXPECT_LT(LargestDifference(LogitsOf(*found, "cpu"), want), 0.03 * size);
    EXPECT_LT(LargestDifference(want, before), (type == BlockType::kQ8_0 ? 0.03 : 0.4) * size);
  }
}

TEST_F(ConvertTest, AWeightThatTheTypeDoesNotHoldLeavesTheOldBase) {
  const auto base = Random("base");
  ASSERT_TRUE(Convert(*base, "out").ok());
  const std::string fingerprint = Opened("out")->Fingerprint();
  const auto convert = [&](float bad, BlockType type, const std::string& to) {
    std::vector<NamedTensor> tensors;
    std::vector<float> weight(64 * 64, 0.25f);
    weight[64 * 5 + 3] = bad;
    for (const TensorSpec& spec : ExpectedTensors(config_)) {
      tensors.push_back({spec.name, base->tensor(spec.name)});
      if (spec.name == "model.layers.1.self_attn.o_proj.weight") {
        tensors.back().tensor.bytes = std::as_bytes(std::span(weight));
      }
    }
    EXPECT_TRUE(MakeDirectories(At("bad")).ok());
    EXPECT_TRUE(WriteSafetensors(At("bad/model.safetensors"), tensors, {}).ok());
    EXPECT_TRUE(
        WriteFileAtomically(At("bad/config.json"), ConfigToJson(config_, DType::kF32)).ok());
    return Convert(*Opened("bad"), to, {.weights = type}).status();
  };
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kAboveBf16 = 3.4e38f;
  const std::vector<std::tuple<float, BlockType, std::string>> cases = {
      {kInfinity, BlockType::kQ8_0, "want numbers of at most 8319008.000000, found inf"},
      {kInfinity, BlockType::kF32, "want numbers that F32 holds, found inf"},
      {kInfinity, BlockType::kBF16, "want numbers that BF16 holds, found inf"},
      {kAboveBf16, BlockType::kBF16, "want numbers that BF16 holds, found 3399999952"},
  };
  for (const auto& [bad, type, message] : cases) {
    EXPECT_THAT(convert(bad, type, "out").message(),
                HasSubstr("layers.1.self_attn.o_proj.weight\": row 5: " + message));
  }
  EXPECT_EQ(Opened("out")->Fingerprint(), fingerprint);
  EXPECT_TRUE(convert(kAboveBf16, BlockType::kF32, "large").ok());
}

TEST_F(ConvertTest, RefusesToReplaceItsOwnBase) {
  const auto base = Random("base");
  const auto report = Convert(*base, "./base");
  ASSERT_FALSE(report.ok());
  EXPECT_THAT(report.status().message(), HasSubstr("another folder"));
  EXPECT_NE(Opened("base"), nullptr);
}

// A folder with blocks whose header or config was tampered with.
TEST_F(ConvertTest, HostileBlocksAreRefusedInOneLine) {
  const auto base = Random("base");
  ASSERT_TRUE(Convert(*base, "good").ok());
  const std::string up = "model.layers.0.mlp.up_proj.weight";
  struct Stored {
    DType dtype;
    std::vector<int64_t> shape;
    std::vector<std::byte> bytes;
  };
  using Tensors = std::map<std::string, Stored>;
  const auto file = SafetensorsFile::Open(At("good/model.safetensors"));
  ASSERT_TRUE(file.ok());
  const auto zeros = [](int64_t count) {
    return std::vector<std::byte>(static_cast<size_t>(count));
  };
  const std::vector<std::pair<std::function<void(Tensors&)>, std::string>> cases = {
      {[&](Tensors& t) { t[up + ".Q8_0"].dtype = DType::kI8; },
       up + ".Q8_0\": want U8 [96, 68], found I8 [96, 68]"},
      {[&](Tensors& t) {
         t[up + ".Q8_0"].shape = {68, 96};
       },
       "want U8 [96, 68], found U8 [68, 96]"},
      {[&](Tensors& t) { t[up + ".Q8_0"].shape = {96 * 68}; }, "found U8 [6528]"},
      {[&](Tensors& t) {
         t[up + ".Q8_0"] = {DType::kU8, {96, 36}, zeros(96 * 36)};
       },
       "want U8 [96, 68], found U8 [96, 36]"},
      {[&](Tensors& t) {
         t[up + ".Q4_0"] = {DType::kU8, {96, 36}, zeros(96 * 36)};
       },
       up + ".Q4_0\": not a tensor"},
      {[&](Tensors& t) {
         t[up] = {DType::kF32, {96, 64}, zeros(96 * 64 * 4)};
       },
       up + ".Q8_0\": not a tensor"},
      {[&](Tensors& t) {
         t.erase(up + ".Q8_0");
         t[up + ".Q6_K"] = {DType::kU8, {96, 210}, zeros(96 * 210)};
       },
       "want rows of whole blocks of 256, found [96, 64]"},
      {[&](Tensors& t) {
         t.erase(up + ".Q8_0");
         t[up + ".Q5_1"] = {DType::kU8, {96, 48}, zeros(96 * 48)};
       },
       up + "\": want [96, 64], found nothing"},
      {[&](Tensors& t) { t.erase(up + ".Q8_0"); }, up + "\": want [96, 64], found nothing"},
      {[&](Tensors& t) {
         t.erase("model.norm.weight");
         t["model.norm.weight.Q8_0"] = {DType::kU8, {68}, zeros(68)};
       },
       "model.norm.weight\": want [64], found nothing"},
  };
  for (const auto& [spoil, message] : cases) {
    Tensors tensors;
    for (const auto& [name, tensor] : (*file)->tensors()) {
      tensors[name] = {tensor.dtype, tensor.shape, {tensor.bytes.begin(), tensor.bytes.end()}};
    }
    spoil(tensors);
    std::vector<NamedTensor> list;
    for (const auto& [name, stored] : tensors) {
      list.push_back({name, {stored.dtype, stored.shape, stored.bytes}});
    }
    ASSERT_TRUE(MakeDirectories(At("bad")).ok());
    ASSERT_TRUE(WriteSafetensors(At("bad/model.safetensors"), list, {}).ok());
    fs::copy_file(At("good/config.json"), At("bad/config.json"),
                  fs::copy_options::overwrite_existing);
    const auto opened = Checkpoint::Open(At("bad"));
    ASSERT_FALSE(opened.ok()) << message;
    EXPECT_THAT(opened.status().message(), HasSubstr(message));
    EXPECT_EQ(opened.status().message().find('\n'), std::string::npos);
  }
}

}  // namespace
}  // namespace onepass
