// onepass eval SUITE.yaml: answers the same questions by every method and compares them.
// onepass eval report FOLDER...: one report of several comparisons.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>

#include "commands.h"
#include "core/quote.h"
#include "eval/compare.h"
#include "eval/report.h"
#include "eval/report_files.h"
#include "eval/suite.h"
#include "kernels/registry.h"

namespace onepass {
namespace {

struct EvalFlags {
  std::string suite;
  std::string task;
  std::string data;
  std::string prompts;
  std::vector<std::string> indexes;
  std::string seeds;
  std::string out;
  std::string on_error = "stop";
  std::string kv = "f32";
  int64_t n = -1;
  bool restart = false;
  BaseOptions base;
};

struct ReportFlags {
  std::vector<std::string> folders;
  std::string out;
  std::string title = "Results";
  std::vector<std::string> notes;
  std::vector<std::string> benches;
};

// One line that rewrites itself on a terminal; nothing elsewhere.
void ShowProgress(const std::string& method, uint64_t seed, int64_t done, int64_t total) {
  static const bool is_terminal = isatty(STDERR_FILENO) != 0;
  if (!is_terminal) return;
  std::fprintf(stderr, "\r\033[K%s, seed %llu: %lld/%lld%s", method.c_str(),
               static_cast<unsigned long long>(seed), static_cast<long long>(done),
               static_cast<long long>(total), done == total ? "\r\033[K" : "");
}

Status Run(const EvalFlags& flags, bool* faulty) {
  ASSIGN_OR_RETURN(SuiteSpec suite, LoadSuite(flags.suite));
  if (!flags.task.empty()) suite.task = flags.task;
  if (!flags.data.empty()) suite.data = flags.data;
  if (!flags.prompts.empty()) suite.prompts = flags.prompts;
  for (const std::string& index : flags.indexes) {
    if (index.find('=') != std::string::npos) continue;
    CheckUsage(InvalidArgument("--index: want TOOL=FOLDER, found " + Quote(index)));
  }
  suite.indexes = flags.indexes;
  if (flags.n >= 0) suite.n = flags.n;
  if (!flags.seeds.empty()) {
    ASSIGN_OR_RETURN(suite.seeds, ParseSeeds(flags.seeds));
    if (suite.seeds.size() > 1 && suite.prompts.find("{seed}") == std::string::npos) {
      CheckUsage(InvalidArgument("--seeds: want prompts that depend on {seed}, found " +
                                 Quote(suite.prompts) + " for all of them"));
    }
  }
  CompareOptions options;
  options.out = flags.out;
  options.restart = flags.restart;
  options.base = flags.base;
  ASSIGN_OR_RETURN(options.kv_dtype, ParseKvType(flags.kv));
  options.on_progress = ShowProgress;
  options.on_error = flags.on_error == "skip" ? OnError::kSkip : OnError::kStop;
  options.on_skipped = [faulty](const Status& fault) {
    *faulty = true;
    std::fprintf(stderr, "onepass: left out: %s\n", fault.message().c_str());
  };
  ASSIGN_OR_RETURN(const Comparison comparison, Compare(suite, options));
  std::string taken;
  if (comparison.runs_taken > 0) {
    taken = fmt::format(", {} of {} runs taken from {}/runs", comparison.runs_taken,
                        comparison.runs, flags.out);
  }
  fmt::print("{}: {} questions{}\n{}", suite.task, comparison.results.methods.front().n, taken,
             ResultsToTable(comparison.results));
  return Status::Ok();
}

void AddReportCommand(CLI::App& eval, int* exit_code) {
  CLI::App* app = eval.add_subcommand("report", "one report of several comparisons");
  auto flags = std::make_shared<ReportFlags>();
  app->add_option("folders", flags->folders, "what eval wrote with --out; a section each");
  app->add_option("--out", flags->out, "folder for report.md and report.html")->required();
  app->add_option("--title", flags->title, "of the page")->capture_default_str();
  app->add_option(
         "--bench", flags->benches,
         "what `bench handoff`, `kv-memory` or `replay` printed with --json; a section each")
      ->expected(1)
      ->take_all();
  app->add_option("--note", flags->notes, "a paragraph below it; may be given again")
      ->expected(1)
      ->take_all();
  app->callback([&eval, flags, exit_code] {
    if (eval.count("suite") > 0) {
      CheckUsage(InvalidArgument("eval: want a suite or report, found both"));
    }
    *exit_code = ReportStatus(
        CombineReports(flags->folders, flags->benches, flags->title, flags->notes, flags->out));
  });
}

}  // namespace

void AddEvalCommand(CLI::App& app, int* exit_code) {
  CLI::App* eval = app.add_subcommand("eval", "compare methods on the same questions");
  auto flags = std::make_shared<EvalFlags>();
  eval->add_option("suite", flags->suite, "suite YAML");
  AddReportCommand(*eval, exit_code);
  eval->add_option("--n", flags->n, "questions to use (0: all), instead of the suite's")
      ->check(NotNegative());
  eval->add_option("--seeds", flags->seeds, "e.g. 1,2,3, instead of the suite's")
      ->check(ParsedBy(ParseSeeds));
  eval->add_option("--data", flags->data, "records, instead of the suite's");
  eval->add_option("--task", flags->task, "the task's name in the report");
  eval->add_option("--prompts", flags->prompts,
                   "folder of the prompts, instead of the suite's; {seed} is replaced");
  eval->add_option("--index", flags->indexes,
                   "TOOL=FOLDER: another index for the chains that have the tool");
  eval->add_option(
      "--out", flags->out,
      "folder for results.json, report.html, report.md, samples_<method>.jsonl and runs; runs "
      "that are there are taken in place of running them again");
  eval->add_flag("--restart", flags->restart, "run everything anew, whatever --out holds");
  eval->add_option("--on-error", flags->on_error,
                   "a faulty record: stop, or skip it for all methods")
      ->check(CLI::IsMember({"skip", "stop"}))
      ->capture_default_str();
  eval->add_option("--kv", flags->kv,
                   "what KV is stored in, for methods that do not say: f32, bf16 or int8")
      ->check(ParsedBy(ParseKvType))
      ->capture_default_str();
  eval->add_option("--backend", flags->base.backend, "kernels")
      ->check(CLI::IsMember(BackendNames()))
      ->capture_default_str();
  eval->add_option("--threads", flags->base.thread_count, "0: one per hardware thread")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  eval->callback([eval, flags, exit_code] {
    if (!eval->get_subcommands().empty()) return;
    if (flags->suite.empty()) CheckUsage(InvalidArgument("suite is required"));
    bool faulty = false;
    *exit_code = ReportStatus(Run(*flags, &faulty));
    if (faulty) *exit_code = 1;
  });
}

}  // namespace onepass
