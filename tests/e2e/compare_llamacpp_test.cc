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
    // `-fa 1` and `--repack 0` each slow it, together they make it fast; notes what it was asked.
    WriteProgram(fake_,
                 "[ \"$1\" = --help ] && echo '--repack --n-depth' && exit\n"
                 "echo \"$*\" >>" +
                     folder_ +
                     "/calls\n"
                     "case \"$*\" in\n"
                     "*'-fa 1 --repack 0'*) speed=150 ;;\n"
                     "*'-fa 0 --repack 1'*) speed=100 ;;\n"
                     "*) speed=80 ;;\n"
                     "esac\n"
                     "echo \"[{\\\"samples_ts\\\": [$speed, $((speed - 1)), $speed]}]\"\n");
    WriteProgram(ours_,
                 "echo '{\"rows\": [{\"tokens_per_s\": 60, \"peak_share\": 0.5, "
                 "\"bandwidth_share\": 0.25}]}'\n");
  }
  void TearDown() override { fs::remove_all(folder_); }

  static void WriteProgram(const std::string& path, const std::string& lines) {
    std::ofstream(path) << "#!/bin/sh\n" << lines;
    fs::permissions(path, fs::perms::owner_all);
  }

  static Outcome Compare(const std::string& arguments, const std::string& onepass) {
    return RunShell("ONEPASS=" + onepass + " " ONEPASS_SOURCE_DIR "/tools/compare_llamacpp.sh " +
                    arguments);
  }
  Outcome Compare(const std::string& arguments) const { return Compare(arguments, ours_); }

  static nlohmann::json ReadJson(const std::string& path) {
    std::ifstream file(path);
    return nlohmann::json::parse(file, nullptr, false);
  }

  const std::string folder_ = testing::TempDir() + "compare_llamacpp";
  const std::string fake_ = folder_ + "/llama-bench";
  const std::string ours_ = folder_ + "/onepass";
  const std::string rows_ = folder_ + "/rows.json";
  const std::string small_ = fake_ + " " + kModel +
                             " --prefill 8 --context 8 --tokens 2 --rounds 1 --repeats 1"
                             " --threads 1 --json " +
                             rows_;
};

TEST_F(CompareLlamacpp, RatiosAreToItsFastestSettings) {
  const Outcome outcome =
      Compare(fake_ + " " + kModel + " --prefill 8 --context 8 --tokens 2 --rounds 2 --repeats 1 " +
                  "--threads 1 --json " + rows_,
              ONEPASS_BINARY);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  const nlohmann::json rows = ReadJson(rows_);
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

TEST_F(CompareLlamacpp, ALongTextIsSearchedForItself) {
  // What is fastest for the short text is not for the long one, nor is any one change of it.
  WriteProgram(fake_,
               "[ \"$1\" = --help ] && echo '--repack --n-depth' && exit\n"
               "case \"$*\" in\n"
               "*'-p 600 '*'-fa 1 --repack 0 -ub 2048'*) speed=30 ;;\n"
               "*'-fa 0 --repack 1'*) speed=20 ;;\n"
               "*) speed=10 ;;\n"
               "esac\n"
               "echo \"[{\\\"samples_ts\\\": [$speed]}]\"\n");
  const Outcome outcome = Compare(small_ + " --prefill 8,600");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  const nlohmann::json rows = ReadJson(rows_);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0]["llama_cpp_settings"], "-fa 0 --repack 1");
  EXPECT_EQ(rows[1]["llama_cpp_settings"], "-fa 1 --repack 0 -ub 2048");
  EXPECT_EQ(rows[1]["ratio"], 2);
  EXPECT_EQ(rows[2]["share"], 0.25);
}

TEST_F(CompareLlamacpp, SettingsThatItCannotRunAreLeftOut) {
  // Neither flag can be changed alone.
  WriteProgram(fake_,
               "[ \"$1\" = --help ] && echo '--n-depth --repack' && exit\n"
               "case \"$*\" in *'-fa 1 --repack 0'*) ;; *) kill -SEGV $$ ;; esac\n"
               "echo '[{\"samples_ts\": [10]}]'\n");
  const Outcome outcome = Compare(small_);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("-fa 1 --repack 0"));
}

