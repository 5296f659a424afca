#include "model/gguf_base.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/rng.h"
#include "format/gguf_builder_for_test.h"
#include "model/checkpoint.h"

namespace onepass {
namespace {

using testing::HasSubstr;

const std::string kGgufGoldens = ONEPASS_SOURCE_DIR "/tests/golden/";

Result<std::shared_ptr<const GgufFile>> Parse(const std::string& bytes) {
  return GgufFile::Parse(BytesOf(bytes), "x");
}

std::string RandomBytes(size_t size, uint64_t seed) {
  Rng rng(seed);
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(rng.Uniform(256));
  return bytes;
}

std::string Scales(int64_t count) {
  GgufBytes bytes;
  for (int64_t i = 0; i < count; ++i) bytes.Put(0.125f * static_cast<float>(i % 7));
  return bytes.text();
}

// A small llama: its keys and tensors, each of which a test may leave out or replace.
struct Model {
  std::string architecture = "llama";
  std::map<std::string, std::function<void(GgufBuilder&, const std::string&)>> keys;
  struct Tensor {
    BlockType type;
    std::vector<int64_t> shape;
    std::string bytes;
  };
  std::map<std::string, Tensor> tensors;

  explicit Model(BlockType matrices = BlockType::kQ4_K) {
    const auto u32 = [this](const std::string& key, uint32_t value) {
      keys[key] = [value](GgufBuilder& b, const std::string& name) { b.U32(name, value); };
    };
    u32("context_length", 512);
    u32("embedding_length", 256);
    u32("block_count", 1);
    u32("feed_forward_length", 256);
    u32("attention.head_count", 4);
    u32("attention.head_count_kv", 2);
    keys["attention.layer_norm_rms_epsilon"] = [](GgufBuilder& b, const std::string& name) {
      b.F32(name, 1e-5f);
    };
    const auto matrix = [&](const std::string& name, int64_t rows) {
      Add(name, matrices, {rows, 256});
    };
    matrix("token_embd.weight", 32);
    matrix("blk.0.attn_q.weight", 256);
    matrix("blk.0.attn_k.weight", 128);
    matrix("blk.0.attn_v.weight", 128);
    for (const char* name : {"attn_output", "ffn_gate", "ffn_up", "ffn_down"}) {
      matrix("blk.0." + std::string(name) + ".weight", 256);
    }
    for (const char* name : {"output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"}) {
      Add(std::string(name) + ".weight", BlockType::kF32, {256});
    }
  }

  void Add(const std::string& name, BlockType type, std::vector<int64_t> shape) {
    int64_t count = 1;
    for (const int64_t extent : shape) count *= extent;
    const BlockFormat& format = FormatOf(type);
    const int64_t size = count / format.elements * format.bytes;
    tensors[name] = {
        type, std::move(shape),
        type == BlockType::kF32 ? Scales(count) : RandomBytes(static_cast<size_t>(size), 1)};
  }
  void U32(const std::string& key, uint32_t value) {
    keys[key] = [value](GgufBuilder& b, const std::string& name) { b.U32(name, value); };
  }
  void F32(const std::string& key, float value) {
    keys[key] = [value](GgufBuilder& b, const std::string& name) { b.F32(name, value); };
  }
  void Text(const std::string& key, const std::string& value) {
    keys[key] = [value](GgufBuilder& b, const std::string& name) { b.Text(name, value); };
  }

  std::string Build() const {
    GgufBuilder builder;
    builder.Text("general.architecture", architecture);
    for (const auto& [key, put] : keys) {
      put(builder, key.starts_with("tokenizer.") ? key : architecture + "." + key);
    }
    for (const auto& [name, t] : tensors) builder.Tensor(name, t.type, t.shape, t.bytes);
    return builder.Build();
  }

