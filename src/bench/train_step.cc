#include "bench/train_step.h"

#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <utility>
#include <vector>

#include "bench/measure.h"
#include "chain/plan.h"
#include "core/file.h"
#include "core/rng.h"
#include "core/stopwatch.h"
#include "train/prompt_gradient.h"
#include "train/tape_plan.h"

namespace onepass {
namespace {

constexpr int64_t kTrainPageTokens = 16;
constexpr int64_t kStartTokens = 1;

// A figure of /proc/self/status in bytes, e.g. "VmHWM:"; 0 where there is none.
int64_t StatusBytes(std::string_view field) {
  const Result<std::string> status = ReadFile("/proc/self/status");
  if (!status.ok()) return 0;
  const size_t at = status->find(field);
  if (at == std::string::npos) return 0;
  return std::strtoll(status->c_str() + at + field.size(), nullptr, 10) * 1024;
}

// Makes the peak of resident memory begin anew, without what was freed; where the kernel has no
// such thing the peak stays the process's.
void ResetResidentPeak() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  if (std::FILE* file = std::fopen("/proc/self/clear_refs", "w"); file != nullptr) {
    std::fputs("5", file);
    std::fclose(file);
  }
}

// The plan of a chain of two stages, the second of which reads the first one's KV.
Result<Plan> TwoStagePlan(const TrainStepOptions& options) {
  ChainSpec spec;
  spec.name = "train-step";
  spec.base = options.base.Name();
  spec.placement = options.placement;
  spec.handoff = Handoff::kKv;
  spec.shared = "S";
  spec.stages.resize(2);
  spec.stages[0].name = "a";
  spec.stages[1].name = "b";
  for (StageSpec& stage : spec.stages) {
    stage.input = "I";
    stage.start = "start";
  }
  return CompilePlan(spec, {options.prompt_length, options.prompt_length});
}

TrainSample RandomSample(const TrainStepOptions& options, const Plan& plan, int64_t vocab_size,
                         Rng& rng) {
  TrainSample sample;
  for (const PlannedSegment& segment : plan.segments) {
    int64_t count = 0;
    const bool second = segment.stage == 1;
    if (segment.kind == SegmentKind::kSharedInput) count = options.shared_tokens;
    if (segment.kind == SegmentKind::kOutput) {
      count = second ? options.output_b_tokens : options.output_a_tokens;
    }
    if (segment.kind == SegmentKind::kOwnInput) {
      count = second ? options.input_b_tokens
                     : options.token_count - options.shared_tokens - options.output_a_tokens -
                           options.input_b_tokens - options.output_b_tokens;
    }
    sample.tokens.push_back(RandomTokens(count, vocab_size, rng));
  }
  sample.ran = {true, true};
  sample.targets = {{.id = plan.OutputOf(1), .start_count = kStartTokens, .end_token = 0}};
  return sample;
}

// One way to take the step: a row of the report.
struct StepCost {
  Spread seconds;
  int64_t tape_bytes = 0;
  int64_t kv_bytes = 0;
  int64_t resident_bytes = 0;
  int64_t taped_tokens = 0;
  int64_t constant_tokens = 0;
  double loss = 0;
};

// Samples and prompts, for both ways of taking the step.
class StepBench {
 public:
  static Result<std::unique_ptr<StepBench>> Create(const Base& base,
                                                   const TrainStepOptions& options) {
    auto bench = std::unique_ptr<StepBench>(new StepBench(base, options));
    ASSIGN_OR_RETURN(bench->plan_, TwoStagePlan(options));
    const ModelConfig& config = base.config();
    RETURN_IF_ERROR(WantPositions(config, options.token_count + 2 * options.prompt_length));
    Rng rng(options.seed);
    for (int64_t i = 0; i < options.batch_size; ++i) {
      bench->samples_.push_back(RandomSample(options, bench->plan_, config.vocab_size, rng));
    }
    for (Buffer<float>* prompt : {&bench->prompt_a_, &bench->prompt_b_}) {
      *prompt = Buffer<float>(options.prompt_length, config.width);
      base.model->Embed(RandomTokens(options.prompt_length, config.vocab_size, rng),
                        prompt->view());
    }
    bench->resident_before_ = StatusBytes("VmRSS:");
    return bench;
  }

