// onepass data world | babi | squad: writes samples in the authors' format, one line of JSON each.
#include <fmt/format.h>

#include <functional>
#include <memory>
#include <string>

#include "commands.h"
#include "core/file.h"
#include "eval/babi.h"
#include "eval/babi_trace.h"
#include "eval/squad.h"
#include "world/world.h"

namespace onepass {
namespace {

// Writes line(0) .. line(count - 1) to `out`, whole or not at all.
Status WriteLines(const std::string& out, int64_t count,
                  const std::function<std::string(int64_t)>& line) {
  ASSIGN_OR_RETURN(auto writer, AtomicFileWriter::Create(out));
  for (int64_t i = 0; i < count; ++i) RETURN_IF_ERROR(writer->Write(line(i) + "\n"));
  RETURN_IF_ERROR(writer->Commit());
  fmt::print("{}: {} samples\n", out, count);
  return Status::Ok();
}

struct WorldFlags {
  WorldOptions options;
  std::string task = "compress-qa";
  std::string split = "train";
  std::string out;
  bool count_given = false;
};

Status RunWorld(WorldFlags flags) {
  WorldOptions& options = flags.options;
  ASSIGN_OR_RETURN(options.task, ParseWorldTask(flags.task));
  ASSIGN_OR_RETURN(options.split, ParseSplit(flags.split));
  CheckUsage(options.Validate());
  if (options.task == WorldTask::kCorpus && flags.count_given) {
    CheckUsage(InvalidArgument("count: want none for task corpus, which is written whole, found " +
                               std::to_string(options.count)));
  }
  const WorldFile file(options);
  return WriteLines(flags.out, file.LineCount(), [&](int64_t i) { return file.Line(i); });
}

struct BabiFlags {
  BabiOptions options;
  std::string input;
  std::string split = "train";
  bool traces = false;
  std::string out;
};

Status RunBabi(BabiFlags flags) {
  ASSIGN_OR_RETURN(flags.options.split, ParseBabiSplit(flags.split));
  CheckUsage(flags.options.Validate());
  if (flags.traces) CheckUsage(CheckBabiTraceTask(flags.options.task));
  ASSIGN_OR_RETURN(const std::string text, ReadFile(flags.input, int64_t{1} << 28));
  ASSIGN_OR_RETURN(const auto samples, ReadBabi(text, flags.input, flags.options));
  return WriteLines(flags.out, static_cast<int64_t>(samples.size()), [&](int64_t i) {
    const BabiSample& sample = samples[static_cast<size_t>(i)];
    return flags.traces ? ToJson(MakeBabiTrace(sample)) : ToJson(sample);
  });
}

struct SquadFlags {
  std::string input;
  std::string split = "train";
  std::string out;
};

Status RunSquad(const SquadFlags& flags) {
  ASSIGN_OR_RETURN(const SquadSplit split, ParseSquadSplit(flags.split));
  ASSIGN_OR_RETURN(const std::string text, ReadFile(flags.input, int64_t{1} << 28));
  ASSIGN_OR_RETURN(const auto samples, ReadSquad(text, flags.input, split));
  return WriteLines(flags.out, static_cast<int64_t>(samples.size()),
                    [&](int64_t i) { return ToJson(samples[static_cast<size_t>(i)]); });
}

void AddWorldCommand(CLI::App& data, int* exit_code) {
  CLI::App* app = data.add_subcommand("world", "the generated world's samples");
  auto flags = std::make_shared<WorldFlags>();
  app->add_option("--task", flags->task,
                  "compress-qa, rewrite-qa, memory-reasoning, active-rag: a chain's samples; "
                  "corpus: the documents from which rewrite-qa and active-rag of this split and "
                  "seed retrieve; pretrain, own-formats: the base's")
      ->check(ParsedBy(ParseWorldTask))
      ->capture_default_str();
  app->add_option("--split", flags->split, "a part of the world: no two share a name")
      ->check(ParsedBy(ParseSplit))
      ->capture_default_str();
  const CLI::Option* count = app->add_option("--count", flags->options.count,
                                             "samples to write; a corpus is written whole")
                                 ->capture_default_str();
  app->add_option("--seed", flags->options.seed, "same seed, same file")
      ->check(NotNegative())
      ->capture_default_str();
  app->add_option("--level", flags->options.level,
                  "pretraining formats: 1 short texts, 2 middle, 3 all")
      ->capture_default_str();
  app->add_option("--format", flags->options.only_format, "pretraining formats: only this one");
  app->add_option("--out", flags->out, "file to write (JSONL)")->required();
  app->callback([flags, count, exit_code] {
    flags->count_given = count->count() > 0;
    *exit_code = ReportStatus(RunWorld(*flags));
  });
}

void AddBabiCommand(CLI::App& data, int* exit_code) {
  CLI::App* app = data.add_subcommand(
      "babi", "a bAbI file's questions as compress & QA samples, or as traces of several rounds");
  auto flags = std::make_shared<BabiFlags>();
  app->add_option("--input", flags->input, "a bAbI task's text file")->required();
  app->add_option("--task", flags->options.task, "the task's number")->required();
  app->add_option("--split", flags->split,
                  "test: the last 100 questions; validation: the 100 before; train: the rest")
      ->check(ParsedBy(ParseBabiSplit))
      ->capture_default_str();
  app->add_option("--last-sentences", flags->options.last_sentences,
                  "keep only the end of longer stories (0: all)")
      ->capture_default_str();
  app->add_flag("--traces", flags->traces,
                "one supporting fact a round: reason -> recall -> reason ...; of tasks 1, 2, 3, 7, "
                "8 and 15");
  app->add_option("--out", flags->out, "file to write (JSONL)")->required();
  app->callback([flags, exit_code] { *exit_code = ReportStatus(RunBabi(*flags)); });
}

void AddSquadCommand(CLI::App& data, int* exit_code) {
  CLI::App* app =
      data.add_subcommand("squad", "a SQuAD 1.1 file's questions as compress & QA samples");
  auto flags = std::make_shared<SquadFlags>();
  app->add_option("--input", flags->input, "SQuAD's JSON")->required();
  app->add_option("--split", flags->split,
                  "of every ten articles validation: the ninth; test: the tenth; train: the rest")
      ->check(ParsedBy(ParseSquadSplit))
      ->capture_default_str();
  app->add_option("--out", flags->out, "file to write (JSONL)")->required();
  app->callback([flags, exit_code] { *exit_code = ReportStatus(RunSquad(*flags)); });
}

}  // namespace

void AddDataCommand(CLI::App& app, int* exit_code) {
  CLI::App* data = app.add_subcommand("data", "write samples for training and evaluation");
  data->require_subcommand(1);
  AddWorldCommand(*data, exit_code);
  AddBabiCommand(*data, exit_code);
  AddSquadCommand(*data, exit_code);
}

}  // namespace onepass
