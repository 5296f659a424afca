// onepass run: a chain over a file of records, or its plan explained.
#include <unistd.h>

#include <algorithm>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "chain/explain.h"
#include "chain/run_file.h"
#include "chain_flags.h"
#include "commands.h"
#include "kernels/registry.h"

namespace onepass {
namespace {

struct RunFlags {
  std::string chain;
  std::string base;
  std::string handoff;
  std::string explain;
  std::vector<std::string> indexes;
  std::string kv = "f32";
  std::string on_error = "stop";
  std::vector<std::string> prompts;
  RunFileOptions files;
  RunnerOptions runner;
  BaseOptions backend;
};

Status Explain(const RunFlags& flags, ChainRunner& runner) {
  ExplainFacts facts;
  facts.prompt_lengths = runner.PromptLengths();
  facts.layout = runner.pool().layout();
  if (!flags.files.input.empty()) {
    ASSIGN_OR_RETURN(std::unique_ptr<RecordReader> reader, RecordReader::Open(flags.files.input));
    ASSIGN_OR_RETURN(const std::optional<Record> record, reader->Next());
    if (!record) return InvalidArgument(flags.files.input + ": want a record, found none");
    ASSIGN_OR_RETURN(facts.token_counts, runner.CountTokens(*record));
  }
  const std::string text = flags.explain == "json"
                               ? ExplainPlanJson(runner.spec(), runner.plan(), facts) + "\n"
                               : ExplainPlan(runner.spec(), runner.plan(), facts);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return Status::Ok();
}

// Leaves loops that would fill screens two rounds: the others look like the second.
bool ShortenLoops(ChainSpec* spec) {
  constexpr int64_t kMostSteps = 24;
  int64_t steps = 0;
  for (const FlowPart& part : spec->flow) steps += part.rounds * std::ssize(part.names);
  if (steps <= kMostSteps) return false;
  for (FlowPart& part : spec->flow) part.rounds = std::min<int64_t>(part.rounds, 2);
  return true;
}

Status Run(const RunFlags& flags, bool* faulty) {
  ASSIGN_OR_RETURN(ChainSpec spec, LoadChainSpec(flags.chain));
  if (flags.explain == "text" && ShortenLoops(&spec)) {
    std::fputs("Loops are shown with two of their rounds.\n", stdout);
  }
  if (!flags.base.empty()) spec.base = flags.base;
  for (const std::string& setting : flags.prompts) CheckUsage(SetPrompt(setting, &spec));
  for (const std::string& setting : flags.indexes) CheckUsage(spec.SetIndex(setting));
  RunnerOptions options = flags.runner;
  if (!flags.handoff.empty()) {
    ASSIGN_OR_RETURN(options.handoff, ParseHandoff(flags.handoff));
  }
  ASSIGN_OR_RETURN(options.kv_dtype, ParseKvType(flags.kv));
  const Result<std::unique_ptr<Base>> loaded = LoadBase(spec.base, flags.backend);
  RETURN_IF_ERROR(
      loaded.status().WithPrefix(flags.base.empty() ? flags.chain + ": base" : "--base"));
  const std::unique_ptr<Base>& base = *loaded;
  ASSIGN_OR_RETURN(const std::unique_ptr<ChainRunner> runner,
                   ChainRunner::Create(*base, spec, options));
  if (!flags.explain.empty()) return Explain(flags, *runner);

  const bool terminal = isatty(STDERR_FILENO) != 0;
  const auto progress = [&](const RunProgress& now) {
    if (!terminal) return;
    const double share = now.bytes_total > 0 ? 100.0 * static_cast<double>(now.bytes_read) /
                                                   static_cast<double>(now.bytes_total)
                                             : 100.0;
    std::fprintf(stderr, "\r\033[K%lld records, %.0f%% of the input",
                 static_cast<long long>(now.records), share);
  };
  const Result<RunSummary> summary = RunFile(*runner, flags.files, progress);
  if (terminal) std::fprintf(stderr, "\r\033[K");
  RETURN_IF_ERROR(summary.status());
  std::fputs(SummaryTable(runner->spec(), *summary).c_str(), stderr);
  if (summary->faulty > 0) {
    *faulty = true;
    std::fprintf(stderr, "onepass: %lld of %lld records are faulty, the first: %s\n",
                 static_cast<long long>(summary->faulty),
                 static_cast<long long>(summary->faulty + summary->done),
                 summary->first_fault.c_str());
  }
  return Status::Ok();
}

}  // namespace

void AddRunCommand(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand(
      "run", "Run a chain over records (JSONL or a JSON array), or explain its plan");
  auto flags = std::make_shared<RunFlags>();
  command->add_option("chain", flags->chain, "The chain's YAML file")->required();
  CLI::Option* input = command->add_option("--input", flags->files.input, "Records");
  CLI::Option* output =
      command->add_option("--output", flags->files.output,
                          "Results, a JSON line a record; appears whole at the end or not at all");
  command
      ->add_flag("--explain{text}", flags->explain,
                 "Print the plan and run nothing (--explain=json for programs); with --input the "
                 "first record's lengths are filled in")
      ->check(CLI::IsMember({"text", "json"}));
  command->add_option("--handoff", flags->handoff, "For every stage, in place of the chain's own")
      ->check(CLI::IsMember({"text", "text-cached", "kv"}));
  command->add_option("--kv", flags->kv, "What KV is stored in: f32, bf16 or int8")
      ->check(ParsedBy(ParseKvType))
      ->capture_default_str();
  command->add_option("--batch", flags->runner.batch, "Records in lockstep")
      ->check(CLI::Range(1, 4096));
  command->add_option("--limit", flags->files.limit, "Only the first N records (0: all)")
      ->check(NotNegative());
  command
      ->add_option("--on-error", flags->on_error,
                   "A faulty record: stop and write nothing, or skip it with an error line")
      ->check(CLI::IsMember({"skip", "stop"}));
  command->add_option("--set", flags->prompts, "STAGE.prompt=DIR: another prompt for a stage");
  command->add_option("--index", flags->indexes, "TOOL=FOLDER: another index for a tool");
  command->add_option("--base", flags->base, "Another base folder than the chain's");
  command->add_option("--backend", flags->backend.backend, "Kernels")
      ->check(CLI::IsMember(BackendNames()));
  command->add_option("--threads", flags->backend.thread_count, "0: one per hardware thread")
      ->check(CLI::Range(0, 1024));
  command
      ->add_option("--max-kv-bytes", flags->runner.max_kv_bytes,
                   "Most bytes of KV pages (0: enough for a batch that fills the context)")
      ->check(NotNegative());
  command->add_flag("--cold", flags->runner.cold, "Prefill front prompts anew for every batch");
  command->callback([flags, input, output, exit_code] {
    if (flags->explain.empty() && (input->empty() || output->empty())) {
      throw CLI::RequiredError("--input and --output (or --explain)");
    }
    flags->files.on_error = flags->on_error == "skip" ? OnError::kSkip : OnError::kStop;
    bool faulty = false;
    *exit_code = ReportStatus(Run(*flags, &faulty));
    if (faulty) *exit_code = 1;
  });
}

}  // namespace onepass
