// `onepass run` as a user meets it: files in, files out, exit codes, one-line errors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "chain/tiny_chain_for_test.h"

namespace onepass {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kChain[] = R"(name: pair
base: base
shared: "{Q}\n"
stages:
  - {name: a, prompt: prompt_a, input: "{D}\n", start: <bos>, stop_tokens: [<eos>], max_tokens: 8}
  - {name: b, prompt: prompt_b, start: <bos>, stop_tokens: [<eos>], max_tokens: 5}
)";

constexpr char kRecords[] = R"({"Q": "who?", "D": "the dog", "extra": [1]}
{"Q": "what?", "D": "a longer document than that"}
{"Q": "when?", "D": "x"}
)";

class ChainRunTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::path(WriteTinyBase("chain_run_test/base")).parent_path();
    for (const char* name : {"a", "b"}) {
      const SoftPrompt prompt = RandomPrompt(4, 32, name[0]);
      ASSERT_TRUE(SaveSoftPrompt(prompt, dir_ / (std::string("prompt_") + name)).ok());
    }
    Write("chain.yaml", kChain);
    Write("in.jsonl", kRecords);
    fs::remove(dir_ / "out.jsonl");
  }

  void Write(const std::string& name, const std::string& text) {
    std::ofstream(dir_ / name, std::ios::binary) << text;
  }
  std::string Read(const std::string& name) { return std::move(ReadFile(dir_ / name)).value(); }

  // Runs `onepass run ARGUMENTS` in the folder; its exit code. Fills stdout_ and stderr_.
  int Run(const std::string& arguments) {
    const std::string command =
        "cd '" + dir_.string() + "' && '" ONEPASS_BINARY "' run " + arguments + " >stdout 2>stderr";
    const int status = std::system(command.c_str());
    stdout_ = Read("stdout");
    stderr_ = Read("stderr");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  std::vector<json> Lines(const std::string& name = "out.jsonl") {
    std::vector<json> lines;
    std::ifstream file(dir_ / name);
    for (std::string line; std::getline(file, line);) {
      lines.push_back(json::parse(line, nullptr, false));
      EXPECT_FALSE(lines.back().is_discarded()) << line;
    }
    return lines;
  }

  void ExpectNothingWritten() {
    for (const auto& entry : fs::directory_iterator(dir_)) {
      EXPECT_EQ(entry.path().filename().string().find("out.jsonl"), std::string::npos)
          << entry.path();
    }
  }

  fs::path dir_;
  std::string stdout_;
  std::string stderr_;
};

TEST_F(ChainRunTest, WritesOneLineARecordWithTextIdsTimesAndCounts) {
  ASSERT_EQ(Run("chain.yaml --input in.jsonl --output out.jsonl"), 0) << stderr_;
  const std::vector<json> lines = Lines();
  ASSERT_EQ(lines.size(), 3u);
  for (size_t i = 0; i < lines.size(); ++i) {
    const json& line = lines[i];
    EXPECT_EQ(line["record"], i + 1);
    ASSERT_EQ(line["stages"].size(), 2u);
    EXPECT_EQ(line["text"], line["stages"][1]["text"]);
    EXPECT_EQ(line["tokens_recomputed"], 0);
    EXPECT_GT(line["peak_kv_bytes"], 0);
    for (const json& stage : line["stages"]) {
      for (const char* key : {"prefill_ms", "handoff_ms", "first_token_ms", "decode_ms"}) {
        EXPECT_TRUE(stage[key].is_number()) << key;
      }
      EXPECT_LE(stage["token_ids"].size(), 8u);
      EXPECT_GT(stage["tokens_reused"], 0);
      EXPECT_EQ(stage["handoff"], "kv");
    }
  }
  EXPECT_THAT(stderr_, HasSubstr("3 records done, 0 faulty"));
}

