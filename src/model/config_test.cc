#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/file.h"

namespace onepass {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr char kGoldens[] = ONEPASS_SOURCE_DIR "/tests/golden/config/";

std::string Read(const std::string& path) {
  const auto text = ReadFile(path);
  EXPECT_TRUE(text.ok()) << text.status().message();
  return text.ok() ? *text : "";
}

json Llama() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"vocab_size", 64},
          {"hidden_size", 32},
          {"intermediate_size", 48},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"max_position_embeddings", 128}};
}

json With(json base, const json& changes) {
  base.update(changes);
  return base;
}

json Qwen2(const json& changes) {
  return With(With(Llama(), {{"architectures", {"Qwen2ForCausalLM"}}}), changes);
}

json Mistral(const json& changes) {
  return With(With(Llama(), {{"architectures", {"MistralForCausalLM"}}}), changes);
}

ModelConfig Parsed(const json& object) {
  const auto config = ParseConfig(object.dump(), "c.json");
  EXPECT_TRUE(config.ok()) << config.status().message();
  return config.ok() ? *config : ModelConfig{};
}

Status FaultOf(const json& object) { return ParseConfig(object.dump(), "c.json").status(); }

TEST(Config, DefaultsAreThoseOfTransformers) {
  const ModelConfig config = Parsed(Llama());
  EXPECT_EQ(config.architecture, "llama");
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.norm_eps, 1e-6);
  EXPECT_EQ(config.rope_theta, 10000);
  EXPECT_FALSE(config.tied_head);
  EXPECT_FALSE(config.qkv_bias || config.output_bias || config.mlp_bias);
  EXPECT_FALSE(config.bos_token.has_value());
  EXPECT_TRUE(config.eos_tokens.empty());
  json without_kv = Llama();
  without_kv.erase("num_key_value_heads");
  EXPECT_EQ(Parsed(without_kv).kv_heads, 4);
}

TEST(Config, NullCountsAsAbsent) {
  const json nulls = {{"head_dim", nullptr},     {"rope_scaling", nullptr},
                      {"rope_theta", nullptr},   {"num_key_value_heads", nullptr},
                      {"bos_token_id", nullptr}, {"eos_token_id", nullptr},
                      {"rms_norm_eps", nullptr}, {"quantization_config", nullptr}};
  const ModelConfig config = Parsed(With(Llama(), nulls));
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.kv_heads, 4);
  EXPECT_EQ(config.rope_scaling, RopeScaling::kNone);
}

TEST(Config, ArchitectureComesFromEitherKey) {
  json by_type = Llama();
  by_type.erase("architectures");
  by_type["model_type"] = "qwen2";
  EXPECT_EQ(Parsed(by_type).architecture, "qwen2");
  EXPECT_EQ(Parsed(With(Llama(), {{"model_type", "llama"}})).architecture, "llama");
}

TEST(Config, BiasesFollowTheArchitecture) {
  const ModelConfig llama = Parsed(With(Llama(), {{"attention_bias", true}, {"mlp_bias", true}}));
  EXPECT_TRUE(llama.qkv_bias && llama.output_bias && llama.mlp_bias);
  const ModelConfig qwen2 = Parsed(Qwen2({{"attention_bias", false}}));
  EXPECT_TRUE(qwen2.qkv_bias);
  EXPECT_FALSE(qwen2.output_bias || qwen2.mlp_bias);
  const ModelConfig mistral = Parsed(Mistral({{"sliding_window", nullptr}}));
  EXPECT_FALSE(mistral.qkv_bias || mistral.output_bias);
}

TEST(Config, EndTokensMayBeOneOrMany) {
  EXPECT_EQ(Parsed(With(Llama(), {{"eos_token_id", 2}})).eos_tokens, std::vector<int64_t>{2});
  EXPECT_EQ(Parsed(With(Llama(), {{"eos_token_id", {2, 5}}})).eos_tokens,
            (std::vector<int64_t>{2, 5}));
  // An id outside the vocabulary can never be sampled.
  EXPECT_EQ(
      Parsed(With(Llama(), {{"eos_token_id", {2, 151643}}, {"bos_token_id", 151643}})).eos_tokens,
      std::vector<int64_t>{2});
}

