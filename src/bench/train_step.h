// One training step of a two-stage FTHSS sample: with the constant part (earlier stages' segments)
// computed without a tape, and with everything taped. Token ids are random.
#pragma once

#include <cstdint>

#include "bench/bench_base.h"
#include "bench/report.h"
#include "core/status.h"
#include "model/transformer.h"
#include "prompt/soft_prompt.h"

namespace onepass {

struct TrainStepOptions {
  BenchBaseOptions base;
  Placement placement = Placement::kFront;
  TapeMode tape_mode = TapeMode::kKeepActivations;
  int64_t prompt_length = 100;    // P of each of the two prompts
  int64_t token_count = 1024;     // text tokens of one sample, over the five text segments
  int64_t shared_tokens = 24;     // S, of token_count
  int64_t output_a_tokens = 128;  // O_A; I_A (the documents) takes what is left
  int64_t input_b_tokens = 24;    // I_B
  int64_t output_b_tokens = 24;   // O_B
  int64_t batch_size = 1;         // samples of one micro-batch
  int repeats = 3;                // timed steps after one warm-up; the median is reported
  uint64_t seed = 1;

  Status Validate() const;
};

// A row with the constants untaped and one with everything taped; both have the same loss.
//   seconds          forward, loss and backward of the micro-batch: median
//   tape_bytes       activations and gradients that the tape held at its largest
//   kv_bytes         peak of the page pool
//   resident_bytes   peak resident memory of the process beyond what it had before the first step
//   taped_tokens     rows through the model with a backward; constant_tokens: and without
//   loss             mean over the targets
Result<BenchReport> BenchTrainStep(const TrainStepOptions& options);

}  // namespace onepass
