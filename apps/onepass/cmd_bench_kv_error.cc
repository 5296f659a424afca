// onepass bench kv-error BASE: what it costs to store KV in fewer bits, on a text.
#include <fmt/format.h>

#include <memory>
#include <string>

#include "bench/report.h"
#include "commands.h"
#include "core/file.h"
#include "engine/engine.h"
#include "eval/base_error.h"
#include "kernels/registry.h"
#include "world_text.h"

namespace onepass {
namespace {

struct KvErrorFlags {
  std::string model;
  std::string text;
  BaseErrorOptions error;
  BaseOptions base;
  bool json = false;
};

Status Run(const KvErrorFlags& flags) {
  // Some four bytes a token.
  std::string text;
  if (flags.text.empty()) {
    text = WorldText(8 * flags.error.max_tokens);
  } else {
    ASSIGN_OR_RETURN(text, ReadFile(flags.text, int64_t{1} << 30));
  }
  ASSIGN_OR_RETURN(const auto base, LoadBase(flags.model, flags.base));
  BenchReport report{.name = "kv-error",
                     .facts = {{"base", flags.model},
                               {"text", flags.text.empty() ? "generated world" : flags.text},
                               {"window_tokens", flags.error.window_tokens}},
                     .columns = {"kv", "bytes_per_token", "perplexity", "change_percent",
                                 "mean_kl_nats", "top1_agreement_percent"},
                     .rows = {}};
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
    BaseErrorOptions options = flags.error;
    options.other_kv_dtype = dtype;
    ASSIGN_OR_RETURN(const BaseError error, CompareBases(*base, *base, text, options));
    if (dtype == DType::kF32) report.facts.emplace_back("scored_tokens", error.token_count);
    report.rows.push_back({std::string(KvTypeName(dtype)),
                           base->config().Layout(1, dtype).TokenBytes(), error.other_perplexity,
                           100 * (error.other_perplexity / error.perplexity - 1), error.mean_kl,
                           100 * error.top1_agreement});
  }
  fmt::print("{}", flags.json ? ToJson(report) + "\n" : ToText(report));
  return Status::Ok();
}

}  // namespace

void AddKvErrorCommand(CLI::App& bench, int* exit_code) {
  CLI::App* command = bench.add_subcommand(
      "kv-error", "Perplexity of a text with KV in f32, bf16 and int8, and the distance from f32");
  auto flags = std::make_shared<KvErrorFlags>();
  command->add_flag("--json", flags->json, "one line of JSON instead of text");
  command->add_option("--model", flags->model, "a model folder or a GGUF file")->required();
  command->add_option("--text", flags->text, "file, instead of texts of the generated world");
  command->add_option("--text-tokens", flags->error.max_tokens, "tokens of it, at most")
      ->check(CLI::Range(2, 1'000'000))
      ->capture_default_str();
  command->add_option("--window", flags->error.window_tokens, "tokens that are read at once")
      ->check(CLI::Range(2, 1'000'000))
      ->capture_default_str();
  command->add_option("--backend", flags->base.backend, "kernels")
      ->check(CLI::IsMember(BackendNames()))
      ->capture_default_str();
  command->add_option("--threads", flags->base.thread_count, "0: one per hardware thread")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->callback([flags, exit_code] { *exit_code = ReportStatus(Run(*flags)); });
}

}  // namespace onepass