TEST(Config, ASlidingWindowEndsTheContext) {
  struct Case {
    json config;
    int64_t positions;
    int64_t window;
  };
  const auto sliding = [](const json& changes) {
    return Qwen2(With({{"use_sliding_window", true}, {"sliding_window", 16}}, changes));
  };
  for (const Case& c : {
           Case{Mistral({{"sliding_window", 127}}), 127, 127},
           Case{Mistral({{"sliding_window", 128}}), 128, 128},
           Case{Mistral({{"sliding_window", 129}}), 128, 0},
           Case{Mistral({{"sliding_window", nullptr}}), 128, 0},
           Case{Mistral(json::object()), 128, 0},  // 4096, longer than this context
           Case{Mistral({{"max_position_embeddings", 32768}}), 4096, 4096},
           Case{Mistral({{"sliding_window", 16}, {"layer_types", {"full_attention"}}}), 128, 0},
           Case{Qwen2({{"use_sliding_window", false}, {"sliding_window", 16}}), 128, 0},
           Case{sliding({{"max_window_layers", 1}}), 16, 16},
           Case{sliding({{"max_window_layers", 2}}), 128, 0},  // no layer slides
           Case{sliding({{"layer_types", {"full_attention", "full_attention"}}}), 128, 0},
           Case{sliding({{"layer_types", {"full_attention", "sliding_attention"}}}), 16, 16},
       }) {
    SCOPED_TRACE(c.config.dump());
    const ModelConfig config = Parsed(c.config);
    EXPECT_EQ(config.max_positions, c.positions);
    EXPECT_EQ(config.sliding_window, c.window);
    EXPECT_EQ(config.LimitOfPositions(),
              c.window > 0 ? "the base's sliding window" : "the base's context");
    const auto again = ParseConfig(ConfigToJson(config, DType::kF32), "written");
    ASSERT_TRUE(again.ok()) << again.status().message();
    EXPECT_EQ(again->max_positions, c.positions);
    EXPECT_EQ(again->sliding_window, c.window);
  }
}

// Llama-3's rule stretches from the positions that the base was trained for, not from the window.
TEST(Config, ASlidingWindowLeavesThePositionsAsTheyAre) {
  const json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0}};
  const ModelConfig config = Parsed(Mistral({{"sliding_window", 16}, {"rope_scaling", llama3}}));
  EXPECT_EQ(config.max_positions, 16);
  EXPECT_EQ(config.rope_original_positions, 128);
}

struct Refused {
  json config;
  StatusCode code;
  const char* message;
};

