#include "prompt/soft_prompt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "core/file.h"
#include "core/kill_for_test.h"
#include "format/safetensors.h"

namespace onepass {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

constexpr char kGoldens[] = ONEPASS_SOURCE_DIR "/tests/golden/peft/";

SoftPrompt MakePrompt() {
  SoftPrompt prompt;
  prompt.vectors = Buffer<float>(3, 4);
  for (int64_t i = 0; i < 12; ++i) {
    prompt.vectors.data()[i] = 0.25f * static_cast<float>(i) - 1;
  }
  prompt.base_model_name = "models/base";
  prompt.content_hash = ContentHash(prompt.vectors.view());
  prompt.facts = PromptFacts{.placement = Placement::kInline,
                             .stage = "answer",
                             .trained_as = "fthss",
                             .base_fingerprint = "0123456789abcdef",
                             .base_type = "Q8_0",
                             .recipe_json = R"({"lr":0.01,"steps":5})"};
  return prompt;
}

class SoftPromptTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "onepass-prompt-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  void TearDown() override { fs::remove_all(dir_); }

  std::string At(const std::string& name) const { return dir_ + "/" + name; }
  void Put(const std::string& name, const std::string& text) const {
    ASSERT_TRUE(WriteFileAtomically(At(name), text).ok());
  }
  json Get(const std::string& name) const { return json::parse(ReadFile(At(name)).value()); }
  void PutTensors(const std::vector<std::pair<std::string, std::vector<int64_t>>>& tensors,
                  DType dtype = DType::kF32) const {
    const std::vector<std::byte> zeros(1 << 16);
    std::vector<NamedTensor> named;
    for (const auto& [name, shape] : tensors) {
      RawTensor tensor{dtype, shape, {}};
      tensor.bytes =
          std::span(zeros).first(static_cast<size_t>(tensor.element_count() * SizeOf(dtype)));
      named.push_back({name, tensor});
    }
    ASSERT_TRUE(WriteSafetensors(At("adapter_model.safetensors"), named, {}).ok());
  }
  std::string FaultOf() const {
    const auto prompt = LoadSoftPrompt(dir_);
    return prompt.ok() ? "(none)" : prompt.status().message();
  }

  std::string dir_;
};

TEST_F(SoftPromptTest, WhatIsSavedLoadsBack) {
  const SoftPrompt prompt = MakePrompt();
  ASSERT_TRUE(SaveSoftPrompt(prompt, At("a/b")).ok());
  const auto loaded = LoadSoftPrompt(At("a/b"));
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_TRUE(std::ranges::equal(loaded->vectors.span(), prompt.vectors.span()));
  EXPECT_EQ(loaded->length(), 3);
  EXPECT_EQ(loaded->width(), 4);
  EXPECT_EQ(loaded->content_hash, prompt.content_hash);
  EXPECT_EQ(loaded->base_model_name, "models/base");
  ASSERT_TRUE(loaded->facts.has_value());
  EXPECT_EQ(loaded->facts->placement, Placement::kInline);
  EXPECT_EQ(loaded->facts->stage, "answer");
  EXPECT_EQ(loaded->facts->trained_as, "fthss");
  EXPECT_EQ(loaded->facts->base_fingerprint, "0123456789abcdef");
  EXPECT_EQ(loaded->facts->base_type, "Q8_0");
  EXPECT_EQ(json::parse(loaded->facts->recipe_json), json::parse(prompt.facts->recipe_json));
}

TEST_F(SoftPromptTest, WithoutABaseTypeThereIsNoKeyAndAPromptSavesAsTheSameBytes) {
  SoftPrompt prompt = MakePrompt();
  prompt.facts->base_type = "";
  ASSERT_TRUE(SaveSoftPrompt(prompt, dir_).ok());
  EXPECT_FALSE(Get("onepass.json").contains("base_type"));
  const auto loaded = LoadSoftPrompt(dir_);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  ASSERT_TRUE(loaded->facts.has_value());
  EXPECT_EQ(loaded->facts->base_type, "");
  ASSERT_TRUE(SaveSoftPrompt(*loaded, At("again")).ok());
  for (const char* file : {"adapter_config.json", "adapter_model.safetensors", "onepass.json"}) {
    EXPECT_EQ(ReadFile(At("again/") + file).value(), ReadFile(At(file)).value()) << file;
  }
}

