#include "train/bench_train_step.h"

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "chain/plan.h"
#include "core/file.h"
#include "core/rng.h"
#include "kernels/registry.h"
#include "train/prompt_gradient.h"
#include "train/tape_plan.h"

namespace onepass {
namespace {

constexpr int64_t kPageTokens = 16;
constexpr int64_t kStartTokens = 1;

// A figure of /proc/self/status in bytes, e.g. "VmHWM:"; 0 where there is none.
int64_t StatusBytes(std::string_view field) {
  const Result<std::string> status = ReadFile("/proc/self/status");
  if (!status.ok()) return 0;
  const size_t at = status->find(field);
  if (at == std::string::npos) return 0;
  return std::strtoll(status->c_str() + at + field.size(), nullptr, 10) * 1024;
}

// Makes the peak of resident memory begin anew; where the kernel has no such thing the peak stays
// the process's.
void ResetResidentPeak() {
  if (std::FILE* file = std::fopen("/proc/self/clear_refs", "w"); file != nullptr) {
    std::fputs("5", file);
    std::fclose(file);
  }
}

// The plan of a chain of two stages, the second of which reads the first one's KV.
Result<Plan> TwoStagePlan(const TrainStepOptions& options) {
  ChainSpec spec;
  spec.name = "train-step";
  spec.base = options.base;
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
    std::vector<int32_t>& tokens = sample.tokens.emplace_back(count);
    for (int32_t& token : tokens) token = static_cast<int32_t>(rng.Uniform(vocab_size));
  }
  sample.start_count = kStartTokens;
  sample.end_token = 0;
  return sample;
}

// The model, its samples and prompts, for both ways of taking the step.
class StepBench {
 public:
  static Result<std::unique_ptr<StepBench>> Create(const TrainStepOptions& options) {
    auto bench = std::unique_ptr<StepBench>(new StepBench(options));
    ASSIGN_OR_RETURN(bench->ops_, MakeOps(options.backend, {.thread_count = options.thread_count}));
    ASSIGN_OR_RETURN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::Open(options.base));
    ASSIGN_OR_RETURN(bench->model_,
                     Transformer<float>::Create(std::move(checkpoint), *bench->ops_));
    ASSIGN_OR_RETURN(bench->plan_, TwoStagePlan(options));
    const ModelConfig& config = bench->model_->config();
    const int64_t end = options.token_count + 2 * options.prompt_length;
    if (end > config.max_positions) {
      return InvalidArgument(options.base + ": want a context of " + std::to_string(end) +
                             " tokens for this sample, found " +
                             std::to_string(config.max_positions));
    }
    Rng rng(options.seed);
    for (int64_t i = 0; i < options.batch_size; ++i) {
      bench->samples_.push_back(RandomSample(options, bench->plan_, config.vocab_size, rng));
    }
    for (Buffer<float>* prompt : {&bench->prompt_a_, &bench->prompt_b_}) {
      *prompt = Buffer<float>(options.prompt_length, config.width);
      std::vector<int32_t> ids(options.prompt_length);
      for (int32_t& id : ids) id = static_cast<int32_t>(rng.Uniform(config.vocab_size));
      bench->model_->Embed(ids, prompt->view());
    }
    return bench;
  }

  Result<TrainStepMeasure> Measure(bool taped_constants) {
    ASSIGN_OR_RETURN(const TapePlan tape, MakeTapePlan(plan_, /*stage=*/1, taped_constants));
    const std::vector<int64_t> lengths = {options_.prompt_length, options_.prompt_length};
    const int64_t pages =
        PagesNeeded(plan_, tape, lengths, samples_, options_.batch_size, kPageTokens);
    TrainStepMeasure measure;
    ResetResidentPeak();
    const int64_t resident_before = StatusBytes("VmRSS:");
    PagePool pool(model_->config().Layout(kPageTokens, DType::kF32), pages);
    PromptGradient<float> gradient(*model_, pool, plan_, tape, lengths, options_.tape_mode);
    gradient.SetConstantPrompt(0, std::as_const(prompt_a_).view());
    Buffer<float> dprompt(prompt_b_.rows(), prompt_b_.cols());
    std::vector<const TrainSample*> batch;
    for (const TrainSample& sample : samples_) batch.push_back(&sample);
    std::vector<double> seconds;
    for (int i = 0; i <= options_.repeats; ++i) {
      using Clock = std::chrono::steady_clock;
      const Clock::time_point begin = Clock::now();
      ASSIGN_OR_RETURN(const BatchLoss loss,
                       gradient.Run(batch, std::as_const(prompt_b_).view(), 1, dprompt.view()));
      if (i == 0) continue;  // warm-up; it also writes the constant front prompt, once per run
      seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
      measure.taped_tokens = loss.taped_tokens;
      measure.constant_tokens = loss.constant_tokens;
      measure.tape_bytes = loss.tape_bytes;
      measure.loss = loss.loss_sum / static_cast<double>(loss.target_count);
    }
    std::ranges::sort(seconds);
    measure.seconds = seconds[seconds.size() / 2];
    measure.kv_bytes = pool.bytes_peak();
    measure.resident_bytes = std::max<int64_t>(StatusBytes("VmHWM:") - resident_before, 0);
    return measure;
  }

