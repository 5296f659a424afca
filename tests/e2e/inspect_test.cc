// onepass inspect and init-base as a user runs them: exit codes, one-line faults, readable JSON.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "program.h"
#include "prompt/soft_prompt.h"

namespace onepass {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

class InspectTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "onepass-inspect-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  void TearDown() override { fs::remove_all(dir_); }
  std::string At(const std::string& name) const { return dir_ + "/" + name; }

  std::string dir_;
};

TEST_F(InspectTest, ShowsTheBaseThatInitBaseWrote) {
  ASSERT_EQ(RunOnepass("init-base --shape tiny --dtype bf16 --seed 3 --out " + At("a")).exit_code,
            0);
  const Outcome shown = RunOnepass("inspect --json " + At("a"));
  ASSERT_EQ(shown.exit_code, 0) << shown.output;
  const json base = json::parse(shown.output);
  EXPECT_EQ(base["parameters"], 18592);
  EXPECT_EQ(base["dtype"], "BF16");
  EXPECT_EQ(base["weight_bytes"], 2 * 18592);
  EXPECT_EQ(base["kv_bytes_per_token"]["f32"], 2 * 2 * 2 * 8 * 4);  // K and V, L, G, D, bytes
  EXPECT_EQ(base["kv_bytes_per_token"]["bf16"], 2 * 2 * 2 * 8 * 2);
  EXPECT_EQ(base["kv_bytes_per_token"]["int8"], 2 * 2 * 2 * (8 + 4));  // and a scale
  EXPECT_EQ(base["tokenizer"], nullptr);
  const Outcome table = RunOnepass("inspect " + At("a"));
  EXPECT_THAT(table.output, HasSubstr(base["fingerprint"].get<std::string>()));
  EXPECT_THAT(table.output, HasSubstr("18,592"));
  EXPECT_THAT(table.output, HasSubstr("256 bytes in f32, 128 in bf16, 96 in int8"));

  // A config that init-base wrote gives the same base again.
  ASSERT_EQ(RunOnepass("init-base --config " + At("a/config.json") +
                       " --dtype bf16 --seed 3 --out " + At("b"))
                .exit_code,
            0);
  EXPECT_EQ(ReadFile(At("a/model.safetensors")).value(),
            ReadFile(At("b/model.safetensors")).value());
}

TEST_F(InspectTest, ShowsAPrompt) {
  const std::string prompt = ONEPASS_SOURCE_DIR "/tests/golden/peft/ours";
  const Outcome shown = RunOnepass("inspect --json " + prompt);
  ASSERT_EQ(shown.exit_code, 0) << shown.output;
  const json found = json::parse(shown.output);
  EXPECT_EQ(found["kind"], "prompt");
  EXPECT_EQ(found["length"], 4);
  EXPECT_EQ(found["width"], 16);
  EXPECT_EQ(found["facts"]["placement"], "front");
  EXPECT_EQ(found["facts"]["recipe"]["steps"], 10);
  EXPECT_THAT(RunOnepass("inspect " + prompt).output, HasSubstr("answer"));
}

TEST_F(InspectTest, ShowsTheBaseThatAPromptWasTrainedOn) {
  SoftPrompt prompt;
  prompt.vectors = Buffer<float>(2, 3);
  prompt.facts = PromptFacts{.base_fingerprint = "0123456789abcdef", .base_type = "Q4_0"};
  const Status saved = SaveSoftPrompt(prompt, At("p"));
  ASSERT_TRUE(saved.ok()) << saved.message();
  const json facts = json::parse(RunOnepass("inspect --json " + At("p")).output)["facts"];
  EXPECT_EQ(facts["base_fingerprint"], "0123456789abcdef");
  EXPECT_EQ(facts["base_type"], "Q4_0");
  EXPECT_THAT(RunOnepass("inspect " + At("p")).output,
              HasSubstr("0123456789abcdef, weights of type Q4_0\n"));
}

TEST_F(InspectTest, NamesTheTokensThatAPromptAdds) {
  SoftPrompt prompt;
  prompt.vectors = Buffer<float>(2, 3);
  prompt.facts = PromptFacts{};
  prompt.facts->added_tokens = {{"<memory>", {1, 2, 3}, {4, 5, 6}}};
  ASSERT_TRUE(MakeDirectories(At("p")).ok());
  const Status saved = SaveSoftPrompt(prompt, At("p"));
  ASSERT_TRUE(saved.ok()) << saved.message();
  const Outcome shown = RunOnepass("inspect --json " + At("p"));
  ASSERT_EQ(shown.exit_code, 0) << shown.output;
  EXPECT_EQ(json::parse(shown.output)["facts"]["added_tokens"], json({"<memory>"}));
  EXPECT_THAT(RunOnepass("inspect " + At("p")).output, HasSubstr("\"<memory>\", which no chain"));
}

