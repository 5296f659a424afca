// tools/bench.sh and tools/bench_tables.py beside programs that measure nothing and answer what is
// known.
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "program.h"

namespace onepass {
namespace {

namespace fs = std::filesystem;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

constexpr char kMachine[] =
    R"({"bench": "machine", "instruction_set": "AVX2", "threads": 2, "peak_gflops": 197.0,
        "peak_int8_gops": 340.0, "memory_gb_per_s": 30.0, "peak_gflops_one_thread": 99.0,
        "peak_int8_gops_one_thread": 170.0, "rows": []})";
constexpr char kKvError[] =
    R"({"bench": "kv-error", "base": "models/base", "text": "generated world", "window_tokens": 512,
        "scored_tokens": 4088, "rows": [{"kv": "f32", "bytes_per_token": 5120, "perplexity": 13.44,
        "change_percent": 0.0, "mean_kl_nats": 0.0, "top1_agreement_percent": 100.0}, {"kv": "int8",
        "bytes_per_token": 1440, "perplexity": 13.43, "change_percent": -0.07,
        "mean_kl_nats": 0.00094, "top1_agreement_percent": 99.3}]})";
// Its measuring takes a server: tests/e2e/serve runs it.
constexpr char kServe[] =
    R"({"bench": "serve", "chain": "demo", "deadline_ms": 96.0, "rows": [{"way": "kv", "rate": 10,
        "goodput": 10.0, "goodput_low": 9.3, "goodput_high": 10.3, "latency_p50_ms": 11,
        "latency_p99_ms": 33}, {"way": "text", "rate": 10, "goodput": 9.5, "goodput_low": 9.1,
        "goodput_high": 10.1, "latency_p50_ms": 14, "latency_p99_ms": 24}]})";
constexpr char kCompared[] =
    R"([{"model": "earlier-BF16", "work": "decode", "tokens": 32, "context": 512,
         "llama_cpp": {"median": 40, "low": 39, "high": 41},
         "onepass": {"median": 60, "low": 59, "high": 61}, "ratio": 1.5, "share": 0.7,
         "llama_cpp_settings": "-fa 1"}])";

class BenchScript : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(out_);
    fs::create_directories(models_);
    fs::copy_file(ONEPASS_SOURCE_DIR "/tests/golden/gguf/llama-plain.gguf", models_ + "/one.gguf",
                  fs::copy_options::overwrite_existing);
    WriteProgram(llama_,
                 "[ \"$1\" = --help ] && echo --n-depth && exit\n"
                 "echo '[{\"samples_ts\": [10]}]'\n");
  }
  void TearDown() override { fs::remove_all(folder_); }

  static void Write(const std::string& path, const std::string& text) {
    std::ofstream(path) << text;
  }
  static void WriteProgram(const std::string& path, const std::string& lines) {
    Write(path, "#!/bin/sh\n" + lines);
    fs::permissions(path, fs::perms::owner_all);
  }
  static std::string Read(const std::string& path) {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  // PARTS=parts tools/bench.sh arguments, where `onepass bench` answers as `lines` say.
  Outcome Bench(const std::string& parts, const std::string& lines,
                const std::string& arguments = "") const {
    WriteProgram(onepass_, lines);
    return RunShell("PARTS='" + parts + "' OUT=" + out_ + " ONEPASS=" + onepass_ +
                    " PREFILL=8 ROUNDS=1 THREADS=1 " ONEPASS_SOURCE_DIR "/tools/bench.sh " +
                    arguments);
  }
  Outcome Tables() const {
    return RunShell("python3 " ONEPASS_SOURCE_DIR "/tools/bench_tables.py " + out_);
  }

  const std::string folder_ = testing::TempDir() + "bench_script";
  const std::string out_ = folder_ + "/out";
  const std::string models_ = folder_ + "/models";
  const std::string onepass_ = folder_ + "/onepass";
  const std::string llama_ = folder_ + "/llama-bench";
  const std::string compared_ = out_ + "/compare.json";
};

TEST_F(BenchScript, WithoutModelsAnEarlierComparisonIsKept) {
  Write(compared_, kCompared);
  Write(out_ + "/compare-large.json", "[]");
  const Outcome outcome = Bench("machine compare", "echo '" + std::string(kMachine) + "'\n");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(Read(compared_), kCompared);
  EXPECT_EQ(Read(out_ + "/compare-large.json"), "[]");
  EXPECT_THAT(Read(out_ + "/tables.md"), HasSubstr("earlier-BF16"));
}