TEST(SoftPrompt, ThoseThatShipLoad) {
  for (const char* name : {"answer", "answer-fthss", "compress", "distill", "prompt-tuning"}) {
    const auto loaded =
        LoadSoftPrompt(ONEPASS_SOURCE_DIR "/models/prompts/world/" + std::string(name));
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    EXPECT_TRUE(loaded->facts.has_value());
  }
}

TEST_F(SoftPromptTest, RowsOfAddedTokensAreKeptExactlyAndNotRun) {
  SoftPrompt prompt = MakePrompt();
  prompt.facts->added_tokens = {
      {.token = "<memory>", .embedding = {0.1f, -2, 3e-9f, 4}, .head = {1, 1.0f / 3, 0, -1}}};
  ASSERT_TRUE(SaveSoftPrompt(prompt, dir_).ok());
  const auto loaded = LoadSoftPrompt(dir_);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  ASSERT_EQ(loaded->facts->added_tokens.size(), 1u);
  const AddedTokenRow& row = loaded->facts->added_tokens[0];
  EXPECT_EQ(row.token, "<memory>");
  EXPECT_EQ(row.embedding, prompt.facts->added_tokens[0].embedding);
  EXPECT_EQ(row.head, prompt.facts->added_tokens[0].head);
  EXPECT_EQ(
      CheckPromptFits(
          *loaded, "p",
          {.width = 4, .base_fingerprint = "0123456789abcdef", .placement = Placement::kInline})
          .message(),
      "prompt: added tokens: want none, found \"<memory>\" (p)");

  json facts = Get("onepass.json");
  facts["added_tokens"][0]["head"].push_back(1);
  Put("onepass.json", facts.dump());
  EXPECT_THAT(FaultOf(),
              HasSubstr("added_tokens[0].head\": want 4 finite numbers, found 5 values"));
}

TEST_F(SoftPromptTest, SavingWithoutFactsRemovesOldOnes) {
  SoftPrompt prompt = MakePrompt();
  ASSERT_TRUE(SaveSoftPrompt(prompt, dir_).ok());
  prompt.facts.reset();
  ASSERT_TRUE(SaveSoftPrompt(prompt, dir_).ok());
  const auto loaded = LoadSoftPrompt(dir_);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_FALSE(loaded->facts.has_value());
}

TEST_F(SoftPromptTest, ContentHashSeesValuesAndShape) {
  SoftPrompt prompt = MakePrompt();
  const uint64_t before = prompt.content_hash;
  prompt.vectors.data()[7] += 1;
  EXPECT_NE(ContentHash(prompt.vectors.view()), before);
  const Buffer<float> rows(2, 4);
  const Buffer<float> columns(4, 2);
  EXPECT_NE(ContentHash(rows.view()), ContentHash(columns.view()));
}

TEST(SoftPromptGolden, WhatPeftWritesLoads) {
  const json expected = json::parse(ReadFile(std::string(kGoldens) + "expected.json").value());
  for (const char* name : {"f32", "bf16", "f16"}) {
    SCOPED_TRACE(name);
    const auto prompt = LoadSoftPrompt(std::string(kGoldens) + name);
    ASSERT_TRUE(prompt.ok()) << prompt.status().message();
    const json& want = expected.at(std::string(name) == "f32" ? "vectors" : name);
    ASSERT_EQ(prompt->length(), std::ssize(want));
    for (int64_t p = 0; p < prompt->length(); ++p) {
      for (int64_t c = 0; c < prompt->width(); ++c) {
        ASSERT_EQ(prompt->vectors.view()(p, c), want[p][c].get<float>());
      }
    }
    EXPECT_FALSE(prompt->facts.has_value());
    EXPECT_FALSE(prompt->base_model_name.empty());
  }
}

TEST(SoftPromptGolden, OtherKindsOfAdaptersAreNamed) {
  const Status status = LoadSoftPrompt(std::string(kGoldens) + "lora").status();
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_THAT(status.message(), HasSubstr("\"peft_type\": want \"PROMPT_TUNING\", found \"LORA\""));
}