  Result<StepCost> Run(bool taped_constants) {
    ASSIGN_OR_RETURN(const TapePlan tape, MakeTapePlan(plan_, {1}, taped_constants));
    const std::vector<int64_t> lengths = {options_.prompt_length, options_.prompt_length};
    const int64_t pages =
        PagesNeeded(plan_, tape, lengths, samples_, options_.batch_size, kTrainPageTokens);
    const KvLayout layout = base_.config().Layout(kTrainPageTokens, DType::kF32);
    RETURN_IF_ERROR(WantPages(layout, pages));
    StepCost measure;
    ResetResidentPeak();
    PagePool pool(layout, pages);
    PromptGradient<float> gradient(*base_.model, pool, plan_, tape, lengths, options_.tape_mode);
    gradient.SetConstantPrompt(0, std::as_const(prompt_a_).view());
    Buffer<float> dprompt(prompt_b_.rows(), prompt_b_.cols());
    std::vector<const TrainSample*> batch;
    for (const TrainSample& sample : samples_) batch.push_back(&sample);
    std::vector<double> seconds;
    for (int i = 0; i <= options_.repeats; ++i) {
      options_.base.Tell(
          "constants " + std::string(taped_constants ? "taped, " : "untaped, ") +
          (i == 0 ? "warm-up"
                  : "step " + std::to_string(i) + " of " + std::to_string(options_.repeats)));
      const Stopwatch watch;
      ASSIGN_OR_RETURN(const BatchLoss loss,
                       gradient.Run(batch, std::as_const(prompt_b_).view(), 1, dprompt.view()));
      if (i == 0) continue;  // warm-up; it also writes the constant front prompt, once per run
      seconds.push_back(watch.Seconds());
      measure.taped_tokens = loss.taped_tokens;
      measure.constant_tokens = loss.constant_tokens;
      measure.tape_bytes = loss.tape_bytes;
      measure.loss = loss.loss_sum / static_cast<double>(loss.target_count);
    }
    measure.seconds = SpreadOf(std::move(seconds));
    measure.kv_bytes = pool.bytes_peak();
    measure.resident_bytes = std::max<int64_t>(StatusBytes("VmHWM:") - resident_before_, 0);
    return measure;
  }

 private:
  StepBench(const Base& base, const TrainStepOptions& options) : base_(base), options_(options) {}
  const Base& base_;
  const TrainStepOptions& options_;
  Plan plan_;
  std::vector<TrainSample> samples_;
  Buffer<float> prompt_a_;
  Buffer<float> prompt_b_;
  int64_t resident_before_ = 0;  // with base, samples and prompts, before any step
};

}  // namespace

Status TrainStepOptions::Validate() const {
  const auto at_least = [](const char* name, int64_t value, int64_t least) {
    if (value >= least) return Status::Ok();
    return InvalidArgument(std::string(name) + ": want " + std::to_string(least) +
                           " or more, found " + std::to_string(value));
  };
  RETURN_IF_ERROR(at_least("prompt_length", prompt_length, 1));
  RETURN_IF_ERROR(at_least("shared_tokens", shared_tokens, 1));
  RETURN_IF_ERROR(at_least("output_a_tokens", output_a_tokens, kStartTokens + 1));
  RETURN_IF_ERROR(at_least("input_b_tokens", input_b_tokens, 1));
  RETURN_IF_ERROR(at_least("output_b_tokens", output_b_tokens, kStartTokens + 1));
  RETURN_IF_ERROR(at_least("batch_size", batch_size, 1));
  RETURN_IF_ERROR(at_least("repeats", repeats, 1));
  return at_least("tokens", token_count,
                  shared_tokens + output_a_tokens + input_b_tokens + output_b_tokens + 1);
}

Result<BenchReport> BenchTrainStep(const TrainStepOptions& options) {
  RETURN_IF_ERROR(options.Validate());
  ASSIGN_OR_RETURN(const BenchFolder folder, BenchFolder::Create(options.base));
  ASSIGN_OR_RETURN(const auto base, LoadBenchBase(folder.path(), options.base));
  ASSIGN_OR_RETURN(const std::unique_ptr<StepBench> bench, StepBench::Create(*base, options));
  ASSIGN_OR_RETURN(const StepCost untaped, bench->Run(/*taped_constants=*/false));
  ASSIGN_OR_RETURN(const StepCost taped, bench->Run(/*taped_constants=*/true));
  const BenchFacts step = {
      {"placement", std::string(NameOf(options.placement))},
      {"activation_checkpointing",
       std::string(options.tape_mode == TapeMode::kRecomputeActivations ? "yes" : "no")},
      {"prompt_length", options.prompt_length},
      {"token_count", options.token_count},
      {"batch_size", options.batch_size},
      {"repeats", int64_t{options.repeats}},
      {"times_faster", taped.seconds.median / untaped.seconds.median},
      {"times_less_tape",
       static_cast<double>(taped.tape_bytes) / static_cast<double>(untaped.tape_bytes)}};
  BenchReport report{
      .name = "train-step",
      .facts = FactsOf(*base, options.base, step),
      .columns = {"constants", "seconds", "seconds_low", "seconds_high", "tape_bytes", "kv_bytes",
                  "resident_bytes", "taped_tokens", "constant_tokens", "loss"},
      .rows = {}};
  for (const StepCost* m : {&untaped, &taped}) {
    report.rows.push_back({std::string(m == &taped ? "taped" : "untaped"), m->seconds.median,
                           m->seconds.low, m->seconds.high, m->tape_bytes, m->kv_bytes,
                           m->resident_bytes, m->taped_tokens, m->constant_tokens, m->loss});
  }
  return report;
}

}  // namespace onepass