 private:
  explicit StepBench(const TrainStepOptions& options) : options_(options) {}
  TrainStepOptions options_;
  std::unique_ptr<Ops<float>> ops_;
  std::unique_ptr<Transformer<float>> model_;
  Plan plan_;
  std::vector<TrainSample> samples_;
  Buffer<float> prompt_a_;
  Buffer<float> prompt_b_;
};

std::string Row(const char* name, const TrainStepMeasure& m) {
  constexpr double kMegabyte = 1e6;
  char text[256];
  std::snprintf(text, sizeof(text),
                "%-17s %8.3f s  tape %8.1f MB  KV %7.1f MB  resident +%8.1f MB  %5" PRId64
                " taped, %5" PRId64 " constant tokens  loss %.6f\n",
                name, m.seconds, static_cast<double>(m.tape_bytes) / kMegabyte,
                static_cast<double>(m.kv_bytes) / kMegabyte,
                static_cast<double>(m.resident_bytes) / kMegabyte, m.taped_tokens,
                m.constant_tokens, m.loss);
  return text;
}

nlohmann::ordered_json ToJson(const TrainStepMeasure& m) {
  return {{"seconds", m.seconds},
          {"tape_bytes", m.tape_bytes},
          {"kv_bytes", m.kv_bytes},
          {"resident_bytes", m.resident_bytes},
          {"taped_tokens", m.taped_tokens},
          {"constant_tokens", m.constant_tokens},
          {"loss", m.loss}};
}

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
  return at_least("token_count", token_count,
                  shared_tokens + output_a_tokens + input_b_tokens + output_b_tokens + 1);
}

Result<TrainStepReport> BenchTrainStep(const TrainStepOptions& options) {
  RETURN_IF_ERROR(options.Validate());
  ASSIGN_OR_RETURN(const std::unique_ptr<StepBench> bench, StepBench::Create(options));
  TrainStepReport report;
  ASSIGN_OR_RETURN(report.constant_untaped, bench->Measure(/*taped_constants=*/false));
  ASSIGN_OR_RETURN(report.all_taped, bench->Measure(/*taped_constants=*/true));
  return report;
}

std::string FormatTrainStepReport(const TrainStepOptions& options, const TrainStepReport& report) {
  char head[256];
  std::snprintf(head, sizeof(head),
                "one FTHSS step of stage B: %" PRId64 " x %" PRId64 " text tokens, P = %" PRId64
                ", %s placement, backend %s\n",
                options.batch_size, options.token_count, options.prompt_length,
                std::string(NameOf(options.placement)).c_str(), options.backend.c_str());
  char ratio[128];
  std::snprintf(ratio, sizeof(ratio), "%-17s %8.2f x     tape %8.2f x\n", "gain",
                report.all_taped.seconds / report.constant_untaped.seconds,
                static_cast<double>(report.all_taped.tape_bytes) /
                    static_cast<double>(report.constant_untaped.tape_bytes));
  return head + Row("constant untaped", report.constant_untaped) +
         Row("everything taped", report.all_taped) + ratio;
}

std::string TrainStepReportToJson(const TrainStepOptions& options, const TrainStepReport& report) {
  const nlohmann::ordered_json json = {
      {"base", options.base},
      {"backend", options.backend},
      {"threads", options.thread_count},
      {"placement", NameOf(options.placement)},
      {"prompt_length", options.prompt_length},
      {"token_count", options.token_count},
      {"batch_size", options.batch_size},
      {"activation_checkpointing", options.tape_mode == TapeMode::kRecomputeActivations},
      {"constant_untaped", ToJson(report.constant_untaped)},
      {"all_taped", ToJson(report.all_taped)}};
  return json.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace onepass