TEST_F(SoftPromptTest, ARealAdapterLoads) {
  const std::string path =
      ONEPASS_SOURCE_DIR "/../shared/models/stories260k/peft_adapter_model.safetensors";
  if (!fs::exists(path)) GTEST_SKIP() << "no " << path;
  fs::create_symlink(fs::absolute(path), At("adapter_model.safetensors"));
  Put("adapter_config.json", R"({"peft_type":"PROMPT_TUNING","num_virtual_tokens":8})");
  const auto prompt = LoadSoftPrompt(dir_);
  ASSERT_TRUE(prompt.ok()) << prompt.status().message();
  EXPECT_EQ(prompt->length(), 8);
  EXPECT_EQ(prompt->width(), 64);
}

TEST_F(SoftPromptTest, AcceptsOtherSpellingsOfTheTensor) {
  Put("adapter_config.json", R"({"peft_type":"PROMPT_TUNING","num_virtual_tokens":3})");
  for (const char* name : {"prompt_embeddings", "base_model.prompt_embeddings",
                           "prompt_encoder.default.embedding.weight"}) {
    PutTensors({{name, {3, 4}}});
    EXPECT_EQ(FaultOf(), "(none)") << name;
  }
}

TEST_F(SoftPromptTest, AdapterConfigHasTheKeysOfPeft) {
  ASSERT_TRUE(SaveSoftPrompt(MakePrompt(), dir_).ok());
  json ours = Get("adapter_config.json");
  json theirs = json::parse(ReadFile(std::string(kGoldens) + "f32/adapter_config.json").value());
  for (const auto& [key, value] : theirs.items()) {
    EXPECT_TRUE(ours.contains(key) || key == "peft_version") << key;
  }
  for (const auto& [key, value] : ours.items()) EXPECT_TRUE(theirs.contains(key)) << key;
  EXPECT_EQ(ours["num_virtual_tokens"], 3);
  EXPECT_EQ(ours["token_dim"], 4);
  EXPECT_EQ(ours["task_type"], "CAUSAL_LM");
}

TEST_F(SoftPromptTest, HostileConfigsAreRefused) {
  ASSERT_TRUE(SaveSoftPrompt(MakePrompt(), dir_).ok());
  const json good = Get("adapter_config.json");
  const std::vector<std::tuple<const char*, json, const char*>> cases = {
      {"peft_type", nullptr, "\"peft_type\": want \"PROMPT_TUNING\", found null"},
      {"peft_type", "P_TUNING", "found \"P_TUNING\""},
      {"peft_type", json::array(), "found a list"},
      {"task_type", "SEQ_2_SEQ_LM", "\"task_type\": want \"CAUSAL_LM\", found \"SEQ_2_SEQ_LM\""},
      {"num_virtual_tokens", nullptr, "\"num_virtual_tokens\": want a whole number"},
      {"num_virtual_tokens", 0, "\"num_virtual_tokens\""},
      {"num_virtual_tokens", -3, "found -3"},
      {"num_virtual_tokens", 3.0, "found 3.0"},
      {"num_virtual_tokens", "3", "found \"3\""},
      {"num_virtual_tokens", uint64_t{18446744073709551615u}, "found 18446744073709551615"},
      {"num_virtual_tokens", 4, "want [4, 4] as adapter_config.json says, found [3, 4]"},
      {"token_dim", 5, "want [3, 5] as adapter_config.json says, found [3, 4]"},
      {"token_dim", "4", "\"token_dim\""},
      {"num_transformer_submodules", 2, "\"num_transformer_submodules\": want 1, found 2"},
      {"base_model_name_or_path", 3, "\"base_model_name_or_path\": want a string, found 3"},
  };
  for (const auto& [key, value, message] : cases) {
    json changed = good;
    changed[key] = value;
    Put("adapter_config.json", changed.dump());
    EXPECT_THAT(FaultOf(), HasSubstr(message)) << key << " " << value;
  }
  for (const char* text : {"", "[]", "{", "{\"peft_type\":1,\"peft_type\":1}"}) {
    Put("adapter_config.json", text);
    EXPECT_NE(FaultOf(), "(none)") << text;
  }
  fs::remove(At("adapter_config.json"));
  EXPECT_THAT(FaultOf(), HasSubstr("adapter_config.json: cannot open"));
}

