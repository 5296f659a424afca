// Measurements: onepass bench machine | prefill | decode | roofline | handoff | kv-memory |
// kv-error | replay | train-step.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>

#include "bench/bench_base.h"
#include "bench/handoff.h"
#include "bench/kv_memory.h"
#include "bench/roofline.h"
#include "bench/speed.h"
#include "bench/train_step.h"
#include "commands.h"
#include "core/file.h"
#include "kernels/machine.h"
#include "kernels/registry.h"

namespace onepass {
namespace {

struct BenchFlags {
  BenchBaseOptions base;
  std::string dtype = "bf16";
  std::string weights;
  std::string instruction_set;
  std::string kv = "f32";
  DType kv_dtype = DType::kF32;
  bool json = false;
  PrefillBenchOptions prefill;
  DecodeBenchOptions decode;
  RooflineBenchOptions roofline;
  std::string picture;
  HandoffBenchOptions handoff;
  int64_t rounds = 4;
  TrainStepOptions train_step;
  std::string placement = "front";
  bool activation_checkpointing = false;
};

// What a terminal shows of progress stands on the line where the result or a fault goes.
void ClearProgress(const BenchFlags& flags) {
  if (flags.base.on_progress) fmt::print(stderr, "\r\033[K");
}

Status Print(const BenchFlags& flags, const Result<BenchReport>& report) {
  if (!report.ok()) return report.status();
  ClearProgress(flags);
  fmt::print("{}", flags.json ? ToJson(*report) + "\n" : ToText(*report));
  return Status::Ok();
}

Status RunTrainStep(const BenchFlags& flags) {
  TrainStepOptions options = flags.train_step;
  options.base = flags.base;
  ASSIGN_OR_RETURN(options.placement, ParsePlacement(flags.placement));
  if (flags.activation_checkpointing) options.tape_mode = TapeMode::kRecomputeActivations;
  return Print(flags, BenchTrainStep(options));
}

Status RunRoofline(const BenchFlags& flags) {
  RooflineBenchOptions options = flags.roofline;
  options.base = flags.base;
  options.kv_dtype = flags.kv_dtype;
  // Before the minutes of measuring: a file that cannot be written.
  ASSIGN_OR_RETURN(const auto picture, AtomicFileWriter::Create(flags.picture));
  ASSIGN_OR_RETURN(const RooflineResult result, BenchRoofline(options));
  RETURN_IF_ERROR(picture->Write(result.svg));
  RETURN_IF_ERROR(picture->Commit());
  return Print(flags, result.report);
}

void AddBaseFlags(CLI::App& command, BenchFlags& flags) {
  auto* model = command.add_option("--model", flags.base.model, "a model folder or a GGUF file");
  command.add_option("--shape", flags.base.shape, "random weights of a named shape")
      ->check(ParsedBy(NamedShape))
      ->capture_default_str()
      ->excludes(model);
  command.add_option("--dtype", flags.dtype, "of random weights")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}))
      ->capture_default_str();
  command.add_option("--weights", flags.weights, "convert all matrices to 8 or 4 bits first")
      ->check(CLI::IsMember({"q8", "q4"}));
  command.add_option("--backend", flags.base.backend, "kernels")
      ->check(CLI::IsMember(BackendNames()))
      ->capture_default_str();
}

void AddKvFlag(CLI::App& command, BenchFlags& flags) {
  command.add_option("--kv", flags.kv, "what KV is stored in: f32, bf16 or int8")
      ->check(ParsedBy(ParseKvType))
      ->capture_default_str();
}