TEST_F(ChainRunTest, HandoffsDifferInWhatTheyCompute) {
  ASSERT_EQ(Run("chain.yaml --input in.jsonl --output out.jsonl"), 0) << stderr_;
  const std::vector<json> kv = Lines();
  ASSERT_EQ(Run("chain.yaml --input in.jsonl --output out.jsonl --handoff text"), 0) << stderr_;
  const std::vector<json> text = Lines();
  ASSERT_EQ(Run("chain.yaml --input in.jsonl --output out.jsonl --handoff text-cached"), 0);
  const std::vector<json> cached = Lines();
  for (size_t i = 0; i < kv.size(); ++i) {
    EXPECT_EQ(kv[i]["stages"][0]["token_ids"], text[i]["stages"][0]["token_ids"]);
    EXPECT_LT(kv[i]["tokens_recomputed"], cached[i]["tokens_recomputed"]);
    EXPECT_LT(cached[i]["tokens_recomputed"], text[i]["tokens_recomputed"]);
  }
}

TEST_F(ChainRunTest, BatchesAndArraysGiveTheSameTokens) {
  ASSERT_EQ(Run("chain.yaml --input in.jsonl --output one.jsonl"), 0) << stderr_;
  std::string array = "[";
  for (const char c : std::string(kRecords)) array += c == '\n' ? ',' : c;
  array.back() = ']';
  Write("in.json", array);
  ASSERT_EQ(Run("chain.yaml --input in.json --output many.jsonl --batch 2 --backend cpu"), 0)
      << stderr_;
  const std::vector<json> one = Lines("one.jsonl");
  const std::vector<json> many = Lines("many.jsonl");
  ASSERT_EQ(one.size(), many.size());
  for (size_t i = 0; i < one.size(); ++i) {
    for (int stage = 0; stage < 2; ++stage) {
      EXPECT_EQ(one[i]["stages"][stage]["token_ids"], many[i]["stages"][stage]["token_ids"]);
    }
  }
}

TEST_F(ChainRunTest, StopLeavesNothingAndSkipDoesTheRest) {
  Write("in.jsonl", std::string(kRecords) + "{\"Q\": \"no document\"}\nbroken\n{}\n" + kRecords);
  EXPECT_EQ(Run("chain.yaml --input in.jsonl --output out.jsonl --batch 2"), 1);
  EXPECT_EQ(stderr_, "onepass: in.jsonl: record 4 (line 4): want field \"D\", found only \"Q\"\n");
  ExpectNothingWritten();

  EXPECT_EQ(Run("chain.yaml --input in.jsonl --output out.jsonl --on-error skip --batch 2"), 1);
  EXPECT_THAT(stderr_, HasSubstr("onepass: 3 of 9 records are faulty, the first: in.jsonl: "
                                 "record 4 (line 4): want field \"D\""));
  const std::vector<json> lines = Lines();
  ASSERT_EQ(lines.size(), 9u);
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i]["record"], i + 1);
    EXPECT_EQ(lines[i].contains("error"), i >= 3 && i <= 5) << lines[i];
  }
  EXPECT_THAT(lines[4]["error"].get<std::string>(),
              StartsWith("in.jsonl: record 5 (line 5): not JSON at byte 1"));
  EXPECT_EQ(lines[0]["stages"][1]["token_ids"], lines[6]["stages"][1]["token_ids"]);

  // Behind a comma that is missing there may be any number of records.
  Write("in.json", R"([{"Q": "q", "D": "d"} {"Q": "q", "D": "d"}])");
  EXPECT_EQ(Run("chain.yaml --input in.json --output other.jsonl --on-error skip"), 1);
  EXPECT_EQ(stderr_, "onepass: in.json: line 1: want \",\" or \"]\", found \"{\"\n");
}