TEST_F(SoftPromptTest, HostileTensorsAreRefused) {
  ASSERT_TRUE(SaveSoftPrompt(MakePrompt(), dir_).ok());
  PutTensors({});
  EXPECT_THAT(FaultOf(), HasSubstr("want a tensor \"prompt_embeddings\", found none"));
  PutTensors({{"prompt_embeddings", {3, 4}}, {"base_model.lm_head.weight", {1}}});
  EXPECT_THAT(FaultOf(), HasSubstr("found one more tensor"));
  PutTensors({{"base_model.prompt_embeddings", {3, 4}}, {"prompt_embeddings", {3, 4}}});
  EXPECT_THAT(FaultOf(), HasSubstr("found one more tensor"));
  PutTensors({{"prompt_embeddings", {12}}});
  EXPECT_THAT(FaultOf(), HasSubstr("found [12]"));
  PutTensors({{"prompt_embeddings", {3, 4, 1}}});
  EXPECT_THAT(FaultOf(), HasSubstr("found [3, 4, 1]"));
  PutTensors({{"prompt_embeddings", {3, 4}}}, DType::kI32);
  EXPECT_THAT(FaultOf(), HasSubstr("want F32, F16 or BF16, found I32"));
  SoftPrompt prompt = MakePrompt();
  prompt.vectors.data()[5] = std::numeric_limits<float>::quiet_NaN();
  ASSERT_TRUE(SaveSoftPrompt(prompt, dir_).ok());
  EXPECT_THAT(FaultOf(), HasSubstr("want finite numbers, found nan"));
  Put("adapter_model.safetensors", "short");
  EXPECT_THAT(FaultOf(), HasSubstr("safetensors: want at least 8 bytes"));
  fs::remove(At("adapter_model.safetensors"));
  EXPECT_THAT(FaultOf(), HasSubstr("adapter_model.safetensors: cannot open"));
}

TEST_F(SoftPromptTest, HostileFactsAreRefused) {
  ASSERT_TRUE(SaveSoftPrompt(MakePrompt(), dir_).ok());
  const json good = Get("onepass.json");
  const std::vector<std::tuple<const char*, json, const char*>> cases = {
      {"placement", "middle", "\"placement\": want \"front\" or \"inline\", found \"middle\""},
      {"placement", nullptr, "\"placement\""},
      {"placement", 3, "\"placement\": want a string, found 3"},
      {"stage", json::array(), "\"stage\": want a string, found a list"},
      {"base_fingerprint", 12, "\"base_fingerprint\""},
      {"base_type", 8, "\"base_type\": want a string, found 8"},
      {"version", 2, "\"version\": want 1, found 2"},
      {"version", "1", "\"version\": want 1, found \"1\""},
      {"placement, stage", "front", "unknown key \"placement, stage\""},
      {"placment", "front", "unknown key \"placment\"; known: version, placement, stage"},
  };
  for (const auto& [key, value, message] : cases) {
    json changed = good;
    changed[key] = value;
    Put("onepass.json", changed.dump());
    EXPECT_THAT(FaultOf(), HasSubstr(message)) << key << " " << value;
  }
}

