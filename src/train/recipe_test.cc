#include "train/recipe.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace onepass {
namespace {

constexpr char kMinimal[] =
    "kind: fthss\n"
    "chain: ../chains/c.yaml\n"
    "stage: answer\n"
    "data: data/train.jsonl\n"
    "outputs: O_A, O_B\n"
    "out: out/run\n";

std::string FaultOf(const std::string& yaml, std::vector<std::string> overrides = {}) {
  const Result<Recipe> recipe = ParseRecipe(yaml, "recipes/r.yaml", overrides);
  return recipe.ok() ? "" : recipe.status().message();
}

TEST(Recipe, DefaultsAreThePapers) {
  const Result<Recipe> recipe = ParseRecipe(kMinimal, "recipes/r.yaml", {});
  ASSERT_TRUE(recipe.ok()) << recipe.status().message();
  EXPECT_EQ(recipe->prompt_length, 100);
  EXPECT_EQ(recipe->learning_rate, 2e-4);
  EXPECT_EQ(recipe->warmup_ratio, 0.03);
  EXPECT_EQ(recipe->epochs, 3);
  EXPECT_EQ(recipe->accumulation, 8);
  EXPECT_EQ(recipe->max_tokens, 1224);
  EXPECT_EQ(recipe->weight_decay, 0);
  EXPECT_EQ(recipe->outputs, (std::vector<std::string>{"O_A", "O_B"}));
}

TEST(Recipe, ItsPathsStartAtItsFolderAndOverridesAtTheWorkingDirectory) {
  const std::vector<std::string> overrides = {"data=other.jsonl"};
  const Result<Recipe> recipe = ParseRecipe(kMinimal, "recipes/r.yaml", overrides);
  ASSERT_TRUE(recipe.ok());
  EXPECT_EQ(recipe->chain, "chains/c.yaml");
  EXPECT_EQ(recipe->out, "recipes/out/run");
  EXPECT_EQ(recipe->data, "other.jsonl");
}

TEST(Recipe, OverridesWinAndListsOfPathsResolve) {
  const std::vector<std::string> overrides = {"learning_rate=0.01", "upstream_prompts=a/b,c",
                                              "placement=inline", "overlong=cut"};
  const Result<Recipe> recipe =
      ParseRecipe(std::string(kMinimal) + "learning_rate: 0.5\n", "recipes/r.yaml", overrides);
  ASSERT_TRUE(recipe.ok()) << recipe.status().message();
  EXPECT_EQ(recipe->learning_rate, 0.01);
  EXPECT_EQ(recipe->upstream_prompts, (std::vector<std::string>{"a/b", "c"}));
  EXPECT_EQ(recipe->placement, Placement::kInline);
  EXPECT_EQ(recipe->overlong, OverlongSample::kCut);
}

TEST(Recipe, AnUnknownKeyIsRefusedWithItsLineANearKeyAndTheKnownOnes) {
  const std::string fault = FaultOf(std::string(kMinimal) + "learning_rat: 1\n");
  EXPECT_NE(fault.find("recipes/r.yaml:7: unknown key \"learning_rat\""), std::string::npos)
      << fault;
  EXPECT_NE(fault.find("did you mean \"learning_rate\"?"), std::string::npos) << fault;
  EXPECT_NE(fault.find("warmup_ratio"), std::string::npos) << fault;
}

TEST(Recipe, AWrongValueNamesFileLineKeyWantedAndFound) {
  EXPECT_EQ(FaultOf(std::string(kMinimal) + "epochs: many\n"),
            "recipes/r.yaml:7: epochs: want a whole number, 1 or more, found \"many\"");
  EXPECT_EQ(FaultOf(std::string(kMinimal) + "warmup_ratio: 1\n"),
            "recipes/r.yaml:7: warmup_ratio: want a number >= 0 and < 1, found \"1\"");
  EXPECT_EQ(FaultOf(kMinimal, {"kind=other"}),
            "override \"kind=other\": kind: want standard | fthss | fthss-multi | distill, found "
            "\"other\"");
  EXPECT_EQ(FaultOf(std::string(kMinimal) + "epochs: [1]\n"),
            "recipes/r.yaml:7: \"epochs\": want one value, found a list");
}

TEST(Recipe, BadValuesOfEveryKindAreRefused) {
  for (const char* line :
       {"learning_rate: nan", "learning_rate: 0", "learning_rate: 1e999", "beta1: 1", "beta2: -1",
        "batch_size: 0", "batch_size: 1.5", "batch_size: 99999999999999999999", "seed: -1",
        "outputs: O_A,,O_B", "placement: middle", "taped_constants: maybe", "clip_norm: -1",
        "epochs: [1]", "epochs: {a: 1}", "threads: ''", "threads: 5000", "prompt_length: 1000000",
        "batch_size: 2000000000"}) {
    std::string yaml = kMinimal;
    if (std::string(line).starts_with("outputs")) yaml.erase(yaml.find("outputs"), 18);
    EXPECT_NE(FaultOf(yaml + line + "\n"), "") << line;
  }
}

TEST(Recipe, OverridesNeedAnEqualsSign) {
  EXPECT_EQ(FaultOf(kMinimal, {"epochs"}), "override \"epochs\": want key=value, found no \"=\"");
}

TEST(Recipe, WhatBelongsTogetherIsChecked) {
  EXPECT_NE(FaultOf("kind: standard\n"), "");
  EXPECT_NE(FaultOf(kMinimal, {"kind=distill"}).find("distill_output"), std::string::npos);
  for (const std::string part : {"{O_B}", "O_{round}B", "{round}. {O_B}"}) {
    const std::string rounds = "distill_rounds={O_{round}A} | " + part;
    EXPECT_NE(FaultOf(kMinimal, {"kind=distill", rounds}).find("found \"" + part + "\""),
              std::string::npos);
  }
  EXPECT_NE(
      FaultOf(kMinimal, {"kind=distill", "distill_rounds={O_{round}A"}).find("distill_rounds"),
      std::string::npos);
  EXPECT_NE(FaultOf(kMinimal, {"distill_output={O_A}"}).find("kind fthss"), std::string::npos);
  EXPECT_NE(FaultOf(kMinimal, {"init=text"}).find("init_text"), std::string::npos);
  EXPECT_EQ(FaultOf(kMinimal, {"init=text", "init_text=Read the facts"}), "");
}

TEST(Recipe, NotAFlatMapIsRefused) {
  EXPECT_NE(FaultOf("- a\n- b\n"), "");
  EXPECT_NE(FaultOf("text"), "");
  EXPECT_NE(FaultOf("a: [\n"), "");
  EXPECT_NE(FaultOf(std::string(kMinimal) + "kind: fthss\n"), "");  // twice
}

TEST(Recipe, ItsIdentityLeavesOutPathsAndWhatChangesNoResult) {
  const std::vector<std::string> overrides = {"threads=7", "checkpoint_every=3", "out=elsewhere",
                                              "data=moved.jsonl", "log_every=5"};
  const Result<Recipe> one = ParseRecipe(kMinimal, "recipes/r.yaml", {});
  const Result<Recipe> other = ParseRecipe(kMinimal, "recipes/r.yaml", overrides);
  ASSERT_TRUE(one.ok() && other.ok());
  EXPECT_EQ(one->ToJson(false), other->ToJson(false));
  EXPECT_NE(one->ToJson(true), other->ToJson(true));
  const std::vector<std::string> rate = {"learning_rate=0.1"};
  const Result<Recipe> third = ParseRecipe(kMinimal, "recipes/r.yaml", rate);
  ASSERT_TRUE(third.ok());
  EXPECT_NE(one->ToJson(false), third->ToJson(false));
  EXPECT_EQ(nlohmann::json::parse(one->ToJson(true))["data"], "recipes/data/train.jsonl");
}

}  // namespace
}  // namespace onepass
