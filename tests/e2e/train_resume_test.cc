// A run that is killed at random moments and resumed has, bit for bit, the losses and the prompts
// of a run that never stopped.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "train/run_log.h"
#include "train_fixture.h"

namespace onepass {
namespace {

pid_t Start(const TrainFolder& folder, const std::string& recipe,
            const std::vector<std::string>& overrides) {
  const pid_t child = fork();
  if (child != 0) return child;
  const int log = open(folder.Path("log.txt").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  std::vector<std::string> words = {ONEPASS_BINARY, "train", folder.Path(recipe)};
  words.insert(words.end(), overrides.begin(), overrides.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  _exit(127);
}

int64_t SizeOfFile(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 ? info.st_size : 0;
}

struct ResumeCase {
  const char* name;
  const char* recipe;
  std::vector<std::string> overrides;
  uint64_t seed;
};

class TrainResume : public ::testing::TestWithParam<ResumeCase> {};

TEST_P(TrainResume, KilledAtAnyMomentItGoesOnBitForBit) {
  const uint64_t seed = GetParam().seed;
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  const TrainFolder folder(std::string("resume_") + GetParam().name);
  // What stage b reads, and what "continued" begins with.
  for (const char* placement : {"front", "inline"}) {
    const Result<TrainReport> first = folder.Train(
        "a.yaml",
        {"max_steps=3", std::string("placement=") + placement, "out=" + folder.Path(placement)});
    ASSERT_TRUE(first.ok()) << first.status().message();
  }
  // Stages that learn together, with tokens of their own.
  std::string added = folder.Read("chain.yaml");
  const std::string ends = "    stop_tokens: [\"<eos>\"]\n";
  added.replace(added.find(ends), ends.size(),
                "    stop_tokens: [\"</a>\"]\n    added_tokens: [\"</a>\"]\n");
  folder.Write("added.yaml", added);
  // Two epochs and a bit: shuffles, short last steps, validations and checkpoints all take part.
  const std::vector<std::string> run = {"max_steps=36", "batch_size=3", "accumulation=2",
                                        "validate_every=4", "checkpoint_every=3"};
  const auto with_out = [&](const std::string& out) {
    std::vector<std::string> all = run;
    for (std::string text : GetParam().overrides) {
      if (const size_t at = text.find("FOLDER"); at != std::string::npos) {
        text.replace(at, 6, folder.Path(""));
      }
      all.push_back(text);
    }
    all.push_back("out=" + folder.Path(out));
    return all;
  };
  const std::string recipe = GetParam().recipe;
  const Result<TrainReport> whole = folder.Train(recipe, with_out("whole"));
  ASSERT_TRUE(whole.ok()) << whole.status().message();

  Rng rng(seed);
  const std::string metrics = folder.Path("killed/metrics.jsonl");
  int kills = 0;
  for (int attempt = 0; attempt < 200; ++attempt) {
    const pid_t child = Start(folder, recipe, with_out("killed"));
    ASSERT_GE(child, 0);
    // Somewhere within the next steps, whatever the machine's speed. After 25 kills it may finish.
    const int64_t begin_size = SizeOfFile(metrics);
    const int64_t grow = static_cast<int64_t>(rng.Uniform(1000)) - 100;
    const useconds_t delay = static_cast<useconds_t>(rng.Uniform(3000));
    int status = 0;
    pid_t ended = 0;
    while ((ended = waitpid(child, &status, WNOHANG)) == 0) {
      const int64_t size = SizeOfFile(metrics);
      const bool reached = size > begin_size + grow || size < begin_size;
      if (kills < 25 && reached) break;
      usleep(200);
    }
    if (ended == 0) {
      usleep(delay);
      kill(child, SIGKILL);
      ASSERT_EQ(waitpid(child, &status, 0), child);
    }
    if (WIFSIGNALED(status)) {
      ++kills;
      continue;
    }
    ASSERT_EQ(WEXITSTATUS(status), 0) << folder.Read("log.txt");
    break;
  }
  std::printf("killed %d times\n", kills);
  EXPECT_GE(kills, 5);
  EXPECT_EQ(folder.Losses("killed"), folder.Losses("whole"));
  EXPECT_EQ(folder.Scalars("killed"), folder.Scalars("whole"));
  int prompts = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.Path("killed"))) {
    EXPECT_EQ(entry.path().string().find(".tmp-"), std::string::npos) << entry.path();
    if (entry.path().filename() != "adapter_model.safetensors") continue;
    ++prompts;
    const std::string name = std::filesystem::relative(entry.path(), folder.Path("killed"));
    EXPECT_EQ(folder.Read("killed/" + name), folder.Read("whole/" + name));
  }
  EXPECT_EQ(prompts, recipe == "a.yaml" && std::string(GetParam().name) == "multi" ? 4 : 2);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, TrainResume,
    ::testing::Values(
        ResumeCase{"standard", "a.yaml", {}, 1},
        ResumeCase{"inlined", "a.yaml", {"placement=inline"}, 2},
        ResumeCase{"continued", "a.yaml", {"init_prompt=FOLDERfront/best"}, 3},
        ResumeCase{"fthss", "b.yaml", {"upstream_prompts=FOLDERfront/best"}, 4},
        ResumeCase{"fthss_inlined",
                   "b.yaml",
                   {"placement=inline", "upstream_prompts=FOLDERinline/best"},
                   5},
        ResumeCase{"fthss_taped",
                   "b.yaml",
                   {"taped_constants=true", "upstream_prompts=FOLDERfront/best"},
                   6},
        ResumeCase{"distill",
                   "a.yaml",
                   {"kind=distill", "chain=FOLDERone_stage.yaml", "stage=all",
                    "distill_output={O_A} {O_B}"},
                   7},
        ResumeCase{"multi", "a.yaml", {"kind=fthss-multi", "chain=FOLDERadded.yaml", "stage="}, 8}),
    [](const auto& test) { return test.param.name; });

TEST(TrainResumeFiles, TwoRunsCannotWriteOneFolder) {
  const TrainFolder folder("lock");
  std::filesystem::create_directories(folder.Path("a"));
  const auto held = AppendFile::Open(folder.Path("a/metrics.jsonl"));
  ASSERT_TRUE(held.ok());
  const Result<TrainReport> report = folder.Train("a.yaml", {"max_steps=1"});
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.status().message().find("another process"), std::string::npos);
}

}  // namespace
}  // namespace onepass
