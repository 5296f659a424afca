// Runs a recipe: optimizer steps over the samples, validation, logs, checkpoints. A run that was
// killed at any moment goes on from its last checkpoint and repeats, bit for bit, the losses that
// it would have had, on machines of one instruction set (docs/adr/0008-one-order-of-sums.md); on
// another one it goes on with a warning.
//
// OUT/best, OUT/last            prompts (best: of lowest validation loss; without one, the last);
//                               of several stages a folder each in them, by name
// OUT/metrics.jsonl             one object a step, and one a validation
// OUT/events.out.tfevents...    the same for TensorBoard
// OUT/checkpoint.safetensors    what resuming needs
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/status.h"
#include "train/recipe.h"

namespace onepass {

// Where a run stands after an optimizer step.
struct TrainProgress {
  int64_t step = 0;  // steps done
  int64_t total_steps = 0;
  double epoch = 0;  // passes over the data, a fraction
  double loss = 0;   // mean cross entropy of the step's targets
  double learning_rate = 0;
  double gradient_norm = 0;      // before clipping
  double tokens_per_second = 0;  // rows through the model, since this process began
  double seconds_left = 0;
};

struct TrainStart {
  int64_t samples = 0;
  int64_t validation_samples = 0;
  int64_t first_step = 0;  // steps that a checkpoint had done
  int64_t total_steps = 0;
  int prompts = 0;          // trained at once
  int64_t prompt_rows = 0;  // P of the first
  int64_t width = 0;        // C
};

// Told of a run's course, from the training thread.
class TrainObserver {
 public:
  virtual ~TrainObserver() = default;
  // Before the start: the earlier stages have written their outputs for so many records of a file.
  virtual void OnUpstreamOutputs(int64_t /*records*/) {}
  virtual void OnStart(const TrainStart&) {}
  virtual void OnStep(const TrainProgress&) {}
  virtual void OnValidation(int64_t /*step*/, double /*loss*/, bool /*best*/) {}
  // Something that was left out or cut, in one line.
  virtual void OnWarning(const std::string&) {}
};

struct TrainOptions {
  bool restart = false;               // begin anew even where OUT has a checkpoint
  TrainObserver* observer = nullptr;  // may be null
};

struct TrainReport {
  int64_t steps = 0;
  double last_loss = 0;
  std::optional<double> best_validation_loss;
  int64_t best_step = 0;
  double seconds = 0;  // trained, over all the processes that took part
  double tokens_per_second = 0;
};

Result<TrainReport> Train(const Recipe& recipe, const TrainOptions& options);

}  // namespace onepass