// A measurement: its own flags were added to the returned command; `work` runs when it is chosen.
CLI::App* AddMeasurement(CLI::App& bench, std::shared_ptr<BenchFlags> flags, const char* name,
                         const char* description, int* exit_code,
                         std::function<Status(const BenchFlags&)> work) {
  CLI::App* command = bench.add_subcommand(name, description);
  command->add_flag("--json", flags->json, "one line of JSON instead of text");
  command->add_option("--threads", flags->base.thread_count, "0: one per hardware thread")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command
      ->add_option("--instruction-set", flags->instruction_set,
                   "as if the machine had no better one; " + std::string(InstructionSetName()) +
                       " is its best")
      ->check(CLI::IsMember(InstructionSetNames()));
  command->callback([flags, exit_code, work = std::move(work)] {
    flags->base.dtype = flags->dtype == "f32"   ? DType::kF32
                        : flags->dtype == "f16" ? DType::kF16
                                                : DType::kBF16;
    // Only measurements of inference have the flag.
    if (const Result<DType> kv = ParseKvType(flags->kv); kv.ok()) flags->kv_dtype = *kv;
    if (flags->weights == "q8") flags->base.weights = BlockType::kQ8_0;
    if (flags->weights == "q4") flags->base.weights = BlockType::kQ4_0;
    if (const char* folder = std::getenv("TMPDIR"); folder != nullptr && *folder != '\0') {
      flags->base.scratch = folder;
    }
    if (isatty(STDERR_FILENO) != 0) {
      flags->base.on_progress = [](const std::string& text) {
        fmt::print(stderr, "\r\033[K{}", text);
      };
    }
    ForceInstructionSet(flags->instruction_set);
    const Status status = work(*flags);
    if (!status.ok()) ClearProgress(*flags);
    *exit_code = ReportStatus(status);
  });
  return command;
}

}  // namespace

