// onepass bench serve: a chain behind a server, at rising rates of requests.
#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "bench/serve_load.h"
#include "commands.h"
#include "serve/server.h"

namespace onepass {

void AddServeBenchCommand(CLI::App& bench, int* exit_code) {
  struct ServeBenchFlags {
    ServeBenchOptions options;
    std::string api_key_file;
    bool json = false;
  };
  auto flags = std::make_shared<ServeBenchFlags>();
  ServeBenchOptions& options = flags->options;
  CLI::App* command = bench.add_subcommand(
      "serve", "Goodput and latency of a two-stage chain behind `onepass serve`, by hand-off");
  command->add_option("--url", options.url, "http://ADDRESS:PORT of the server")->required();
  command->add_option("--chain", options.chain, "The chain's name there")->required();
  command->add_option("--input", options.input, "Records; the first 200 are used")->required();
  command->add_option("--handoffs", options.handoffs, "kv, text, text-cached")
      ->delimiter(',')
      ->check(CLI::IsMember({"kv", "text", "text-cached"}))
      ->capture_default_str();
  command
      ->add_option("--rates", options.rates,
                   "Requests a second (default: shares of what the first hand-off can do)")
      ->delimiter(',')
      ->check(Positive());
  command->add_option("--seconds", options.seconds, "Of each rate")->capture_default_str();
  command->add_option("--runs", options.runs, "Of each rate and way, in turn")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command
      ->add_option("--deadline-seconds", options.deadline_seconds,
                   "What is answered in time (0: five times the slowest way's median alone)")
      ->check(NotNegative());
  command
      ->add_option("--output-tokens", options.output_tokens, "Of the second stage, for all alike")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_option("--seed", options.seed, "Of the times between requests")
      ->check(NotNegative())
      ->capture_default_str();
  command->add_option("--llamacpp", options.llamacpp,
                      "URL of a llama.cpp server with the same base: asked twice, text between");
  command->add_option("--chain-file", options.file, "The chain's file: llama.cpp's prompts");
  command->add_option("--api-key-file", flags->api_key_file,
                      "A file whose first key the server knows (default: it wants none)");
  command->add_flag("--json", flags->json, "One JSON object");
  command->callback([flags, exit_code] {
    if (!flags->api_key_file.empty()) {
      const Result<std::vector<std::string>> keys = LoadApiKeys(flags->api_key_file);
      if (!keys.ok()) {
        *exit_code = ReportStatus(keys.status());
        return;
      }
      flags->options.key = keys->front();
    }
    const bool terminal = isatty(STDERR_FILENO) != 0;
    if (terminal) {
      flags->options.on_progress = [](const std::string& what) {
        fmt::print(stderr, "\r\033[K{}", what);
      };
    }
    const Result<BenchReport> report = BenchServe(flags->options);
    if (terminal) fmt::print(stderr, "\r\033[K");
    if (report.ok()) fmt::print("{}", flags->json ? ToJson(*report) + "\n" : ToText(*report));
    *exit_code = ReportStatus(report.status());
  });
}

}  // namespace onepass
