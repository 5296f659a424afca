// Every chain, suite and recipe that ships can be read, compiled, and named by the others.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "chain/plan.h"
#include "core/file.h"
#include "eval/suite.h"
#include "train/recipe.h"

namespace onepass {
namespace {

std::vector<std::string> YamlFiles(const std::string& folder) {
  std::vector<std::string> paths;
  const std::string root = std::string(ONEPASS_SOURCE_DIR) + "/" + folder;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    if (entry.path().extension() == ".yaml") paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  return paths;
}

bool IsSuite(const std::string& path) {
  const Result<std::string> text = ReadFile(path);
  return text.ok() && text->find("\nmethods:") != std::string::npos;
}

TEST(ShippedFiles, ChainsCompileUnderEveryHandoff) {
  int chains = 0;
  for (const std::string& path : YamlFiles("chains")) {
    if (IsSuite(path)) continue;
    Result<ChainSpec> spec = LoadChainSpec(path);
    ASSERT_TRUE(spec.ok()) << spec.status().message();
    ++chains;
    for (const Handoff handoff : kHandoffs) {
      spec->handoff = handoff;
      for (StageSpec& stage : spec->stages) stage.handoff.reset();
      std::vector<int64_t> lengths;
      for (const StageSpec& stage : spec->stages) lengths.push_back(stage.prompt.empty() ? 0 : 32);
      const Result<Plan> plan = CompilePlan(*spec, lengths);
      EXPECT_TRUE(plan.ok()) << plan.status().message();
    }
  }
  EXPECT_GT(chains, 30);
}

TEST(ShippedFiles, SuitesNameChainsAndTheirStages) {
  for (const std::string& path : YamlFiles("chains")) {
    if (!IsSuite(path)) continue;
    const Result<SuiteSpec> suite = LoadSuite(path);
    ASSERT_TRUE(suite.ok()) << suite.status().message();
    for (const MethodSpec& method : suite->methods) {
      const Result<ChainSpec> spec = LoadChainSpec(method.chain);
      ASSERT_TRUE(spec.ok()) << path << ": " << spec.status().message();
      for (const auto& [stage, prompt] : method.prompts) EXPECT_GE(spec->StageOf(stage), 0) << path;
      if (!method.answer.empty()) EXPECT_GE(spec->StageOf(method.answer), 0) << path;
    }
  }
}

TEST(ShippedFiles, RecipesNameChainsTheirStagesAndOutputs) {
  int recipes = 0;
  for (const std::string& path : YamlFiles("recipes")) {
    const Result<Recipe> recipe = LoadRecipe(path, {});
    ASSERT_TRUE(recipe.ok()) << recipe.status().message();
    ++recipes;
    const Result<ChainSpec> spec = LoadChainSpec(recipe->chain);
    ASSERT_TRUE(spec.ok()) << path << ": " << spec.status().message();
    if (!recipe->stage.empty()) EXPECT_GE(spec->StageOf(recipe->stage), 0) << path;
    if (recipe->kind == TrainKind::kDistill) EXPECT_EQ(spec->stages.size(), 1u) << path;
    if (recipe->kind == TrainKind::kFthssMulti) {
      EXPECT_EQ(recipe->outputs.size(), spec->stages.size()) << path;
    }
  }
  EXPECT_GT(recipes, 15);
}

}  // namespace
}  // namespace onepass
