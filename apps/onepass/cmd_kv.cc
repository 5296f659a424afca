// onepass kv dump: stores the KV of a training run's constant part, for offline training.
#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "commands.h"
#include "train/stored_kv.h"

namespace onepass {
namespace {

struct DumpFlags {
  std::string recipe;
  std::vector<std::string> overrides;
  std::string out;
};

Status Dump(TrainingSetup& setup, const Dataset& dataset, const std::string& path) {
  const bool terminal = isatty(STDERR_FILENO) != 0;
  ASSIGN_OR_RETURN(const StoredKvReport report,
                   StoreKv(setup, dataset, path, [&](int64_t done, int64_t total) {
                     if (!terminal) return;
                     fmt::print(stderr, "\r\033[K{}: {}/{} samples{}", path, done, total,
                                done == total ? "\r\033[K" : "");
                   }));
  fmt::print("{}: {} samples, {} tokens, {} bytes ({} a token), {:.1f} s\n", path, report.samples,
             report.tokens, report.bytes, report.bytes / report.tokens, report.seconds);
  return Status::Ok();
}

Status RunDump(const DumpFlags& flags) {
  const Result<Recipe> loaded = LoadRecipe(flags.recipe, flags.overrides);
  if (loaded.status().message().starts_with("override ")) CheckUsage(loaded.status());
  RETURN_IF_ERROR(loaded.status());
  Recipe recipe = *loaded;
  recipe.upstream_kv.clear();  // it is about to be made
  ASSIGN_OR_RETURN(const std::unique_ptr<TrainingSetup> setup, PrepareTraining(recipe));
  RETURN_IF_ERROR(Dump(*setup, setup->data, StoredKvPath(flags.out, /*validation=*/false)));
  if (setup->validation.samples.empty()) return Status::Ok();
  return Dump(*setup, setup->validation, StoredKvPath(flags.out, /*validation=*/true));
}

}  // namespace

void AddKvCommand(CLI::App& app, int* exit_code) {
  CLI::App* kv = app.add_subcommand("kv", "KV on disk");
  kv->require_subcommand(1);
  auto flags = std::make_shared<DumpFlags>();
  CLI::App* dump = kv->add_subcommand(
      "dump", "store the KV that earlier stages leave for each sample of a recipe (upstream_kv)");
  dump->add_option("recipe", flags->recipe, "recipe YAML of the stage that will read it")
      ->required();
  dump->add_option("overrides", flags->overrides, "key=value, instead of the recipe's");
  dump->add_option("--out", flags->out, "folder for train.safetensors and validation.safetensors")
      ->required();
  dump->callback([flags, exit_code] { *exit_code = ReportStatus(RunDump(*flags)); });
}

}  // namespace onepass