TEST_F(SoftPromptTest, MisfitsAreNamed) {
  SoftPrompt prompt = MakePrompt();
  const PromptPlace fitting = {.width = 4,
                               .base_fingerprint = "0123456789abcdef",
                               .base_type = "Q8_0",
                               .placement = Placement::kInline};
  const auto check = [&](const PromptPlace& place) {
    return CheckPromptFits(prompt, "dir", place).message();
  };
  EXPECT_EQ(check(fitting), "");
  PromptPlace place = fitting;
  place.width = 8;
  EXPECT_EQ(check(place), "prompt: width: want 8 as the base has, found 4 (dir)");
  place = fitting;
  place.placement = Placement::kFront;
  EXPECT_EQ(check(place), "prompt: placement: want front, found a prompt trained for inline (dir)");
  place = fitting;
  place.base_fingerprint = "fedcba9876543210";
  const std::string start = "prompt: base: want fingerprint fedcba9876543210";
  const std::string trained_on = ", found a prompt trained on 0123456789abcdef";
  place.base_type = "";
  EXPECT_EQ(check(place), start + trained_on + " of type Q8_0 (dir)");
  place.base_type = "BF16";
  EXPECT_EQ(check(place), start + " of type BF16" + trained_on + " of type Q8_0 (dir)");
  prompt.facts->base_type = "";
  EXPECT_EQ(check(place), start + " of type BF16" + trained_on + " (dir)");
  prompt.facts.reset();
  EXPECT_EQ(check({.width = 4, .base_fingerprint = "other"}), "");
  EXPECT_NE(check({.width = 5, .base_fingerprint = "other"}), "");
}

TEST_F(SoftPromptTest, FullDiskKeepsTheOldPrompt) {
  const SoftPrompt old_prompt = MakePrompt();
  ASSERT_TRUE(SaveSoftPrompt(old_prompt, dir_).ok());
  SoftPrompt big = MakePrompt();
  big.vectors = Buffer<float>(100, 100);
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {4096, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = SaveSoftPrompt(big, dir_);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  const auto loaded = LoadSoftPrompt(dir_);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_EQ(loaded->content_hash, old_prompt.content_hash);
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_), {}), 3);
}

TEST_F(SoftPromptTest, AFaultInTheSecondFileKeepsTheOldPrompt) {
  SoftPrompt prompt = MakePrompt();
  prompt.facts.reset();
  ASSERT_TRUE(SaveSoftPrompt(prompt, dir_).ok());
  fs::create_symlink("/dev/full", At("onepass.json"));
  EXPECT_EQ(SaveSoftPrompt(MakePrompt(), dir_).code(), StatusCode::kIoError);
  fs::remove(At("onepass.json"));
  const auto loaded = LoadSoftPrompt(dir_);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_FALSE(loaded->facts.has_value());
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_), {}), 2);
}

// The writer of a second prompt of the same shape is killed at some moment.
TEST_F(SoftPromptTest, AKilledSaveLeavesNoMixture) {
  std::array<SoftPrompt, 2> prompts = {MakePrompt(), MakePrompt()};
  prompts[1].vectors.data()[0] = 7;
  prompts[1].content_hash = ContentHash(prompts[1].vectors.view());
  prompts[1].facts->stage = "other";
  std::mt19937 random(1);
  for (int kill_count = 0; kill_count < 40; ++kill_count) {
    ASSERT_TRUE(SaveSoftPrompt(prompts[0], dir_).ok());
    ASSERT_NO_FATAL_FAILURE(
        KillAfter(random() % 20000, [&] { return SaveSoftPrompt(prompts[1], dir_); }));
    const auto loaded = LoadSoftPrompt(dir_);
    if (!loaded.ok()) {
      EXPECT_FALSE(fs::exists(At("adapter_config.json"))) << loaded.status().message();
      continue;
    }
    const SoftPrompt& wanted = prompts[loaded->facts->stage == "other"];
    EXPECT_EQ(loaded->content_hash, wanted.content_hash);
  }
}

TEST_F(SoftPromptTest, UnwritableFactsAreRefusedBeforeAnythingIsWritten) {
  SoftPrompt prompt = MakePrompt();
  prompt.facts->recipe_json = "{";
  EXPECT_FALSE(SaveSoftPrompt(prompt, At("new")).ok());
  prompt = MakePrompt();
  prompt.facts->stage = "\xff";
  EXPECT_FALSE(SaveSoftPrompt(prompt, At("new")).ok());
  EXPECT_FALSE(fs::exists(At("new")));
}

TEST(Placement, NamesParseBack) {
  EXPECT_EQ(ParsePlacement(NameOf(Placement::kFront)).value(), Placement::kFront);
  EXPECT_EQ(ParsePlacement(NameOf(Placement::kInline)).value(), Placement::kInline);
  EXPECT_EQ(ParsePlacement("x").status().message(), "placement: want front or inline, found \"x\"");
}

}  // namespace
}  // namespace onepass
