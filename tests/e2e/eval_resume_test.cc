// A comparison that is killed after its first run goes on with the others, and ends with the files
// of one that never stopped, but for its times.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "program.h"

namespace onepass {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kQuestions[] = "12";
constexpr int kMethods = 9;

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> EvalArguments(const std::string& dir, const std::string& out) {
  return {"eval",      ONEPASS_SOURCE_DIR "/chains/demo/suite.yaml",
          "--data",    dir + "/test.jsonl",
          "--n",       kQuestions,
          "--out",     out,
          "--threads", "1"};
}

Outcome Eval(const std::string& dir, const std::string& out, const std::string& more = "") {
  std::string line;
  for (const std::string& argument : EvalArguments(dir, out)) line += argument + " ";
  return RunOnepass(line + more);
}

// Kills it as soon as the file is there.
void EvalUntil(const std::string& dir, const std::string& out, const std::string& file) {
  std::vector<std::string> words = EvalArguments(dir, out);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const int log = open((dir + "/log.txt").c_str(), O_WRONLY | O_CREAT, 0666);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    words.insert(words.begin(), ONEPASS_BINARY);
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    execv(argv[0], argv.data());
    _exit(127);
  }
  int status = 0;
  while (!fs::exists(file) && waitpid(child, &status, WNOHANG) == 0) usleep(1000);
  kill(child, SIGKILL);
  ASSERT_EQ(waitpid(child, &status, 0), child) << ReadText(dir + "/log.txt");
  ASSERT_TRUE(WIFSIGNALED(status)) << ReadText(dir + "/log.txt");
}

// Without what is measured in milliseconds.
json WithoutTimes(json results) {
  for (json& method : results["methods"]) {
    EXPECT_GT(method["ms"], 0);
    method.erase("ms");
    method.erase("handoff_ms");
  }
  return results;
}

std::vector<json> SamplesWithoutTimes(const std::string& path) {
  std::vector<json> samples;
  std::stringstream lines(ReadText(path));
  for (std::string line; std::getline(lines, line);) {
    json sample = json::parse(line);
    sample.erase("ms");
    sample.erase("handoff_ms");
    samples.push_back(std::move(sample));
  }
  return samples;
}

TEST(EvalResume, AKilledComparisonLosesAtMostOneRun) {
  const std::string dir = testing::TempDir() + "/onepass_eval_resume";
  fs::remove_all(dir);
  fs::create_directories(dir);
  ASSERT_EQ(RunOnepass("data world --split test --count " + std::string(kQuestions) +
                       " --seed 1 --out " + dir + "/test.jsonl")
                .exit_code,
            0);
  const std::string whole = dir + "/whole";
  const std::string out = dir + "/out";
  const Outcome uninterrupted = Eval(dir, whole);
  ASSERT_EQ(uninterrupted.exit_code, 0) << uninterrupted.output;
  EXPECT_THAT(uninterrupted.output, Not(HasSubstr("taken")));

  const std::string first = out + "/runs/native-1.jsonl";
  EvalUntil(dir, out, first);
  const std::string kept = ReadText(first);
  EXPECT_FALSE(fs::exists(out + "/results.json"));
  EXPECT_FALSE(fs::exists(out + "/samples_native.jsonl"));
  int finished = 0;
  for (const auto& entry : fs::directory_iterator(out + "/runs")) {
    EXPECT_EQ(entry.path().extension(), ".jsonl") << entry.path();
    ++finished;
  }
  ASSERT_GE(finished, 1);
  ASSERT_LT(finished, kMethods);

  const Outcome resumed = Eval(dir, out);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_THAT(resumed.output, HasSubstr(std::to_string(finished) + " of 9 runs taken from " + out));
  EXPECT_EQ(ReadText(first), kept);  // its times are those of then
  const json results = json::parse(ReadText(out + "/results.json"));
  EXPECT_EQ(WithoutTimes(results), WithoutTimes(json::parse(ReadText(whole + "/results.json"))));
  for (const json& method : results["methods"]) {
    const std::string name = "/samples_" + method["method"].get<std::string>() + ".jsonl";
    EXPECT_EQ(SamplesWithoutTimes(out + name), SamplesWithoutTimes(whole + name)) << name;
  }

  // Again: everything is taken, the files are the same, byte for byte.
  const std::string before = ReadText(out + "/report.html") + ReadText(out + "/results.json");
  const Outcome again = Eval(dir, out);
  ASSERT_EQ(again.exit_code, 0) << again.output;
  EXPECT_THAT(again.output, HasSubstr("9 of 9 runs taken"));
  EXPECT_EQ(ReadText(out + "/report.html") + ReadText(out + "/results.json"), before);
  const Outcome restarted = Eval(dir, out, "--restart");
  ASSERT_EQ(restarted.exit_code, 0) << restarted.output;
  EXPECT_THAT(restarted.output, Not(HasSubstr("taken")));
  EXPECT_NE(ReadText(first), kept);
  fs::remove_all(dir);
}

}  // namespace
}  // namespace onepass