std::vector<Refused> RefusedConfigs() {
  constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;
  constexpr StatusCode kUnsupported = StatusCode::kUnsupported;
  const auto llama = [](const json& changes) { return With(Llama(), changes); };
  const auto rope = [&](const json& scaling) { return llama({{"rope_scaling", scaling}}); };
  const json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 64}};
  return {
      {json::array(), kInvalid, "want an object, found a list"},
      {json::object(), kInvalid,
       "\"architectures\": want one of LlamaForCausalLM, Qwen2ForCausalLM"},
      {llama({{"architectures", {"GPT2LMHeadModel"}}}), kUnsupported, "found \"GPT2LMHeadModel\""},
      {llama({{"architectures", "LlamaForCausalLM"}}), kInvalid, "a list of one name"},
      {llama({{"architectures", json::array()}}), kInvalid, "a list of one name"},
      {llama({{"model_type", "mistral"}}), kUnsupported, "\"model_type\": want \"llama\""},
      {llama({{"model_type", 3}}), kInvalid, "\"model_type\": want a string, found 3"},
      {llama({{"vocab_size", nullptr}}), kInvalid, "\"vocab_size\": want a whole number"},
      {llama({{"vocab_size", "64"}}), kInvalid, "found \"64\""},
      {llama({{"vocab_size", 64.0}}), kInvalid, "found 64.0"},
      {llama({{"vocab_size", true}}), kInvalid, "found true"},
      {llama({{"vocab_size", 100000000}}), kInvalid,
       "\"vocab_size\": want a whole number from 1 to"},
      {llama({{"hidden_size", 0}}), kInvalid, "\"hidden_size\": want a whole number"},
      {llama({{"hidden_size", -32}}), kInvalid, "found -32"},
      {llama({{"hidden_size", uint64_t{18446744073709551615u}}}), kInvalid,
       "found 18446744073709551615"},
      {llama({{"hidden_size", 1e300}}), kInvalid, "found 1e+300"},
      {llama({{"hidden_size", 34}}), kInvalid, "a multiple of num_attention_heads, 4"},
      {llama({{"num_hidden_layers", 100000}}), kInvalid, "\"num_hidden_layers\""},
      {llama({{"num_attention_heads", json::array({4})}}), kInvalid, "found a list"},
      {llama({{"num_key_value_heads", 3}}), kInvalid, "a multiple of num_key_value_heads, 3"},
      {llama({{"num_key_value_heads", 8}}), kInvalid, "\"num_key_value_heads\""},
      {llama({{"head_dim", 7}}), kInvalid, "\"head_dim\": want an even number, found 7"},
      {llama({{"head_dim", 100000}}), kInvalid, "\"head_dim\""},
      {llama({{"intermediate_size", json::object()}}), kInvalid, "found an object"},
      {llama({{"max_position_embeddings", 0}}), kInvalid, "\"max_position_embeddings\""},
      {llama({{"rms_norm_eps", 0}}), kInvalid, "\"rms_norm_eps\": want a number above 0"},
      {llama({{"rms_norm_eps", "1e-5"}}), kInvalid, "found \"1e-5\""},
      {llama({{"rope_theta", -1.0}}), kInvalid, "\"rope_theta\": want a number above 0"},
      {llama({{"rope_theta", 1e300}}), kInvalid, "\"rope_theta\""},
      {llama({{"hidden_act", "gelu"}}), kUnsupported,
       "\"hidden_act\": want \"silu\", found \"gelu\""},
      {llama({{"tie_word_embeddings", 1}}), kInvalid, "want true or false, found 1"},
      {llama({{"attention_bias", "yes"}}), kInvalid, "\"attention_bias\""},
      {llama({{"quantization_config", json::object()}}), kUnsupported, "\"quantization_config\""},
      {llama({{"bos_token_id", -1}}), kInvalid, "\"bos_token_id\""},
      {llama({{"eos_token_id", {1, "2"}}}), kInvalid, "\"eos_token_id\""},
      {llama({{"eos_token_id", 5000000000}}), kInvalid, "\"eos_token_id\""},
      {llama({{"partial_rotary_factor", 0.5}}), kUnsupported, "\"partial_rotary_factor\""},
      {rope("linear"), kInvalid, "\"rope_scaling\": want an object"},
      {rope({{"type", "dynamic"}, {"factor", 2.0}}), kUnsupported,
       "\"rope_scaling.rope_type\": want default, linear or llama3, found \"dynamic\""},
      {rope({{"type", "linear"}}), kInvalid, "\"rope_scaling.factor\""},
      {rope({{"type", "linear"}, {"factor", 0}}), kInvalid, "\"rope_scaling.factor\""},
      {rope(With(llama3, {{"low_freq_factor", nullptr}})), kInvalid, "low_freq_factor"},
      {rope(With(llama3, {{"high_freq_factor", 1.0}})), kInvalid, "more than low_freq_factor"},
      {rope(With(llama3, {{"original_max_position_embeddings", 0}})), kInvalid,
       "original_max_position_embeddings"},
      {llama({{"rope_scaling", {{"type", "linear"}, {"factor", 2}}},
              {"rope_parameters", {{"rope_type", "default"}}}}),
       kInvalid, "only one of them"},
      {llama({{"rope_parameters", {{"rope_type", "yarn"}}}}), kUnsupported,
       "\"rope_parameters.rope_type\""},
      {Mistral({{"sliding_window", 0}}), kInvalid, "\"sliding_window\""},
      {Mistral({{"sliding_window", "4096"}}), kInvalid, "\"sliding_window\""},
  };
}