TEST_F(InspectTest, FaultsAreOneLineAndExitCodeOne) {
  ASSERT_TRUE(MakeDirectories(At("full")).ok());
  ASSERT_TRUE(WriteFileAtomically(At("full/notes.txt"), "mine").ok());
  ASSERT_TRUE(MakeDirectories(At("gpt")).ok());
  ASSERT_TRUE(
      WriteFileAtomically(At("gpt/config.json"), R"({"architectures":["GPT2LMHeadModel"]})").ok());
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"inspect " + At("none"), "none: want a model folder or a GGUF file, found nothing"},
      {"inspect " + At("gpt"), "found \"GPT2LMHeadModel\""},
      {"init-base --shape tiny --tokenizer " + At("full/notes.txt") + " --out " + At("x"),
       "notes.txt"},
      {"init-base --shape tiny --out " + At("full"), "or --force"},
      {"init-base --shape tiny --out " + At("full/notes.txt"), "notes.txt"},
  };
  for (const auto& [arguments, message] : cases) {
    SCOPED_TRACE(arguments);
    const Outcome outcome = RunOnepass(arguments);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_THAT(outcome.output, HasSubstr(message));
    EXPECT_THAT(outcome.output, testing::StartsWith("onepass: "));
    EXPECT_EQ(outcome.output.find('\n'), outcome.output.size() - 1);
  }
  EXPECT_FALSE(fs::exists(At("x")));
  EXPECT_EQ(std::distance(fs::directory_iterator(At("full")), {}), 1);
}

TEST_F(InspectTest, TokenizesWithAnyRankFile) {
  const std::string ranks = ONEPASS_SOURCE_DIR "/tests/golden/tokenizer/gap.tiktoken";
  const Outcome ids = RunOnepass("tokenize " + ranks +
                                 " --pattern gpt2 --special-token '<|eot|>=302' --bos '<|eot|>'"
                                 " --special --ids --text 'x<|eot|>'");
  ASSERT_EQ(ids.exit_code, 0) << ids.output;
  EXPECT_THAT(ids.output, testing::StartsWith("302 "));
  EXPECT_THAT(ids.output, testing::EndsWith(" 302\n"));
  const std::string json_file = ONEPASS_SOURCE_DIR "/tests/golden/tokenizer/gpt2.json";
  const Outcome other = RunOnepass("tokenize " + json_file + " --pattern gpt2 --text x");
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_THAT(other.output, HasSubstr("want a tiktoken file"));
}

TEST_F(InspectTest, WrongUsageIsExitCodeTwo) {
  EXPECT_EQ(RunOnepass("inspect").exit_code, 2);
  EXPECT_EQ(RunOnepass("init-base --out " + At("x")).exit_code, 2);
  EXPECT_EQ(RunOnepass("init-base --shape tiny --config c --out " + At("x")).exit_code, 2);
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"init-base --shape gpt --out " + At("x"), "want one of tiny"},
      {"init-base --shape tiny --dtype i8 --out " + At("x"), "BF16"},
      {"tokenize x --special-token end --text a", "want TEXT=ID, found \"end\""},
      {"data world --task none --out " + At("x"), "own-formats"},
      {"data world --split dev --out " + At("x"), "validation"},
      {"data world --count 0 --out " + At("x"), "want at least 1"},
      {"data world --task corpus --count 5 --out " + At("x"), "count: want none for task corpus"},
      {"data world --task active-rag --split pretrain --out " + At("x"), "want pretrain for task"},
      {"data babi --input x --task 21 --out " + At("x"), "want 1 to 20"},
      {"data babi --input x --task 1 --split dev --out " + At("x"), "want train"},
  };
  for (const auto& [arguments, message] : cases) {
    SCOPED_TRACE(arguments);
    const Outcome outcome = RunOnepass(arguments);
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(outcome.output, HasSubstr(message));
  }
  EXPECT_FALSE(fs::exists(At("x")));
}

TEST_F(InspectTest, ForceReplacesOnlyItsOwnFiles) {
  ASSERT_TRUE(WriteFileAtomically(At("notes.txt"), "mine").ok());
  ASSERT_EQ(RunOnepass("init-base --force --shape tiny --out " + dir_).exit_code, 0);
  EXPECT_EQ(ReadFile(At("notes.txt")).value(), "mine");
  EXPECT_EQ(RunOnepass("inspect " + dir_).exit_code, 0);
}

}  // namespace
}  // namespace onepass