TEST_F(ChainRunTest, FaultsAreOneLineAndWrongUsageIsTwo) {
  EXPECT_EQ(Run("chain.yaml --input none.jsonl --output out.jsonl"), 1);
  EXPECT_THAT(stderr_, StartsWith("onepass: "));
  EXPECT_THAT(stderr_, HasSubstr("none.jsonl"));
  EXPECT_EQ(std::ranges::count(stderr_, '\n'), 1);
  EXPECT_EQ(Run("chain.yaml --input in.jsonl --output no/such/out.jsonl"), 1);
  EXPECT_THAT(stderr_, HasSubstr("no/such/out.jsonl"));
  EXPECT_EQ(Run("chain.yaml --input in.jsonl --output in.jsonl"), 1);
  EXPECT_THAT(stderr_, HasSubstr("want another file than the input"));
  EXPECT_EQ(Read("in.jsonl"), kRecords);
  Write("bad.yaml", std::string(kChain) + "placment: front\n");
  EXPECT_EQ(Run("bad.yaml --input in.jsonl --output out.jsonl"), 1);
  EXPECT_THAT(stderr_, StartsWith("onepass: bad.yaml:7: unknown key \"placment\", did you mean "
                                  "\"placement\"?"));
  EXPECT_EQ(Run("chain.yaml --input in.jsonl --output out.jsonl --set c.prompt=x"), 2);
  EXPECT_THAT(stderr_, HasSubstr("want one of the stages a, b, found \"c\""));
  ExpectNothingWritten();
  EXPECT_EQ(Run("chain.yaml --input in.jsonl --output out.jsonl --set prompt=x"), 2);
  EXPECT_THAT(stderr_, HasSubstr("want STAGE.prompt=DIR, found \"prompt=x\""));
  EXPECT_EQ(Run("chain.yaml"), 2);
  EXPECT_EQ(Run("chain.yaml --input in.jsonl --output out.jsonl --handoff maybe"), 2);
  EXPECT_EQ(Run("chain.yaml --input in.jsonl --output out.jsonl --batch 0"), 2);
  EXPECT_EQ(Run("chain.yaml --no-such-flag"), 2);
}

TEST_F(ChainRunTest, AFullDiskIsAnErrorAndLeavesNothing) {
  // The temporary file's limit stands in for the disk's.
  const std::string arguments = "chain.yaml --input in.jsonl --output out.jsonl";
  const std::string command = "cd '" + dir_.string() + "' && trap '' XFSZ && ulimit -f 1 && '" +
                              std::string(ONEPASS_BINARY) + "' run " + arguments + " 2>stderr";
  std::string many;
  for (int i = 0; i < 10; ++i) many += kRecords;
  Write("in.jsonl", many);
  const int status = std::system(("bash -c \"" + command + "\"").c_str());
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_THAT(Read("stderr"), HasSubstr("out.jsonl"));
  ExpectNothingWritten();
}

TEST_F(ChainRunTest, ExplainShowsThePlanAndRunsNothing) {
  ASSERT_EQ(Run("chain.yaml --explain"), 0) << stderr_;
  EXPECT_THAT(stdout_, HasSubstr("step 1 b: hand-off kv, writes O[b]"));
  EXPECT_THAT(stdout_, HasSubstr("8+|S|+|I[a]|+|O[a]|"));
  ASSERT_EQ(Run("chain.yaml --explain --input in.jsonl"), 0) << stderr_;
  EXPECT_THAT(stdout_, HasSubstr("19+|O[a]|"));
  ASSERT_EQ(Run("chain.yaml --explain=json --handoff text"), 0) << stderr_;
  const json plan = json::parse(stdout_, nullptr, false);
  ASSERT_FALSE(plan.is_discarded());
  EXPECT_EQ(plan["steps"][1]["handoff"], "text");
  EXPECT_EQ(plan["segments"].size(), 8u);
  ExpectNothingWritten();
}

