// onepass bench replay CHAIN.yaml: what each hand-off costs on records that have their own outputs.
#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "bench/replay.h"
#include "chain_flags.h"
#include "commands.h"
#include "engine/engine.h"
#include "kernels/registry.h"

namespace onepass {
namespace {

struct ReplayFlags {
  std::string chain;
  std::string base;
  std::vector<std::string> prompts;
  std::string kv = "f32";
  BaseOptions backend;
  ReplayBenchOptions replay;
  bool json = false;
};

Status Run(ReplayFlags flags) {
  ASSIGN_OR_RETURN(ChainSpec spec, LoadChainSpec(flags.chain));
  if (!flags.base.empty()) spec.base = flags.base;
  for (const std::string& setting : flags.prompts) CheckUsage(SetPrompt(setting, &spec));
  ASSIGN_OR_RETURN(flags.replay.kv_dtype, ParseKvType(flags.kv));
  const Result<std::unique_ptr<Base>> base = LoadBase(spec.base, flags.backend);
  RETURN_IF_ERROR(base.status().WithPrefix(flags.base.empty() ? flags.chain + ": base" : "--base"));
  const bool shows_progress = isatty(STDERR_FILENO) != 0;
  if (shows_progress) {
    flags.replay.on_progress = [](const std::string& text) {
      fmt::print(stderr, "\r\033[K{}", text);
    };
  }
  const Result<BenchReport> report = BenchReplay(**base, spec, flags.replay);
  if (shows_progress) fmt::print(stderr, "\r\033[K");
  RETURN_IF_ERROR(report.status());
  fmt::print("{}", flags.json ? ToJson(*report) + "\n" : ToText(*report));
  return Status::Ok();
}

}  // namespace

void AddReplayCommand(CLI::App& bench, int* exit_code) {
  CLI::App* command = bench.add_subcommand(
      "replay", "Losses, hand-offs and KV memory of records that have their own outputs");
  auto flags = std::make_shared<ReplayFlags>();
  command->add_option("chain", flags->chain, "The chain's YAML file")->required();
  command->add_option("--input", flags->replay.input, "records")->required();
  command
      ->add_option("--outputs", flags->replay.outputs,
                   "record field of each stage's output, as in recipes: O_A,O_B or "
                   "'O_{round}A,O_{round}B'")
      ->delimiter(',')
      ->required();
  command->add_option("--n", flags->replay.most_records, "only the first records (0: all)")
      ->check(NotNegative())
      ->capture_default_str();
  command->add_flag("--json", flags->json, "one line of JSON instead of text");
  command->add_option("--set", flags->prompts, "STAGE.prompt=DIR: another prompt for a stage");
  command->add_option("--base", flags->base, "another base than the chain's");
  command->add_option("--kv", flags->kv, "what KV is stored in: f32, bf16 or int8")
      ->check(ParsedBy(ParseKvType))
      ->capture_default_str();
  command->add_option("--backend", flags->backend.backend, "kernels")
      ->check(CLI::IsMember(BackendNames()))
      ->capture_default_str();
  command->add_option("--threads", flags->backend.thread_count, "0: one per hardware thread")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->callback([flags, exit_code] { *exit_code = ReportStatus(Run(*flags)); });
}

}  // namespace onepass
