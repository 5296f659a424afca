// A base from a GGUF file computes what the same base from a Hugging Face folder does: logits bit
// for bit where the weights are the same, and those of the dequantised weights where they are in
// blocks. The program takes such a file wherever it takes a folder.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "../e2e/program.h"
#include "../gguf_twins.h"
#include "core/file.h"
#include "core/rng.h"
#include "engine/engine.h"
#include "logits.h"

namespace onepass {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const std::string kGoldens = ONEPASS_SOURCE_DIR "/tests/golden/";
const std::string kShared = ONEPASS_SOURCE_DIR "/../shared/models/";

std::vector<int32_t> RandomIds(int64_t count, int64_t vocab, uint64_t seed) {
  Rng rng(seed);
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (int32_t& id : ids) id = static_cast<int32_t>(rng.Uniform(static_cast<uint64_t>(vocab)));
  return ids;
}

class GgufGolden : public testing::TestWithParam<const char*> {};

TEST_P(GgufGolden, LogitsAreThoseOfTheFolder) {
  const std::vector<int32_t> ids = RandomIds(20, 53, 3);
  for (const char* backend : {"ref", "cpu"}) {
    const auto want = LogitsOf(kGoldens + "parity/" + GetParam(), backend, ids);
    const auto found = LogitsOf(kGoldens + "gguf/" + GetParam() + ".gguf", backend, ids);
    ASSERT_FALSE(want.empty());
    EXPECT_EQ(found, want) << backend;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, GgufGolden,
                         testing::Values("llama-plain", "llama-tied-bf16", "llama-linear-f16",
                                         "llama-llama3-rope", "llama-biases", "llama-head-dim",
                                         "qwen2", "mistral"),
                         [](const auto& param_info) {
                           std::string name = param_info.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

class GgufFolder : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "onepass-gguf-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  void TearDown() override { fs::remove_all(dir_); }
  std::string At(const std::string& name) const { return dir_ + "/" + name; }

  std::string dir_;
};

TEST_F(GgufFolder, QuantisedLogitsAreThoseOfTheDequantisedWeights) {
  const std::vector<int32_t> ids = RandomIds(24, 64, 5);
  // How near `cpu` is: half as much again as what was measured. It depends on how large the random
  // weights came out, not on the bits.
  using enum BlockType;
  for (const auto& [types, bound] : {std::pair{TwinTypes{kQ8_0, kQ8_0}, 0.092},
                                     {TwinTypes{kQ4_0, kQ4_0}, 0.016},
                                     {TwinTypes{kQ4_K, kQ4_K}, 0.0011},
                                     {TwinTypes{kQ6_K, kQ6_K}, 0.069},
                                     {TwinTypes{kQ4_K, kQ6_K}, 0.043}}) {
    SCOPED_TRACE(std::string(FormatOf(types.type).name) + " with " +
                 std::string(FormatOf(types.finer).name) + ", seed 9");
    WriteTwins(types, 9, At("base.gguf"), At("folder"));
    for (const char* backend : {"ref", "cpu"}) {
      const auto want = LogitsOf(At("folder"), backend, ids);
      const auto found = LogitsOf(At("base.gguf"), backend, ids);
      ASSERT_FALSE(want.empty());
      if (std::string(backend) == "cpu") {
        // Rounded rows turn a few of so random an attention's choices: near as a whole.
        EXPECT_LT(RelativeRms(found, want), bound);
      } else {
        EXPECT_EQ(found, want) << backend;
      }
      EXPECT_TRUE(std::ranges::all_of(want, [](float v) { return std::isfinite(v); }));
      EXPECT_GT(*std::ranges::max_element(want) - *std::ranges::min_element(want), 0.1f);
    }
  }
}

// A file that another project's converter wrote, with 8-bit weights, beside the folder it was made
// from: the same config, nearly the same logits.
TEST(GgufOfOthers, Q8_0IsCloseToItsFolder) {
  const std::string folder = kShared + "tinystories-656k";
  const std::string file = folder + "/TinyStories-656K-Q8_0.gguf";
  if (!fs::exists(file)) GTEST_SKIP() << file << " is missing";
  const auto a = Checkpoint::Open(folder);
  const auto b = Checkpoint::Open(file);
  ASSERT_TRUE(a.ok() && b.ok()) << b.status().message();
  EXPECT_EQ(ConfigToJson((*a)->config(), DType::kF32), ConfigToJson((*b)->config(), DType::kF32));
  EXPECT_EQ((*b)->stored_type(), "Q8_0");
  const auto base = LoadBase(folder, {.backend = "ref", .thread_count = 1});
  ASSERT_TRUE(base.ok()) << base.status().message();
  const std::vector<int32_t> ids = (*base)->tokenizer->Encode(
      "Once upon a time, there was a little girl named Lily. She loved to play outside.",
      {.add_special_tokens = true});
  const auto want = LogitsOf(folder, "ref", ids);
  const auto found = LogitsOf(file, "ref", ids);
  const auto vocab = static_cast<size_t>((*a)->config().vocab_size);
  double divergence = 0;
  int same_best = 0;
  for (size_t t = 0; t < ids.size(); ++t) {
    const auto log_softmax = [&](const std::vector<float>& logits) {
      std::vector<double> row(logits.begin() + static_cast<ptrdiff_t>(t * vocab),
                              logits.begin() + static_cast<ptrdiff_t>((t + 1) * vocab));
      const double top = *std::ranges::max_element(row);
      double sum = 0;
      for (const double v : row) sum += std::exp(v - top);
      for (double& v : row) v -= top + std::log(sum);
      return row;
    };
    const std::vector<double> p = log_softmax(want);
    const std::vector<double> q = log_softmax(found);
    for (size_t v = 0; v < vocab; ++v) divergence += std::exp(p[v]) * (p[v] - q[v]);
    same_best += std::ranges::max_element(p) - p.begin() == std::ranges::max_element(q) - q.begin();
  }
  divergence /= static_cast<double>(ids.size());
  RecordProperty("mean_kl", std::to_string(divergence));
  EXPECT_LT(divergence, 0.01);
  EXPECT_GT(divergence, 0);
  EXPECT_GE(same_best, static_cast<int>(ids.size()) - 2);
}

TEST_F(GgufFolder, TheProgramTakesAFileForAFolder) {
  const std::string file = kGoldens + "gguf/llama-tied-bf16.gguf";
  const Outcome shown = RunOnepass("inspect --json " + file);
  ASSERT_EQ(shown.exit_code, 0) << shown.output;
  const auto base = nlohmann::json::parse(shown.output);
  EXPECT_EQ(base["dtype"], "BF16");
  EXPECT_EQ(base["tokenizer"], nullptr);
  EXPECT_EQ(RunOnepass("bench prefill --tokens 8 --repeats 1 --model " + file).exit_code, 0);
  const Outcome refused = RunOnepass("inspect " + kGoldens + "parity/greedy.json");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.output, HasSubstr("begins with \"GGUF\""));
}

TEST_F(GgufFolder, AChainRunsOverAFile) {
  const std::string file = kShared + "tinystories-656k/TinyStories-656K-Q8_0.gguf";
  if (!fs::exists(file)) GTEST_SKIP() << file << " is missing";
  const Outcome pieces = RunOnepass("tokenize --json --text 'Once upon a time' " + file);
  ASSERT_EQ(pieces.exit_code, 0) << pieces.output;
  EXPECT_GT(nlohmann::json::parse(pieces.output)["ids"].size(), 2u);
  const std::string chain =
      "base: " + file + "\nstages:\n  - {name: tell, input: \"{START}\", max_tokens: 8}\n";
  ASSERT_TRUE(WriteFileAtomically(At("chain.yaml"), chain).ok());
  ASSERT_TRUE(WriteFileAtomically(At("in.jsonl"), "{\"START\": \"Once upon a time\"}\n").ok());
  const Outcome run = RunOnepass("run " + At("chain.yaml") + " --input " + At("in.jsonl") +
                                 " --output " + At("out.jsonl"));
  ASSERT_EQ(run.exit_code, 0) << run.output;
  EXPECT_THAT(ReadFile(At("out.jsonl")).value(), HasSubstr("\"tell\""));
}

}  // namespace
}  // namespace onepass
