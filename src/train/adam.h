// Adam over one prompt's vectors, with decoupled weight decay (0 by default), and the learning
// rate's course over a run.
#pragma once

#include <cstdint>

#include "tensor/tensor.h"
#include "train/recipe.h"

namespace onepass {

struct AdamOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
};

// Kingma & Ba, "Adam: A Method for Stochastic Optimization", algorithm 1; weight decay as in
// Loshchilov & Hutter. State is f32, the arithmetic of an element double. Thread-compatible.
class Adam {
 public:
  Adam(const AdamOptions& options, int64_t rows, int64_t cols);

  // parameters -= learning_rate * (update + weight_decay * parameters).
  void Step(double learning_rate, View<const float> gradient, View<float> parameters);

  int64_t step_count() const { return step_count_; }
  const Buffer<float>& first_moment() const { return first_; }
  const Buffer<float>& second_moment() const { return second_; }
  // Continues from a checkpoint. REQUIRES: the same shapes.
  void Restore(int64_t step_count, View<const float> first, View<const float> second);

 private:
  AdamOptions options_;
  int64_t step_count_ = 0;
  Buffer<float> first_;
  Buffer<float> second_;
};

// Euclidean norm of a gradient, summed in double.
double GradientNorm(View<const float> gradient);
// Scales the gradient so that its norm is at most clip_norm (0: never).
void ClipGradient(double norm, double clip_norm, View<float> gradient);

// The learning rate of step 0 .. total_steps - 1: rises linearly over the first
// ceil(warmup_ratio * total_steps) steps, the last of which has the peak; then, for kLinear, falls
// by equal amounts so that the step after the last one would have 0.
double LearningRateAt(LearningRateSchedule schedule, double peak, double warmup_ratio, int64_t step,
                      int64_t total_steps);

}  // namespace onepass