void AddBenchCommand(CLI::App& app, int* exit_code) {
  CLI::App& bench =
      *app.add_subcommand("bench", "Measure the machine, the engine and a training step");
  bench.require_subcommand(1);
  auto flags = std::make_shared<BenchFlags>();
  const CLI::Range count(1, 1'000'000);

  AddMeasurement(bench, flags, "machine", "Peak GFLOP/s and memory bandwidth", exit_code,
                 [](const BenchFlags& f) { return Print(f, BenchMachine(f.base.thread_count)); });

  CLI::App* prefill = AddMeasurement(bench, flags, "prefill", "Speed of reading", exit_code,
                                     [](const BenchFlags& f) {
                                       PrefillBenchOptions options = f.prefill;
                                       options.base = f.base;
                                       options.kv_dtype = f.kv_dtype;
                                       return Print(f, BenchPrefill(options));
                                     });
  AddBaseFlags(*prefill, *flags);
  AddKvFlag(*prefill, *flags);
  prefill
      ->add_option("--tokens", flags->prefill.token_counts,
                   "tokens of the text; several: a row each")
      ->delimiter(',')
      ->check(count)
      ->capture_default_str();
  prefill->add_option("--repeats", flags->prefill.repeats)->check(count)->capture_default_str();

  CLI::App* decode = AddMeasurement(bench, flags, "decode", "Speed of writing", exit_code,
                                    [](const BenchFlags& f) {
                                      DecodeBenchOptions options = f.decode;
                                      options.base = f.base;
                                      options.kv_dtype = f.kv_dtype;
                                      return Print(f, BenchDecode(options));
                                    });
  AddBaseFlags(*decode, *flags);
  AddKvFlag(*decode, *flags);
  decode->add_option("--context", flags->decode.context_tokens, "tokens in the cache before")
      ->check(count)
      ->capture_default_str();
  decode->add_option("--tokens", flags->decode.step_count, "steps of a run")
      ->check(count)
      ->capture_default_str();
  decode->add_option("--batch", flags->decode.batch_sizes, "sequences at once; several: a row each")
      ->delimiter(',')
      ->check(count)
      ->capture_default_str();
  decode->add_option("--repeats", flags->decode.repeats)->check(count)->capture_default_str();

  CLI::App* roofline =
      AddMeasurement(bench, flags, "roofline", "Reading and writing below the machine's roofs",
                     exit_code, RunRoofline);
  AddBaseFlags(*roofline, *flags);
  AddKvFlag(*roofline, *flags);
  roofline->add_option("--out", flags->picture, "the picture, an SVG file")->required();
  roofline->add_option("--tokens", flags->roofline.token_counts, "lengths of the texts read")
      ->delimiter(',')
      ->check(count)
      ->capture_default_str();
  roofline->add_option("--batch", flags->roofline.batch_sizes, "sequences written at once")
      ->delimiter(',')
      ->check(count)
      ->capture_default_str();
  roofline->add_option("--context", flags->roofline.context_tokens, "tokens in the cache before")
      ->check(count)
      ->capture_default_str();
  roofline->add_option("--steps", flags->roofline.steps, "of a decode")
      ->check(count)
      ->capture_default_str();
  roofline->add_option("--repeats", flags->roofline.repeats)->check(count)->capture_default_str();

  CLI::App* handoff =
      AddMeasurement(bench, flags, "handoff", "Latency of the second stage, by hand-off and length",
                     exit_code, [](const BenchFlags& f) {
                       HandoffBenchOptions options = f.handoff;
                       options.base = f.base;
                       options.kv_dtype = f.kv_dtype;
                       return Print(f, BenchHandoff(options));
                     });
  CLI::App* memory = AddMeasurement(
      bench, flags, "kv-memory", "KV bytes of 1, 2 and 3 models that take turns, by hand-off",
      exit_code, [](const BenchFlags& f) {
        return Print(f, BenchKvMemory({.base = f.base,
                                       .kv_dtype = f.kv_dtype,
                                       .lengths = f.handoff.lengths,
                                       .prompt_length = f.handoff.prompt_length,
                                       .shared_tokens = f.handoff.shared_tokens,
                                       .rounds = f.rounds}));
      });
  memory->add_option("--rounds", flags->rounds, "in which they take turns")
      ->check(count)
      ->capture_default_str();
  for (CLI::App* command : {handoff, memory}) {
    AddBaseFlags(*command, *flags);
    AddKvFlag(*command, *flags);
    command->add_option("--tokens", flags->handoff.lengths, "lengths of the text handed over")
        ->delimiter(',')
        ->check(count)
        ->capture_default_str();
    command->add_option("--prompt-length", flags->handoff.prompt_length)
        ->check(count)
        ->capture_default_str();
    command->add_option("--shared", flags->handoff.shared_tokens)
        ->check(count)
        ->capture_default_str();
  }
  handoff->add_option("--input", flags->handoff.input_tokens, "tokens of the own input")
      ->check(count)
      ->capture_default_str();
  handoff->add_option("--output", flags->handoff.output_tokens, "tokens to write")
      ->check(count)
      ->capture_default_str();
  handoff->add_option("--runs", flags->handoff.runs)->check(count)->capture_default_str();

  AddKvErrorCommand(bench, exit_code);
  AddReplayCommand(bench, exit_code);
  AddServeBenchCommand(bench, exit_code);

  CLI::App* step = AddMeasurement(bench, flags, "train-step",
                                  "A training step with the constant part untaped, and all taped",
                                  exit_code, RunTrainStep);
  AddBaseFlags(*step, *flags);
  step->add_option("--placement", flags->placement, "of the prompts")
      ->check(CLI::IsMember({"front", "inline"}))
      ->capture_default_str();
  step->add_option("--prompt-length", flags->train_step.prompt_length)
      ->check(count)
      ->capture_default_str();
  step->add_flag("--activation-checkpointing", flags->activation_checkpointing,
                 "keep each layer's input only, run the layer again in the backward");
  step->add_option("--tokens", flags->train_step.token_count, "text tokens of a sample")
      ->check(count)
      ->capture_default_str();
  step->add_option("--input-b", flags->train_step.input_b_tokens,
                   "of them, the second stage's own input")
      ->check(count)
      ->capture_default_str();
  step->add_option("--batch", flags->train_step.batch_size)->check(count)->capture_default_str();
  step->add_option("--repeats", flags->train_step.repeats)->check(count)->capture_default_str();
}

}  // namespace onepass