TEST_F(ChainRunTest, KvTakesTheBytesOfItsTypeAndTheTokensStaySteady) {
  const std::string run = "chain.yaml --input in.jsonl --output ";
  std::vector<int64_t> peaks;
  for (const std::string type : {"f32", "bf16", "int8"}) {
    ASSERT_EQ(Run(run + type + ".jsonl --kv " + type), 0) << stderr_;
    ASSERT_EQ(Run(run + "out.jsonl --batch 3 --cold --kv " + type), 0) << stderr_;
    const std::vector<json> one = Lines(type + ".jsonl");
    const std::vector<json> many = Lines();
    for (size_t i = 0; i < one.size(); ++i) {
      for (int stage = 0; stage < 2; ++stage) {
        EXPECT_EQ(one[i]["stages"][stage]["token_ids"], many[i]["stages"][stage]["token_ids"]);
      }
    }
    peaks.push_back(one[0]["peak_kv_bytes"]);
    ASSERT_EQ(Run("chain.yaml --explain --kv " + type), 0) << stderr_;
    EXPECT_THAT(stdout_, StartsWith("chain pair, prompts front, KV in " + type + "\n"));
  }
  // Rows of 8: 32 bytes, 16, and 8 with a scale of 4.
  EXPECT_EQ(peaks[1] * 2, peaks[0]);
  EXPECT_EQ(peaks[2] * 8, peaks[0] * 3);
  EXPECT_EQ(Run(run + "out.jsonl --kv f16"), 2);
  EXPECT_THAT(stderr_, HasSubstr("kv: want one of f32, bf16, int8, found \"f16\""));
}

TEST_F(ChainRunTest, LimitAndOtherPromptsAreTaken) {
  ASSERT_EQ(Run("chain.yaml --input in.jsonl --output out.jsonl --limit 2"), 0) << stderr_;
  EXPECT_EQ(Lines().size(), 2u);
  const json before = Lines()[0]["stages"];
  ASSERT_EQ(Run("chain.yaml --input in.jsonl --output out.jsonl --limit 1 "
                "--set b.prompt=prompt_a"),
            0)
      << stderr_;
  EXPECT_EQ(Lines()[0]["stages"][0]["token_ids"], before[0]["token_ids"]);
  ASSERT_EQ(Run("chain.yaml --input in.jsonl --output out.jsonl --cold"), 0) << stderr_;
  EXPECT_EQ(Lines()[0]["stages"][1]["token_ids"], before[1]["token_ids"]);
}

// Real documents, in the authors' format, on a trained base that is far too small for them.
TEST_F(ChainRunTest, TheAuthorsRecordsRunAndTheirDocumentsAreCutToTheContext) {
  const fs::path shared = fs::path(ONEPASS_SOURCE_DIR) / "../shared";
  const fs::path base = shared / "models/tinystories-656k";
  const fs::path data = shared / "data/hotpotqa_compress_test.json";
  if (!fs::exists(base) || !fs::exists(data)) GTEST_SKIP() << "no " << shared;
  const std::string chain = "base: " + base.string() + R"(
shared: "{I_ALL}\n"
overlong: cut
cut_field: I_A
stages:
  - {name: compress, input: "{I_A}\n", start: "In short,", max_tokens: 12}
  - {name: answer, input: "So", max_tokens: 6}
)";
  Write("real.yaml", chain);
  const std::string run = "real.yaml --input '" + data.string() + "' --limit 4 --output ";
  ASSERT_EQ(Run(run + "kv.jsonl --batch 3"), 0) << stderr_;
  ASSERT_EQ(Run(run + "text.jsonl --handoff text"), 0) << stderr_;
  const std::vector<json> kv = Lines("kv.jsonl");
  const std::vector<json> text = Lines("text.jsonl");
  ASSERT_EQ(kv.size(), 4u);
  int cut = 0;
  for (size_t i = 0; i < kv.size(); ++i) {
    EXPECT_EQ(kv[i]["stages"][0]["token_ids"], text[i]["stages"][0]["token_ids"]);
    EXPECT_EQ(kv[i]["tokens_recomputed"], 0);
    EXPECT_GT(text[i]["tokens_recomputed"], 0);
    if (kv[i].contains("cut")) {
      EXPECT_EQ(kv[i]["cut"]["field"], "I_A");
      ++cut;
    }
  }
  EXPECT_GT(cut, 0);

  std::string refusing = chain;
  refusing.erase(refusing.find("overlong"), refusing.find("stages:") - refusing.find("overlong"));
  Write("real.yaml", refusing);
  EXPECT_EQ(Run(run + "no.jsonl"), 1);
  EXPECT_THAT(stderr_, HasSubstr("positions (the base's context), found"));
}

}  // namespace
}  // namespace onepass
