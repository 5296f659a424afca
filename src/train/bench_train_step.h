// Measures one training step of a two-stage FTHSS sample: with the constant part (earlier stages'
// segments) computed without a tape, and with everything taped. No tokenizer and no data are
// needed: token ids are random, and random numbers cost what real ones do.
#pragma once

#include <cstdint>
#include <string>

#include "core/status.h"
#include "model/transformer.h"
#include "prompt/soft_prompt.h"

namespace onepass {

struct TrainStepOptions {
  std::string base;  // a model folder (config.json, safetensors); no tokenizer needed
  std::string backend = "cpu";
  int thread_count = 0;  // 0: one per hardware thread
  Placement placement = Placement::kFront;
  TapeMode tape_mode = TapeMode::kKeepActivations;
  int64_t prompt_length = 100;    // p of each of the two prompts
  int64_t token_count = 1224;     // text tokens of one sample, over the five text segments
  int64_t shared_tokens = 24;     // S, of token_count
  int64_t output_a_tokens = 128;  // O_A; I_A (the documents) takes what is left
  int64_t input_b_tokens = 24;    // I_B
  int64_t output_b_tokens = 24;   // O_B
  int64_t batch_size = 1;         // samples of one micro-batch
  int repeats = 3;                // timed steps after one warm-up; the median is reported
  uint64_t seed = 1;

  Status Validate() const;
};

// One way to take the step.
struct TrainStepMeasure {
  double seconds = 0;           // forward, loss and backward of the micro-batch: median
  int64_t tape_bytes = 0;       // activations and gradients that the tape held at its largest
  int64_t kv_bytes = 0;         // peak of the page pool
  int64_t resident_bytes = 0;   // peak resident memory of the process beyond what it had before
  int64_t taped_tokens = 0;     // rows with a backward
  int64_t constant_tokens = 0;  // rows without one
  double loss = 0;              // mean over the targets: equal in both
};

struct TrainStepReport {
  TrainStepMeasure constant_untaped;
  TrainStepMeasure all_taped;
};

Result<TrainStepReport> BenchTrainStep(const TrainStepOptions& options);

// The report as a few lines of text, and as one JSON object.
std::string FormatTrainStepReport(const TrainStepOptions& options, const TrainStepReport& report);
std::string TrainStepReportToJson(const TrainStepOptions& options, const TrainStepReport& report);

}  // namespace onepass