TEST_F(CompareLlamacpp, RowsBeforeAFaultAreKept) {
  WriteProgram(fake_,
               "[ \"$1\" = --help ] && echo --n-depth && exit\n"
               "case \"$*\" in *'-p 0 '*) echo 'no decode' >&2; exit 3 ;; esac\n"
               "echo '[{\"samples_ts\": [10]}]'\n");
  const Outcome outcome = Compare(small_);
  EXPECT_EQ(outcome.exit_code, 1) << outcome.output;
  EXPECT_THAT(outcome.output, testing::EndsWith("compare_llamacpp: llama-bench: no decode\n"));
  EXPECT_THAT(outcome.output, HasSubstr("10.0 (10.0 to 10.0)"));
  const nlohmann::json rows = ReadJson(rows_);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0]["work"], "prefill");
  EXPECT_FALSE(fs::exists(rows_ + ".part"));
}

TEST_F(CompareLlamacpp, AFaultBeforeTheFirstRowLeavesTheEarlierFile) {
  std::ofstream(rows_) << "[1]\n";
  EXPECT_EQ(Compare(small_, "/bin/false").exit_code, 1);
  EXPECT_EQ(ReadJson(rows_), nlohmann::json({1}));
}

TEST_F(CompareLlamacpp, ALlamaBenchWithoutDepthIsRefusedBeforeItRuns) {
  WriteProgram(fake_,
               "[ \"$1\" = --help ] && echo '-gp <pp,tg>' && exit\n"
               "touch " +
                   folder_ + "/calls\n");
  const Outcome outcome = Compare(small_);
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.output,
            "compare_llamacpp: " + fake_ +
                ": want a llama-bench with --n-depth (-d), found none in its --help\n");
  EXPECT_FALSE(fs::exists(folder_ + "/calls"));
}

TEST_F(CompareLlamacpp, WrongUsageIsOneLineAndTwo) {
  for (const std::string& wrong :
       {std::string(), fake_, "/nope " + std::string(kModel), fake_ + " /nope.gguf",
        fake_ + " " + fake_, fake_ + " " + kModel + " --rounds 0",
        fake_ + " " + kModel + " --prefill 8,x", fake_ + " " + kModel + " --bogus",
        fake_ + " " + kModel + " --json /nope/rows.json",
        fake_ + " " + kModel + " --json " + folder_}) {
    const Outcome outcome = Compare(wrong);
    EXPECT_EQ(outcome.exit_code, 2) << wrong;
    EXPECT_THAT(outcome.output, testing::StartsWith("compare_llamacpp: ")) << wrong;
    EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\n'), 1) << outcome.output;
  }
}

TEST_F(CompareLlamacpp, AFaultOfEitherProgramIsOneLineAndOne) {
  const Outcome ours = Compare(small_, "/bin/false");
  EXPECT_EQ(ours.exit_code, 1);
  EXPECT_EQ(ours.output, "compare_llamacpp: false: exit code 1\n");
  const Outcome silent = Compare(small_, "/bin/true");
  EXPECT_EQ(silent.exit_code, 1);
  EXPECT_EQ(silent.output,
            "compare_llamacpp: /bin/true: want JSON with tokens_per_s and peak_share, "
            "found something else\n");

  const std::string help = "[ \"$1\" = --help ] && echo --n-depth && exit\n";
  WriteProgram(fake_, help + "echo noise >&2; echo 'no such thing' >&2; exit 3\n");
  const Outcome theirs = Compare(small_);
  EXPECT_EQ(theirs.exit_code, 1);
  EXPECT_EQ(theirs.output, "compare_llamacpp: llama-bench: no such thing\n");
  for (const std::string samples : {"", "0", "NaN", "\"fast\""}) {
    WriteProgram(fake_, help + "echo '[{\"samples_ts\": [" + samples + "]}]'\n");
    EXPECT_EQ(Compare(small_).output,
              "compare_llamacpp: " + fake_ +
                  ": want JSON with samples_ts above 0, found something else\n")
        << samples;
  }
}

}  // namespace
}  // namespace onepass