TEST_F(BenchScript, AComparisonReplacesTheEarlierOneOnceItIsWhole) {
  Write(compared_, kCompared);
  const std::string rows =
      R"({"rows": [{"tokens_per_s": 20, "peak_share": 0.5, "bandwidth_share": 0.5}]})";
  // Its decode fails, after a row of prefill.
  const Outcome failed =
      Bench("compare", "[ $2 = prefill ] && echo '" + rows + "' && exit\necho broken >&2; exit 1\n",
            llama_ + " " + models_);
  EXPECT_EQ(failed.exit_code, 1) << failed.output;
  EXPECT_THAT(failed.output, HasSubstr("compare_llamacpp: onepass: broken\n"));
  EXPECT_THAT(failed.output, EndsWith("bench: the rows so far: " + compared_ + ".new\n"));
  EXPECT_EQ(Read(compared_), kCompared);
  EXPECT_THAT(Read(compared_ + ".new"), HasSubstr("prefill"));

  const Outcome whole = Bench("compare", "echo '" + rows + "'\n", llama_ + " " + models_);
  EXPECT_EQ(whole.exit_code, 0) << whole.output;
  EXPECT_THAT(Read(compared_), HasSubstr("decode"));
  EXPECT_THAT(Read(compared_), Not(HasSubstr("earlier")));
  EXPECT_FALSE(fs::exists(compared_ + ".new"));
}

TEST_F(BenchScript, AMeasurementThatFailsKeepsItsEarlierFile) {
  Write(out_ + "/machine.json", kMachine);
  EXPECT_NE(Bench("machine", "echo '{'; exit 1\n").exit_code, 0);
  EXPECT_EQ(Read(out_ + "/machine.json"), kMachine);
}

TEST_F(BenchScript, EveryMeasurementOfTheProgramHasATable) {
  const std::string tiny = " --shape tiny";
  const std::string handoff = tiny + " --tokens 20 --prompt-length 4 --shared 4";
  const std::string train = "train-step --tokens 210 --prompt-length 4 --repeats 1" + tiny;
  for (const auto& [name, arguments] : std::map<std::string, std::string>{
           {"machine", "machine"},
           {"roofline",
            "roofline --tokens 8 --context 8 --steps 2 --repeats 1 --out /dev/null" + tiny},
           {"handoff", "handoff --runs 1" + handoff},
           {"handoff-one-token", "handoff --runs 1 --input 1" + handoff},
           {"decode-deep", "decode --context 28 --tokens 2 --batch 1 --repeats 1" + tiny},
           {"kv-memory", "kv-memory" + handoff},
           {"kv-error", "kv-error --text-tokens 64 --model " ONEPASS_SOURCE_DIR "/models/base"},
           {"train-inline", train + " --placement inline"},
           {"train-front", train + " --placement front"}}) {
    const Outcome outcome = RunOnepass("bench " + arguments + " --threads 1 --json");
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    Write(out_ + "/" + name + ".json", outcome.output);
  }
  Write(out_ + "/serve.json", kServe);
  const Outcome outcome = Tables();
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.output, Not(HasSubstr("bench_tables: "))) << outcome.output;
  for (const char* part : {"### The machine", "### Beside llama.cpp", "### Points of the roofline",
                           "### Hand-off", "One token of own input behind 20 tokens",
                           "### KV memory", "### KV in fewer bits", "| inline, ", "| front, ",
                           "| 10 | 10.0 (9.30 to 10.3) | 11.0, 33.0 | 9.50 (9.10 to 10.1) | 14.0, "
                           "24.0 |\n\nIn time is 96.0 ms."}) {
    EXPECT_THAT(outcome.output, HasSubstr(part));
  }
}

TEST_F(BenchScript, KvErrorHasATable) {
  Write(out_ + "/kv-error.json", kKvError);
  const Outcome outcome = Tables();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("| `f32` | 5120 | 13.44 | +0.00% | 0 | 100.0% |\n"
                                        "| `int8` | 1440 | 13.43 | -0.07% | 0.00094 | 99.3% |\n"));
  EXPECT_THAT(outcome.output, HasSubstr("4088 tokens of generated world in windows of 512"));
}

TEST_F(BenchScript, AFileThatIsMissingTornOrOfAnotherKindCostsItsOwnTableOnly) {
  Write(out_ + "/machine.json", kMachine);
  Write(out_ + "/kv-error.json", kKvError);
  Write(out_ + "/handoff.json", R"({"bench": "handoff", "rows": [{"len)");
  Write(out_ + "/kv-memory.json", R"({"rows": [{"length": 250}]})");
  Write(out_ + "/train-front.json", "[]");
  Write(compared_, R"([{"model": "x)");
  const Outcome outcome = Tables();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("### The machine"));
  EXPECT_THAT(outcome.output, HasSubstr("### KV in fewer bits"));
  EXPECT_THAT(outcome.output, Not(HasSubstr("Traceback")));
  EXPECT_THAT(outcome.output, Not(HasSubstr("### Hand-off")));
  EXPECT_THAT(outcome.output, Not(HasSubstr("### KV memory")));
  for (const std::string line :
       {"roofline.json: missing, its table is left out\n", "handoff.json: want JSON, found ",
        "compare.json: want JSON, found ", "train-front.json: want a JSON object, found none\n",
        "kv-memory.json: want what `onepass bench` and compare_llamacpp.py write, found "}) {
    EXPECT_THAT(outcome.output, HasSubstr("bench_tables: " + out_ + "/" + line));
  }
  EXPECT_THAT(outcome.output, Not(HasSubstr("compare-large.json")));
}

}  // namespace
}  // namespace onepass
