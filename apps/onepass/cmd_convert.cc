// onepass convert BASE OUT --weights q8|q4|f32|bf16: writes a base with its weights in another
// type, and says what that costs.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "commands.h"
#include "core/file.h"
#include "engine/base_tokenizer.h"
#include "eval/base_error.h"
#include "model/convert.h"
#include "world_text.h"

namespace onepass {
namespace {

struct ConvertFlags {
  std::string base;
  std::string out;
  std::string weights;
  std::string head;
  std::string text;
  int64_t text_tokens = 4096;
  int thread_count = 0;
  bool force = false;
};

BlockType TypeOf(const std::string& flag) {
  if (flag == "f32") return BlockType::kF32;
  if (flag == "bf16") return BlockType::kBF16;
  return flag == "q4" ? BlockType::kQ4_0 : BlockType::kQ8_0;
}

ConvertOptions OptionsOf(const ConvertFlags& flags) {
  const BlockType weights = TypeOf(flags.weights);
  const BlockType unsaid = DenseDType(weights) ? weights : BlockType::kQ8_0;
  return {.weights = weights, .head = flags.head.empty() ? unsaid : TypeOf(flags.head)};
}

// One line that rewrites itself on a terminal; nothing elsewhere.
void ShowDone(const char* what, int64_t done, int64_t total) {
  static const bool is_terminal = isatty(STDERR_FILENO) != 0;
  if (!is_terminal) return;
  std::fprintf(stderr, "\r\033[K%s: %lld/%lld%s", what, static_cast<long long>(done),
               static_cast<long long>(total), done == total ? "\r\033[K" : "");
}

Status RefuseFullFolder(const ConvertFlags& flags) {
  std::error_code error;
  const bool is_empty =
      !std::filesystem::exists(flags.out, error) || std::filesystem::is_empty(flags.out, error);
  if (is_empty || flags.force) return Status::Ok();
  return InvalidArgument("convert: want an empty or new folder, or --force, found files (" +
                         flags.out + ")");
}

Status PrintError(const ConvertFlags& flags, std::string_view text) {
  const BaseOptions options{.backend = "cpu", .thread_count = flags.thread_count};
  ASSIGN_OR_RETURN(const auto before, LoadBase(flags.base, options));
  ASSIGN_OR_RETURN(const auto after, LoadBase(flags.out, options));
  ASSIGN_OR_RETURN(
      const BaseError error,
      CompareBases(*before, *after, text, {.max_tokens = flags.text_tokens},
                   [](int64_t done, int64_t total) { ShowDone("tokens", done, total); }));
  fmt::print(
      "perplexity {:.4f}, was {:.4f} ({:+.2f}%); mean KL {:.6f} nats; top-1 agreement "
      "{:.2f}%; {} tokens\n",
      error.other_perplexity, error.perplexity,
      100 * (error.other_perplexity / error.perplexity - 1), error.mean_kl,
      100 * error.top1_agreement, error.token_count);
  return Status::Ok();
}

Status Run(const ConvertFlags& flags) {
  ASSIGN_OR_RETURN(const auto base, Checkpoint::Open(flags.base));
  std::string text;
  if (!flags.text.empty()) {
    ASSIGN_OR_RETURN(text, ReadFile(flags.text, int64_t{1} << 30));
  }
  RETURN_IF_ERROR(RefuseFullFolder(flags));
  ThreadPool pool(flags.thread_count);
  ASSIGN_OR_RETURN(const ConvertReport report, ConvertBase(*base, OptionsOf(flags), flags.out, pool,
                                                           [](int64_t done, int64_t total) {
                                                             ShowDone("tensors", done, total);
                                                           }));
  fmt::print("{}: {:.1f} MB, was {:.1f}; {} matrices quantised", flags.out,
             static_cast<double>(report.bytes) * 1e-6,
             static_cast<double>(base->stored_bytes()) * 1e-6, report.quantised_count);
  if (report.dense_matrix_count > 0) {
    fmt::print(", {} left as they are (rows that are no multiple of 32)",
               report.dense_matrix_count);
  }
  fmt::print("\n");
  if (FolderTokenizerPath(flags.base).empty()) {
    fmt::print("error not measured: the base has neither tokenizer.json nor tokenizer.model\n");
    return Status::Ok();
  }
  // Some four bytes a token.
  return PrintError(flags, text.empty() ? WorldText(8 * flags.text_tokens) : text);
}

}  // namespace

void AddConvertCommand(CLI::App& app, int* exit_code) {
  CLI::App* convert =
      app.add_subcommand("convert", "write a base with weights in 8 or 4 bits, or dense again");
  auto flags = std::make_shared<ConvertFlags>();
  const CLI::IsMember kinds({"q8", "q4", "f32", "bf16"});
  convert->add_option("BASE", flags->base, "a base's folder")->required();
  convert->add_option("OUT", flags->out, "folder to write")->required();
  convert->add_option("--weights", flags->weights, "of the layers; f32, bf16: of all but the head")
      ->check(kinds)
      ->required();
  convert
      ->add_option("--head", flags->head,
                   "of the head (and of an embedding tied to it); default: q8, or f32 or bf16 as "
                   "the layers")
      ->check(kinds);
  convert->add_option("--text", flags->text,
                      "file to measure the error on, instead of texts of the generated world");
  convert->add_option("--text-tokens", flags->text_tokens, "tokens of it that are used, at most")
      ->check(CLI::Range(2, 1'000'000))
      ->capture_default_str();
  convert->add_option("--threads", flags->thread_count, "0: one per hardware thread")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  convert->add_flag("--force", flags->force, "write into a folder that has files");
  convert->callback([flags, exit_code] { *exit_code = ReportStatus(Run(*flags)); });
}

}  // namespace onepass
