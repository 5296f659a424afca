// Wrong usage of the program: one line that says what is wrong, and exit code 2.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "program.h"

namespace onepass {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Fault {
  const char* arguments;
  const char* message;
};

TEST(Usage, AFaultIsOneLineWithTheProgramsName) {
  const Fault faults[] = {
      {"", "subcommand is required"},
      {"nope", "subcommand is required, found \"nope\""},
      {"--nope", "found \"--nope\""},
      {"bench", "subcommand is required"},
      {"bench nope", "subcommand is required, found \"nope\""},
      {"bench prefill --tokens none", "--tokens"},
      {"bench replay", "is required"},
      {"bench replay chain.yaml --input a", "--outputs is required"},
      {"bench replay chain.yaml --input a --outputs b --n -1", "--n"},
      {"bench replay chain.yaml --input a --outputs b --kv f16", "found \"f16\""},
      {"data squad --input a", "--out is required"},
      {"data squad --input a --out b --split dev", "found \"dev\""},
      {"data babi --input a --task 20 --traces --out b", "want task 1, 2, 3, 7, 8 or 15, found 20"},
      {"run", "chain is required"},
      {"run chain.yaml", "--input and --output (or --explain)"},
      {"run chain.yaml --explain=xml", "--explain: xml not in {text,json}"},
      {"run chain.yaml --explain --nope", "not expected: --nope"},
      {"run chain.yaml --input a --output b --batch 0", "--batch"},
      {"run chain.yaml --input a --output b --backend gpu", "gpu not in {ref,cpu}"},
      {"run chain.yaml --input a --output b --kv f16", "found \"f16\""},
      {"train", "recipe is required"},
      {"eval suite.yaml --backend gpu", "gpu not in {ref,cpu}"},
      {"eval suite.yaml --seeds one", "--seeds"},
      {"eval", "suite is required"},
      {"eval suite.yaml --nope", "not expected: --nope"},
      {"eval report", "is required"},
      {"eval report folder", "--out is required"},
      {"eval suite.yaml report folder --out b", "want a suite or report, found both"},
      {"convert", "is required"},
      {"inspect", "is required"},
      {"index", "subcommand is required"},
      {"index build", "is required"},
      {"index build --input a", "--out"},
      {"index build --input a --out b --k1 -1", "k1: want a number from 0 to 1000, found -1"},
      {"index build --input a --out b --stem klingon", "stem: want one of arabic"},
      {"index search", "is required"},
      {"index search a", "--query"},
      {"index search a --query b --top 0", "--top"},
      {"index search a --query b --b 2", "b: want a number from 0 to 1, found 2"},
      {"inspect folder 'two\nlines\rand \033[1mcolour'", "two lines and  [1mcolour"},
  };
  for (const Fault& fault : faults) {
    SCOPED_TRACE(fault.arguments);
    const Outcome outcome = RunOnepass(fault.arguments);
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(outcome.output, StartsWith("onepass: "));
    EXPECT_THAT(outcome.output, HasSubstr(fault.message));
    EXPECT_EQ(std::ranges::count(outcome.output, '\n'), 1) << outcome.output;
    EXPECT_TRUE(outcome.output.ends_with('\n')) << outcome.output;
  }
}

TEST(Usage, HelpAndVersionAreNoFaults) {
  const Outcome help = RunOnepass("--help");
  EXPECT_EQ(help.exit_code, 0);
  for (const char* command :
       {"inspect", "init-base", "convert", "index", "run", "train", "eval", "bench"}) {
    EXPECT_THAT(help.output, HasSubstr(command));
  }
  const Outcome run = RunOnepass("run --help");
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.output, HasSubstr("--on-error"));
  const Outcome world = RunOnepass("data world --help");
  EXPECT_EQ(world.exit_code, 0);
  for (const char* task : {"compress-qa", "rewrite-qa", "memory-reasoning", "active-rag", "corpus",
                           "pretrain", "own-formats"}) {
    EXPECT_THAT(world.output, HasSubstr(task));
  }
  EXPECT_EQ(RunOnepass("--version").output, "onepass 0.1.0\n");
}

TEST(Usage, WithoutMemoryTheProgramEndsWithOneLine) {
  const std::string folder = testing::TempDir() + "/onepass_no_memory";
  std::filesystem::create_directories(folder);
  const Outcome decode =
      RunShell("ulimit -v 400000; TMPDIR=" + folder +
               " " ONEPASS_BINARY " bench decode --shape smollm2-135m --threads 1");
  std::filesystem::remove_all(folder);  // the random base, which nothing removed
  EXPECT_EQ(decode.exit_code, 1);
  EXPECT_THAT(decode.output, testing::MatchesRegex("onepass: out of memory[^\n]*\n"));
}

}  // namespace
}  // namespace onepass
