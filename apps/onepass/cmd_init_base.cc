// onepass init-base: writes a random base of any shape, for benchmarks and tests.
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <string>

#include "commands.h"
#include "core/file.h"
#include "model/checkpoint.h"
#include "tokenizer/tokenizer.h"

namespace onepass {
namespace {

struct InitBaseFlags {
  std::string config;
  std::string shape;
  std::string dtype = "F32";
  std::string tokenizer;
  std::string out;
  uint64_t seed = 0;
  bool force = false;
};

Status RefuseFullFolder(const InitBaseFlags& flags) {
  std::error_code error;
  const bool is_empty =
      !std::filesystem::exists(flags.out, error) || std::filesystem::is_empty(flags.out, error);
  if (is_empty || flags.force) return Status::Ok();
  return InvalidArgument("init-base: want an empty or new folder, or --force, found files (" +
                         flags.out + ")");
}

Status Run(const InitBaseFlags& flags) {
  ModelConfig config;
  if (!flags.shape.empty()) {
    ASSIGN_OR_RETURN(config, NamedShape(flags.shape));
  } else {
    ASSIGN_OR_RETURN(const std::string text, ReadFile(flags.config, int64_t{1} << 22));
    ASSIGN_OR_RETURN(config, ParseConfig(text, flags.config));
  }
  const auto dtype = ParseDType(flags.dtype);
  std::string tokenizer;
  if (!flags.tokenizer.empty()) {
    ASSIGN_OR_RETURN(tokenizer, ReadFile(flags.tokenizer, int64_t{1} << 28));
    ASSIGN_OR_RETURN(const auto parsed, ParseTokenizerJson(tokenizer, flags.tokenizer));
    if (parsed->Info().vocab_size > config.vocab_size) {
      return InvalidArgument(
          fmt::format("init-base: want a tokenizer of at most {} ids, found {} ({})",
                      config.vocab_size, parsed->Info().vocab_size, flags.tokenizer));
    }
  }
  RETURN_IF_ERROR(RefuseFullFolder(flags));
  RETURN_IF_ERROR(InitBase(config, *dtype, flags.seed, flags.out, tokenizer));
  fmt::print("{}: {} parameters in {}, seed {}\n", flags.out, config.ParameterCount(),
             NameOf(*dtype), flags.seed);
  return Status::Ok();
}

}  // namespace

void AddInitBaseCommand(CLI::App& app, int* exit_code) {
  CLI::App* init = app.add_subcommand("init-base", "write a random base of any shape");
  auto flags = std::make_shared<InitBaseFlags>();
  CLI::Option_group* shape = init->add_option_group("shape", "one of");
  shape->add_option("--config", flags->config, "a config.json");
  shape->add_option("--shape", flags->shape, "a named shape, e.g. smollm2-135m or llama3-8b")
      ->check(ParsedBy(NamedShape));
  shape->require_option(1);
  init->add_option("--seed", flags->seed, "same seed, same bytes")
      ->check(NotNegative())
      ->capture_default_str();
  init->add_option("--dtype", flags->dtype, "of the weights")
      ->transform(CLI::IsMember({"F32", "F16", "BF16"}, CLI::ignore_case))
      ->capture_default_str();
  init->add_option("--tokenizer", flags->tokenizer, "a tokenizer.json to put beside it");
  init->add_option("--out", flags->out, "folder to write")->required();
  init->add_flag("--force", flags->force, "write into a folder that has files");
  init->callback([flags, exit_code] { *exit_code = ReportStatus(Run(*flags)); });
}

}  // namespace onepass
