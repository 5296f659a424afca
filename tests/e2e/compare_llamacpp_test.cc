// tools/compare_llamacpp.sh beside a llama-bench that is none: it prints speeds that are known.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "program.h"

namespace onepass {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr char kModel[] = ONEPASS_SOURCE_DIR "/tests/golden/gguf/llama-plain.gguf";

class CompareLlamacpp : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(folder_);
    // Fast with `-fa 1` and without `--repack 1`; notes what it was asked.
    std::ofstream(fake_) << "#!/bin/sh\n"
                            "if [ \"$1\" = --help ]; then echo '--repack --n-depth'; exit; fi\n"
                            "echo \"$*\" >>"
                         << folder_ << "/calls\n"
                         << "speed=100\n"
                            "case \"$*\" in *'-fa 1'*) speed=150 ;; esac\n"
                            "case \"$*\" in *'--repack 1'*) speed=$((speed - 20)) ;; esac\n"
                            "echo \"[{\\\"samples_ts\\\": [$speed, $((speed - 1)), $speed]}]\"\n";
    fs::permissions(fake_, fs::perms::owner_all);
  }
  void TearDown() override { fs::remove_all(folder_); }

  Outcome Compare(const std::string& arguments) const {
    return RunShell("ONEPASS=" ONEPASS_BINARY " " ONEPASS_SOURCE_DIR "/tools/compare_llamacpp.sh " +
                    arguments);
  }

  const std::string folder_ = testing::TempDir() + "/compare_llamacpp";
  const std::string fake_ = folder_ + "/llama-bench";
};

TEST_F(CompareLlamacpp, RatiosAreToItsFastestSettings) {
  const Outcome outcome =
      Compare(fake_ + " " + kModel + " --prefill 8 --context 8 --tokens 2 --rounds 2 --repeats 1 " +
              "--threads 1 --json " + folder_ + "/rows.json");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  std::ifstream file(folder_ + "/rows.json");
  const auto rows = nlohmann::json::parse(file, nullptr, false);
  ASSERT_EQ(rows.size(), 2u) << outcome.output;
  for (const auto& row : rows) {
    EXPECT_EQ(row["model"], "llama-plain");
    EXPECT_EQ(row["llama_cpp_settings"], "-fa 1 --repack 0");
    EXPECT_EQ(row["llama_cpp"]["median"], 150);
    EXPECT_DOUBLE_EQ(row["ratio"].get<double>(), row["onepass"]["median"].get<double>() / 150);
    EXPECT_GT(row["share"].get<double>(), 0);
  }
  EXPECT_EQ(rows[0]["work"], "prefill");
  EXPECT_EQ(rows[1]["work"], "decode");
  EXPECT_THAT(outcome.output, HasSubstr("prefill 8"));
  EXPECT_THAT(outcome.output, HasSubstr("150.0 (150.0 to 150.0)"));
  std::stringstream calls;
  calls << std::ifstream(folder_ + "/calls").rdbuf();
  EXPECT_THAT(calls.str(), HasSubstr("-t 1 "));
  EXPECT_THAT(calls.str(), HasSubstr("-p 8 -n 0 "));
  EXPECT_THAT(calls.str(), HasSubstr("-p 0 -n 2 -d 8 "));
}

TEST_F(CompareLlamacpp, SettingsThatItCannotRunAreLeftOut) {
  std::ofstream(fake_) << "#!/bin/sh\n[ \"$1\" = --help ] && echo '--n-depth --repack' && exit\n"
                          "case \"$*\" in *'--repack 1'*) kill -SEGV $$ ;; esac\n"
                          "echo '[{\"samples_ts\": [10]}]'\n";
  const Outcome outcome =
      Compare(fake_ + " " + kModel + " --prefill 8 --context 8 --tokens 2 --rounds 1 --threads 1");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("-fa 0 --repack 0"));
}

TEST_F(CompareLlamacpp, WrongUsageIsOneLineAndTwo) {
  for (const std::string& wrong :
       {std::string(), fake_, "/nope " + std::string(kModel), fake_ + " /nope.gguf",
        fake_ + " " + fake_, fake_ + " " + kModel + " --rounds 0",
        fake_ + " " + kModel + " --prefill 8,x", fake_ + " " + kModel + " --bogus"}) {
    const Outcome outcome = Compare(wrong);
    EXPECT_EQ(outcome.exit_code, 2) << wrong;
    EXPECT_THAT(outcome.output, testing::StartsWith("compare_llamacpp: ")) << wrong;
    EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\n'), 1) << outcome.output;
  }
}

TEST_F(CompareLlamacpp, AFaultOfEitherProgramIsOneLineAndOne) {
  std::ofstream(fake_) << "#!/bin/sh\n[ \"$1\" = --help ] && echo --n-depth && exit\n"
                          "echo noise >&2; echo 'no such thing' >&2; exit 3\n";
  const Outcome outcome = Compare(fake_ + " " + kModel + " --rounds 1");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.output, "compare_llamacpp: llama-bench: no such thing\n");
}

}  // namespace
}  // namespace onepass
