// onepass convert as a user runs it: what it prints, what it leaves, and that prompts train on what
// it wrote.
#include <gmock/gmock.h>

#include "../compat/logits.h"
#include "engine/base_tokenizer.h"
#include "program.h"
#include "train_fixture.h"
#include "world/formats.h"

namespace onepass {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

const std::string kBase = ONEPASS_SOURCE_DIR "/models/base";

double NumberAfter(const std::string& text, const std::string& word) {
  const size_t at = text.find(word);
  EXPECT_NE(at, std::string::npos) << word << " in " << text;
  return at == std::string::npos ? NAN : std::strtod(text.c_str() + at + word.size(), nullptr);
}

class ConvertCommand : public testing::Test {
 protected:
  ConvertCommand() : folder_("convert_command") {}
  std::string At(const std::string& name) const { return folder_.Path(name); }

  TrainFolder folder_;
};

TEST_F(ConvertCommand, PrintsWhatTheBitsCostAndLeavesABase) {
  const Outcome given = RunOnepass("inspect --json " + kBase);
  ASSERT_EQ(given.exit_code, 0) << given.output;
  const json before = json::parse(given.output);
  std::string fingerprint = before["fingerprint"];
  double kl_of_eight = 0;
  for (const std::string weights : {"q8", "q4"}) {
    SCOPED_TRACE(weights);
    const Outcome made = RunOnepass("convert " + kBase + " " + At(weights) +
                                    " --text-tokens 600 --weights " + weights);
    ASSERT_EQ(made.exit_code, 0) << made.output;
    const double perplexity = NumberAfter(made.output, "perplexity ");
    EXPECT_THAT(made.output, HasSubstr("matrices quantised\n"));
    const double kl = NumberAfter(made.output, "mean KL ");
    EXPECT_GT(perplexity, 1);
    EXPECT_GT(kl, 0);
    if (weights == "q8") {
      kl_of_eight = kl;
      EXPECT_LT(kl, 0.01);
    } else {
      EXPECT_GT(kl, kl_of_eight);
      EXPECT_LT(kl, 0.5);
    }
    const Outcome shown = RunOnepass("inspect --json " + At(weights));
    ASSERT_EQ(shown.exit_code, 0) << shown.output;
    const json base = json::parse(shown.output);
    EXPECT_EQ(base["dtype"], weights == "q8" ? "Q8_0" : "Q4_0");
    EXPECT_NE(base["fingerprint"], fingerprint);
    fingerprint = base["fingerprint"];
    EXPECT_EQ(base["tokenizer"], before["tokenizer"]);
    EXPECT_LT(base["weight_bytes"].get<double>(), before["weight_bytes"].get<double>() * 0.55);
    EXPECT_THAT(RunOnepass("inspect " + At(weights)).output, HasSubstr("mostly in Q"));
  }
  const Outcome back =
      RunOnepass("convert " + At("q4") + " " + At("f32") + " --text-tokens 200 --weights f32");
  ASSERT_EQ(back.exit_code, 0) << back.output;
  EXPECT_THAT(back.output, HasSubstr("; 0 matrices quantised\n"));
  // What is left is the rounding of activations, which products with blocks have.
  EXPECT_GT(NumberAfter(back.output, "mean KL "), 0);
  EXPECT_LT(NumberAfter(back.output, "mean KL "), kl_of_eight);
  EXPECT_THAT(RunOnepass("inspect " + At("f32")).output, HasSubstr(" in F32"));
  const Outcome again = RunOnepass("convert --weights q8 " + kBase + " " + At("q8"));
  EXPECT_EQ(again.exit_code, 1);
  EXPECT_THAT(again.output, HasSubstr("or --force"));
  folder_.Write("text.txt", "a");
  const Outcome text = RunOnepass("convert --force --weights q8 --text " + At("text.txt") + " " +
                                  kBase + " " + At("q8"));
  EXPECT_EQ(text.exit_code, 1);
  EXPECT_THAT(text.output, HasSubstr("want a text of at least 2 tokens"));
}

// `cpu` rounds activations to 8 bits, `ref` does not: as far apart as docs/formats/quantised.md
// says.
TEST_F(ConvertCommand, CpuLogitsAreNearRef) {
  std::string text;
  Rng rng(17);
  for (int i = 0; i < 4; ++i) {
    for (const FormatPart& part : MakeFormatSample({.split = Split::kValidation}, rng).parts) {
      text += part.text;
    }
  }
  const auto tokenizer = LoadBaseTokenizer(kBase);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  const std::vector<TokenId> ids = (*tokenizer)->Encode(text, {});
  ASSERT_GT(ids.size(), 100u);
  for (const auto& [weights, head] :
       {std::pair<std::string, std::string>{"q8", "q8"}, {"q4", "q8"}, {"q4", "q4"}}) {
    SCOPED_TRACE(weights + ", head " + head + ", seed 17");
    const std::string base = At(weights + head);
    ASSERT_EQ(RunOnepass("convert --text-tokens 2 --weights " + weights + " --head " + head + " " +
                         kBase + " " + base)
                  .exit_code,
              0);
    const double error = RelativeRms(LogitsOf(base, "cpu", ids), LogitsOf(base, "ref", ids));
    EXPECT_LT(error, 0.028);
    EXPECT_GT(error, 1e-3);  // rounding is seen
  }
}

// Either kind of tokenizer file comes along with what stands beside it, and lets the error be
// measured; without one there is nothing to measure it on.
TEST_F(ConvertCommand, MeasuresWithTheTokenizerThatTheFolderHas) {
  ModelConfig config = NamedShape("tiny").value();
  config.vocab_size = 380 + 256;  // ranks, special tokens
  ASSERT_TRUE(InitBase(config, DType::kF32, 5, At("ranks")).ok());
  const std::string convert = "convert --force --text-tokens 50 --weights q8 " + At("ranks") + " ";
  const Outcome without = RunOnepass(convert + At("without"));
  ASSERT_EQ(without.exit_code, 0) << without.output;
  EXPECT_THAT(without.output, HasSubstr("error not measured: the base has neither tokenizer.json"));

  fs::copy_file(ONEPASS_SOURCE_DIR "/tests/golden/tokenizer/tiny.tiktoken",
                At("ranks/tokenizer.model"));
  const std::vector<std::string> names = {"tokenizer.model", "tokenizer_config.json",
                                          "special_tokens_map.json", "generation_config.json"};
  for (size_t i = 1; i < names.size(); ++i) folder_.Write("ranks/" + names[i], "{}");
  const Outcome with = RunOnepass(convert + At("with"));
  ASSERT_EQ(with.exit_code, 0) << with.output;
  EXPECT_GT(NumberAfter(with.output, "perplexity "), 1);
  for (const std::string& name : names) {
    EXPECT_EQ(folder_.Read("with/" + name), folder_.Read("ranks/" + name)) << name;
  }
}

TEST_F(ConvertCommand, WrongUsageEndsWithTwoAndFaultsWithOne) {
  EXPECT_EQ(RunOnepass("convert " + At("base") + " " + At("x")).exit_code, 2);
  EXPECT_EQ(RunOnepass("convert --weights q5 " + At("base") + " " + At("x")).exit_code, 2);
  const std::string gguf = ONEPASS_SOURCE_DIR "/tests/golden/gguf/llama-plain.gguf";
  for (const auto& [from, message] : {std::pair<std::string, std::string>{At("none"), "none"},
                                      {gguf, "run it as it is, or convert the folder"}}) {
    const Outcome outcome = RunOnepass("convert --weights q8 " + from + " " + At("x"));
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_THAT(outcome.output, HasSubstr(message));
    EXPECT_EQ(outcome.output.find('\n'), outcome.output.size() - 1);
  }
  EXPECT_FALSE(fs::exists(At("x")));
}

TEST_F(ConvertCommand, BenchMeasuresABaseInFewerBits) {
  for (const auto& [weights, type] :
       {std::pair<std::string, std::string>{"q8", "Q8_0"}, {"q4", "Q4_0"}}) {
    for (const std::string what : {"prefill --tokens 8", "decode --context 8 --tokens 2"}) {
      const Outcome outcome = RunOnepass("bench " + what + " --repeats 1 --json --model " +
                                         At("base") + " --weights " + weights);
      ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
      EXPECT_EQ(json::parse(outcome.output)["weights"], type);
    }
  }
  EXPECT_EQ(RunOnepass("bench prefill --weights q5 --shape tiny").exit_code, 2);
}

// Through integers forward and dequantised blocks backward a prompt learns, whatever the threads;
// it belongs to the base in fewer bits, not to the one that this was made of.
TEST_F(ConvertCommand, PromptsTrainOnIt) {
  for (const auto& [weights, type] :
       {std::pair<std::string, std::string>{"q8", "Q8_0"}, {"q4", "Q4_0"}}) {
    SCOPED_TRACE(weights);
    ASSERT_EQ(RunOnepass("convert --text-tokens 50 --weights " + weights + " --head " + weights +
                         " " + At("base") + " " + At(weights))
                  .exit_code,
              0);
    std::string chain = folder_.Read("chain.yaml");
    chain.replace(chain.find("base: base"), 10, "base: " + weights);
    folder_.Write(weights + ".yaml", chain);
    for (const std::string threads : {"1", "2"}) {
      const std::string out = threads == "1" ? "a" : "other";
      const auto report = folder_.Train("a.yaml",
                                        {"chain=" + At(weights + ".yaml"), "max_steps=40",
                                         "threads=" + threads, "out=" + At(out)},
                                        /*restart=*/true);
      ASSERT_TRUE(report.ok()) << report.status().message();
    }
    const auto losses = folder_.Losses("a");
    EXPECT_EQ(folder_.Losses("other"), losses);
    ASSERT_TRUE(losses.front().contains("loss") && losses.back().contains("validation_loss"));
    EXPECT_LT(losses.back()["validation_loss"].get<double>(),
              0.9 * losses.front()["loss"].get<double>());
    const json facts = json::parse(folder_.Read("a/last/onepass.json"));
    EXPECT_EQ(facts["base_fingerprint"],
              json::parse(RunOnepass("inspect --json " + At(weights)).output)["fingerprint"]);
    EXPECT_EQ(facts["base_type"], type);
    const auto on_the_other_base = folder_.Train("b.yaml", {});
    ASSERT_FALSE(on_the_other_base.ok());
    EXPECT_THAT(on_the_other_base.status().message(),
                HasSubstr("found a prompt trained on " +
                          facts["base_fingerprint"].get<std::string>() + " of type " + type));
  }
}

}  // namespace
}  // namespace onepass