TEST(Config, FaultsNameKeyWantedAndFound) {
  for (const Refused& refused : RefusedConfigs()) {
    SCOPED_TRACE(refused.config.dump());
    const Status status = FaultOf(refused.config);
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(status.message(), HasSubstr(refused.message));
    EXPECT_THAT(status.message(), HasSubstr("(c.json)"));
    EXPECT_EQ(status.code(), refused.code) << status.message();
  }
}

TEST(Config, HostileTextIsRefused) {
  std::string twice = Llama().dump();
  twice.insert(1, R"("vocab_size":3,)");
  EXPECT_THAT(ParseConfig(twice, "c").status().message(), HasSubstr("key \"vocab_size\" twice"));
  EXPECT_THAT(ParseConfig(std::string(1000000, '['), "c").status().message(), HasSubstr("nested"));
  EXPECT_FALSE(ParseConfig("", "c").ok());
  EXPECT_FALSE(ParseConfig(R"({"vocab_size":1e999})", "c").ok());
  const std::string whole = Llama().dump();
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(ParseConfig(whole.substr(0, size), "c").ok()) << size;
  }
}

class ConfigGolden : public testing::TestWithParam<const char*> {};

TEST_P(ConfigGolden, BothSpellingsGiveTheFrequenciesOfTransformers) {
  const std::string name = GetParam();
  const json expected = json::parse(Read(std::string(kGoldens) + "expected.json"));
  const std::vector<double> want = expected.at(name).at("inv_freq");
  for (const char* spelling : {"", "_old"}) {
    const std::string path = kGoldens + name + spelling + ".json";
    const auto config = ParseConfig(Read(path), path);
    ASSERT_TRUE(config.ok()) << config.status().message();
    const std::vector<double> found = RopeInverseFrequencies(*config);
    ASSERT_EQ(found.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(found[i], want[i], want[i] * 1e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(Saved, ConfigGolden,
                         testing::Values("llama", "llama_linear", "llama_llama3", "qwen2",
                                         "mistral"));

TEST(Config, WhatIsWrittenParsesBack) {
  for (const char* name : {"tiny", "smollm2-135m", "smollm2-360m", "llama3-8b", "llama3.2-1b",
                           "qwen2.5-0.5b", "tinyllama-1.1b"}) {
    const auto shape = NamedShape(name);
    ASSERT_TRUE(shape.ok()) << name;
    const std::string text = ConfigToJson(*shape, DType::kBF16);
    const auto parsed = ParseConfig(text, name);
    ASSERT_TRUE(parsed.ok()) << parsed.status().message();
    EXPECT_EQ(ConfigToJson(*parsed, DType::kBF16), text);
    EXPECT_EQ(parsed->ParameterCount(), shape->ParameterCount());
  }
  ModelConfig all = *NamedShape("tiny");
  all.qkv_bias = all.output_bias = all.mlp_bias = true;
  all.rope_scaling = RopeScaling::kLinear;
  all.rope_factor = 2.5;
  all.eos_tokens = {3, 4};
  const auto parsed = ParseConfig(ConfigToJson(all, DType::kF32), "all");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(ConfigToJson(*parsed, DType::kF32), ConfigToJson(all, DType::kF32));
}

TEST(Config, ParameterCountsAreThePublishedOnes) {
  EXPECT_EQ(NamedShape("smollm2-135m")->ParameterCount(), 134515008);
  EXPECT_EQ(NamedShape("smollm2-360m")->ParameterCount(), 361821120);
  EXPECT_EQ(NamedShape("qwen2.5-0.5b")->ParameterCount(), 494032768);
  EXPECT_EQ(NamedShape("tinyllama-1.1b")->ParameterCount(), 1100048384);
  EXPECT_EQ(NamedShape("llama3.2-1b")->ParameterCount(), 1235814400);
  EXPECT_EQ(NamedShape("llama3-8b")->ParameterCount(), 8030261248);
}

TEST(Config, UnknownShapeListsTheKnown) {
  const Status status = NamedShape("gpt2").status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("tiny, smollm2-135m"));
  EXPECT_THAT(status.message(), HasSubstr("found \"gpt2\""));
}

}  // namespace
}  // namespace onepass
