// onepass train RECIPE.yaml [key=value ...]
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "commands.h"
#include "train/progress.h"
#include "train/recipe.h"
#include "train/trainer.h"

namespace onepass {
namespace {

struct TrainFlags {
  std::string recipe;
  std::vector<std::string> overrides;
  std::string on_error;
  bool restart = false;
  bool quiet = false;
};

// A bar on a terminal, plain lines elsewhere; all on stderr.
class Display : public TrainObserver {
 public:
  Display(int64_t log_every, bool quiet)
      : log_every_(log_every), quiet_(quiet), terminal_(isatty(STDERR_FILENO) != 0) {}

  void OnUpstreamOutputs(int64_t records) override {
    if (quiet_ || records % (terminal_ ? 20 : 1000) != 0) return;
    std::fprintf(stderr, "%searlier stages: outputs of %lld records%s", terminal_ ? "\r\033[K" : "",
                 static_cast<long long>(records), terminal_ ? "" : "\n");
  }
  void OnStart(const TrainStart& start) override {
    if (quiet_) return;
    if (terminal_) std::fputs("\r\033[K", stderr);
    const std::string prompts =
        start.prompts == 1 ? "a prompt" : std::to_string(start.prompts) + " prompts";
    std::fprintf(stderr, "training %s [%lld, %lld] on %lld samples (%lld for validation), ",
                 prompts.c_str(), static_cast<long long>(start.prompt_rows),
                 static_cast<long long>(start.width), static_cast<long long>(start.samples),
                 static_cast<long long>(start.validation_samples));
    const long long total = start.total_steps;
    if (start.first_step == start.total_steps) {
      std::fprintf(stderr, "all %lld steps are done\n", total);
    } else if (start.first_step > 0) {
      const long long done = start.first_step;
      std::fprintf(stderr, "steps %lld to %lld, resumed\n", done + 1, total);
    } else {
      std::fprintf(stderr, "%lld steps\n", total);
    }
  }
  void OnStep(const TrainProgress& progress) override {
    if (quiet_) return;
    if (terminal_) {
      winsize size{};
      const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
      std::fprintf(stderr, "\r\033[K%s",
                   FormatProgressBar(progress, known ? size.ws_col : 80).c_str());
      if (progress.step == progress.total_steps) std::fputc('\n', stderr);
    } else if (progress.step % log_every_ == 0 || progress.step == progress.total_steps) {
      std::fprintf(stderr, "%s\n", FormatProgressLine(progress).c_str());
    }
  }
  void OnValidation(int64_t step, double loss, bool best) override {
    if (quiet_) return;
    std::fprintf(stderr, "%sstep %lld  validation loss %.4f%s\n", terminal_ ? "\r\033[K" : "",
                 static_cast<long long>(step), loss, best ? " (best)" : "");
  }
  void OnWarning(const std::string& text) override {
    std::fprintf(stderr, "onepass: warning: %s\n", text.c_str());
  }

 private:
  int64_t log_every_;
  bool quiet_;
  bool terminal_;
};

Status RunTrain(const TrainFlags& flags) {
  std::vector<std::string> overrides = flags.overrides;
  if (!flags.on_error.empty()) overrides.push_back("on_error=" + flags.on_error);
  const Result<Recipe> loaded = LoadRecipe(flags.recipe, overrides);
  if (loaded.status().message().starts_with("override ")) CheckUsage(loaded.status());
  RETURN_IF_ERROR(loaded.status());
  const Recipe& recipe = *loaded;
  Display display(recipe.log_every, flags.quiet);
  ASSIGN_OR_RETURN(const TrainReport report,
                   Train(recipe, {.restart = flags.restart, .observer = &display}));
  std::printf("%s: %lld steps, loss %.4f", recipe.out.c_str(), static_cast<long long>(report.steps),
              report.last_loss);
  if (report.best_validation_loss.has_value()) {
    std::printf(", best validation loss %.4f at step %lld", *report.best_validation_loss,
                static_cast<long long>(report.best_step));
  }
  std::printf(", %s\n", FormatDuration(report.seconds).c_str());
  return Status::Ok();
}

}  // namespace

void AddTrainCommand(CLI::App& app, int* exit_code) {
  auto flags = std::make_shared<TrainFlags>();
  CLI::App* command = app.add_subcommand("train", "Train a stage's soft prompt from a recipe");
  command->add_option("recipe", flags->recipe, "Recipe YAML")->required();
  command->add_option("overrides", flags->overrides, "key=value, instead of the recipe's");
  command->add_option("--on-error", flags->on_error, "What to do with a faulty record")
      ->check(CLI::IsMember({"skip", "stop"}));
  command->add_flag("--restart", flags->restart, "Begin anew even where out holds a checkpoint");
  command->add_flag("--quiet", flags->quiet, "Print the result only");
  command->callback([flags, exit_code] { *exit_code = ReportStatus(RunTrain(*flags)); });
}

}  // namespace onepass