  std::string FaultOf() const {
    const std::string bytes = Build();
    const auto file = Parse(bytes);
    if (!file.ok()) return file.status().message();
    const auto base = Checkpoint::FromGguf(*file);
    return base.ok() ? "(none)" : base.status().message();
  }
};

TEST(GgufBase, GoldensHaveTheConfigAndWeightsOfTheirFolders) {
  for (const char* name : {"llama-plain", "llama-tied-bf16", "llama-linear-f16", "llama-biases",
                           "llama-llama3-rope", "llama-head-dim", "qwen2", "mistral"}) {
    SCOPED_TRACE(name);
    const auto folder = Checkpoint::Open(kGgufGoldens + "parity/" + name);
    const auto file = Checkpoint::Open(kGgufGoldens + "gguf/" + name + ".gguf");
    ASSERT_TRUE(folder.ok()) << folder.status().message();
    ASSERT_TRUE(file.ok()) << file.status().message();
    ModelConfig want = (*folder)->config();
    if (want.architecture == "mistral") want.architecture = "llama";  // GGUF has no other word
    EXPECT_EQ(ConfigToJson((*file)->config(), DType::kF32), ConfigToJson(want, DType::kF32));
    for (const TensorSpec& spec : ExpectedTensors(want)) {
      const RawTensor& a = (*folder)->tensor(spec.name);
      const RawTensor& b = (*file)->tensor(spec.name);
      EXPECT_EQ((*file)->blocks(spec.name), nullptr);
      ASSERT_EQ(a.shape, b.shape) << spec.name;
      std::vector<float> a_values(static_cast<size_t>(a.element_count()));
      std::vector<float> b_values(a_values.size());
      ConvertTo(a, 0, std::ssize(a_values), a_values.data());
      ConvertTo(b, 0, std::ssize(b_values), b_values.data());
      EXPECT_EQ(a_values, b_values) << spec.name;
    }
    if (std::string(name) == "mistral") continue;  // the architecture's name enters it
    EXPECT_EQ((*file)->Fingerprint(), (*folder)->Fingerprint());
    EXPECT_EQ((*file)->stored_bytes(), (*folder)->stored_bytes());
  }
}

// The vectors of a 16-bit base come in F32; one that does not fit 16 bits stays as it is.
TEST(GgufBase, WidenedVectorsAreNarrowedWhereNoValueChanges) {
  Model model(BlockType::kBF16);
  const float odd = 1 + 0x1p-20f;
  std::memcpy(model.tensors.at("output_norm.weight").bytes.data() + 4 * 9, &odd, 4);
  const std::string bytes = model.Build();
  const auto base = Checkpoint::FromGguf(*Parse(bytes));
  ASSERT_TRUE(base.ok()) << base.status().message();
  EXPECT_EQ((*base)->tensor("model.norm.weight").dtype, DType::kF32);
  const RawTensor& norm = (*base)->tensor("model.layers.0.input_layernorm.weight");
  EXPECT_EQ(norm.dtype, DType::kBF16);
  std::vector<float> values(256);
  ConvertTo(norm, 0, 256, values.data());
  EXPECT_EQ(values[3], 0.375f);
}

TEST(GgufBase, QuantisedWeightsAreTheirDequantisedBlocks) {
  for (const BlockType type :
       {BlockType::kQ8_0, BlockType::kQ4_0, BlockType::kQ4_K, BlockType::kQ6_K}) {
    const Model model(type);
    const std::string bytes = model.Build();
    const auto file = Parse(bytes);
    ASSERT_TRUE(file.ok()) << file.status().message();
    const auto base = Checkpoint::FromGguf(*file);
    ASSERT_TRUE(base.ok()) << base.status().message();
    EXPECT_EQ((*base)->stored_type(), FormatOf(type).name);
    EXPECT_EQ((*base)->dtype(), DType::kF32);
    int64_t stored = 0;
    for (const auto& [name, tensor] : model.tensors) stored += std::ssize(tensor.bytes);
    EXPECT_EQ((*base)->stored_bytes(), stored);

    const auto& up = model.tensors.at("blk.0.ffn_up.weight");
    std::vector<float> want(256 * 256);
    Dequantise(type, BytesOf(up.bytes), want);
    const RawTensor& tensor = (*base)->tensor("model.layers.0.mlp.up_proj.weight");
    ASSERT_EQ(tensor.dtype, DType::kF32);
    ASSERT_EQ(tensor.bytes.size(), 4 * want.size());
    EXPECT_EQ(std::memcmp(tensor.bytes.data(), want.data(), tensor.bytes.size()), 0);
    EXPECT_EQ(&(*base)->tensor("model.layers.0.mlp.up_proj.weight"), &tensor);
    const BlockTensor* blocks = (*base)->blocks("model.layers.0.mlp.up_proj.weight");
    ASSERT_NE(blocks, nullptr);
    EXPECT_TRUE(std::ranges::equal(blocks->bytes, BytesOf(up.bytes)));
    EXPECT_EQ((*base)->blocks("model.norm.weight"), nullptr);
  }
}

// Head 1, pair 5: rows 2 * 5 and 2 * 5 + 1 of the head become its rows 5 and 32 + 5.
TEST(GgufBase, QueryAndKeyRowsAreTakenApart) {
  Model model;
  for (const char* architecture : {"llama", "qwen2"}) {
    model.architecture = architecture;
    if (model.architecture == "qwen2") {
      for (const auto& [name, rows] : {std::pair("q", 256), {"k", 128}, {"v", 128}}) {
        model.Add("blk.0.attn_" + std::string(name) + ".bias", BlockType::kF32, {rows});
      }
    }
    const std::string bytes = model.Build();
    const auto file = Parse(bytes);
    const auto base = Checkpoint::FromGguf(*file);
    ASSERT_TRUE(base.ok()) << base.status().message();
    for (const auto& [ours, theirs] : {std::pair("q_proj", "attn_q"), {"k_proj", "attn_k"}}) {
      const BlockTensor* blocks =
          (*base)->blocks("model.layers.0.self_attn." + std::string(ours) + ".weight");
      const std::string& stored =
          model.tensors.at("blk.0." + std::string(theirs) + ".weight").bytes;
      const auto row_bytes = static_cast<size_t>(blocks->row_bytes());
      for (const size_t half : {0u, 1u}) {
        const size_t to = 64 + half * 32 + 5;
        const size_t from = model.architecture == "llama" ? 64 + 2 * 5 + half : to;
        EXPECT_EQ(std::memcmp(blocks->bytes.data() + to * row_bytes,
                              stored.data() + from * row_bytes, row_bytes),
                  0)
            << architecture << " " << ours << " " << half;
      }
    }
  }
}

TEST(GgufBase, FingerprintSeesBlocksAndTheirType) {
  const auto fingerprint = [](const Model& model) {
    const std::string bytes = model.Build();
    return Checkpoint::FromGguf(*Parse(bytes)).value()->Fingerprint();
  };
  Model model;
  const std::string first = fingerprint(model);
  EXPECT_EQ(fingerprint(model), first);
  model.tensors.at("blk.0.ffn_up.weight").bytes[7] ^= 1;
  EXPECT_NE(fingerprint(model), first);
  EXPECT_NE(fingerprint(Model(BlockType::kQ6_K)), first);
}

TEST(GgufBase, FaultsNameTensorsAndKeys) {
  const Model good;
  ASSERT_EQ(good.FaultOf(), "(none)");
  Model bad = good;
  bad.tensors.erase("blk.0.ffn_up.weight");
  EXPECT_EQ(bad.FaultOf(), "gguf: \"blk.0.ffn_up.weight\": want [256, 256], found nothing (x)");
  bad.Add("blk.0.ffn_up.weight", BlockType::kQ4_K, {255, 256});
  EXPECT_THAT(bad.FaultOf(), HasSubstr("ffn_up.weight\": want [256, 256], found [255, 256]"));
  bad.Add("blk.0.ffn_up.weight", BlockType::kQ5_K, {256, 256});
  EXPECT_THAT(bad.FaultOf(), HasSubstr("Q4_K or Q6_K, found Q5_K"));
  bad = good;
  bad.Add("blk.0.attn_norm.weight", BlockType::kQ4_K, {256});
  EXPECT_THAT(bad.FaultOf(), HasSubstr("want a vector in F32, F16 or BF16, found Q4_K"));
  bad = good;
  bad.Add("blk.0.ffn_gate_inp.weight", BlockType::kF32, {8, 256});
  EXPECT_THAT(bad.FaultOf(), HasSubstr("ffn_gate_inp.weight\": not a tensor of this llama model"));
  bad = good;
  bad.tensors.erase("token_embd.weight");
  EXPECT_THAT(bad.FaultOf(), HasSubstr("\"token_embd.weight\": want a matrix, found none"));
  bad = good;
  bad.architecture = "gemma";
  EXPECT_THAT(bad.FaultOf(), HasSubstr("want \"llama\" or \"qwen2\", found \"gemma\""));
  struct Case {
    const char* key;
    uint32_t value;
    const char* message;
  };
  for (const Case& c : {Case{"block_count", 0, "\"llama.block_count\": want a whole number from 1"},
                        {"block_count", 2, "\"blk.1.attn_norm.weight\": want [256]"},
                        {"attention.head_count", 3, "a multiple of the head count, 3"},
                        {"attention.head_count_kv", 3, "num_key_value_heads"},
                        {"attention.key_length", 63, "want attention.key_length, 63"},
                        {"expert_count", 8, "\"llama.expert_count\": want 0, found 8"},
                        {"rope.dimension_count", 32, "want the head's size, 64, found 32"},
                        {"attention.scale", 1, "\"llama.attention.scale\": want nothing, found 1"},
                        {"context_length", 0, "\"llama.context_length\""}}) {
    bad = good;
    bad.U32(c.key, c.value);
    if (std::string(c.key) == "attention.key_length") bad.U32("attention.value_length", 64);
    EXPECT_THAT(bad.FaultOf(), HasSubstr(c.message)) << c.key;
  }
  bad = good;
  bad.keys.erase("attention.layer_norm_rms_epsilon");
  EXPECT_THAT(bad.FaultOf(), HasSubstr("rms_epsilon\": want a number above 0"));
  bad = good;
  bad.Text("rope.scaling.type", "yarn");
  EXPECT_THAT(bad.FaultOf(), HasSubstr("rope.scaling.type\": want \"none\" or \"linear\""));
}

ModelConfig ConfigOf(const Model& model) {
  const std::string bytes = model.Build();
  return GgufConfig(**Parse(bytes)).value();
}

TEST(GgufBase, HeadCountsMayStandLayerByLayer) {
  Model model;
  const auto list = [](std::vector<int32_t> values) {
    return [values](GgufBuilder& b, const std::string& name) {
      b.List<int32_t>(name, GgufKind::kI32, values);
    };
  };
  model.keys["attention.head_count_kv"] = list({2});
  EXPECT_EQ(ConfigOf(model).kv_heads, 2);
  model.keys["attention.head_count_kv"] = list({2, 4});
  EXPECT_THAT(model.FaultOf(), HasSubstr("head_count_kv\": want the same for every layer"));
  model.keys["attention.head_count_kv"] = list({});
  EXPECT_THAT(model.FaultOf(), HasSubstr("head_count_kv\": want numbers from 1"));
}

TEST(GgufBase, ASlidingWindowEndsTheContext) {
  Model model;
  for (const auto& [window, positions] :
       {std::pair{0, 512}, std::pair{511, 511}, std::pair{512, 512}, std::pair{513, 512}}) {
    model.U32("attention.sliding_window", static_cast<uint32_t>(window));
    const ModelConfig config = ConfigOf(model);
    EXPECT_EQ(config.max_positions, positions);
    EXPECT_EQ(config.sliding_window, window == 511 || window == 512 ? window : 0);
  }
}

TEST(GgufBase, RopeScalingOfEverySpelling) {
  Model model;
  EXPECT_EQ(ConfigOf(model).rope_scaling, RopeScaling::kNone);
  model.F32("rope.scale_linear", 2);
  EXPECT_EQ(ConfigOf(model).rope_scaling, RopeScaling::kLinear);
  EXPECT_EQ(ConfigOf(model).rope_factor, 2);
  model.F32("rope.scaling.factor", 4);
  model.Text("rope.scaling.type", "linear");
  EXPECT_EQ(ConfigOf(model).rope_factor, 4);
  model.Text("rope.scaling.type", "none");
  EXPECT_EQ(ConfigOf(model).rope_scaling, RopeScaling::kNone);
}

// Factors that follow Llama-3's rule become the rule; others are kept, and divide.
TEST(GgufBase, RopeFactorsGiveTheFrequenciesTheyMean) {
  ModelConfig llama3 = NamedShape("llama3.2-1b").value();
  ModelConfig plain = llama3;
  plain.rope_scaling = RopeScaling::kNone;
  const std::vector<double> scaled = RopeInverseFrequencies(llama3);
  const std::vector<double> unscaled = RopeInverseFrequencies(plain);
  Model model;
  model.F32("rope.freq_base", 500000);
  GgufBytes factors;
  for (size_t i = 0; i < scaled.size(); ++i) {
    factors.Put(static_cast<float>(unscaled[i] / scaled[i]));
  }
  model.tensors["rope_freqs.weight"] = {BlockType::kF32, {32}, factors.text()};
  const ModelConfig found = ConfigOf(model);
  EXPECT_EQ(found.rope_scaling, RopeScaling::kLlama3);
  EXPECT_EQ(found.rope_factor, 32);
  EXPECT_EQ(found.rope_original_positions, 8192);
  EXPECT_EQ(RopeInverseFrequencies(found), scaled);

  std::string other = factors.text();
  const float three = 3;
  std::memcpy(other.data() + 4 * 10, &three, 4);
  model.tensors["rope_freqs.weight"].bytes = other;
  const ModelConfig kept = ConfigOf(model);
  ASSERT_EQ(kept.rope_factors.size(), 32u);
  EXPECT_EQ(RopeInverseFrequencies(kept)[10], unscaled[10] / 3);
  EXPECT_NEAR(RopeInverseFrequencies(kept)[31], scaled[31], 1e-7 * scaled[31]);
  EXPECT_FALSE(ParseConfig(ConfigToJson(kept, DType::kF32), "x").ok());

  const float zero = 0;
  std::memcpy(other.data(), &zero, 4);
  model.tensors["rope_freqs.weight"].bytes = other;
  EXPECT_THAT(model.FaultOf(), HasSubstr("\"rope_freqs.weight\": want factors above 0, found 0"));
  model.tensors["rope_freqs.weight"].shape = {31};
  EXPECT_THAT(model.FaultOf(),
              HasSubstr("want F32 of one factor a frequency, 32, found F32 of 31"));
}

TEST(GgufBase, TokensOutsideTheVocabularyAreLeftOut) {
  Model model;
  model.U32("tokenizer.ggml.bos_token_id", 3);
  model.U32("tokenizer.ggml.eos_token_id", 4);
  model.U32("tokenizer.ggml.eot_token_id", 5);
  model.U32("tokenizer.ggml.eom_token_id", 0xffffffff);
  const ModelConfig config = ConfigOf(model);
  EXPECT_EQ(config.bos_token, 3);
  EXPECT_EQ(config.eos_tokens, (std::vector<int64_t>{4, 5}));
}

TEST(GgufBase, AFileThatIsNoGgufIsRefused) {
  const auto base = Checkpoint::Open(kGgufGoldens + "parity/greedy.json");
  ASSERT_FALSE(base.ok());
  EXPECT_THAT(base.status().message(), HasSubstr("want a file that begins with \"GGUF\""));
}

}  // namespace
}  // namespace onepass
