#include "train/adam.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace onepass {

Adam::Adam(const AdamOptions& options, int64_t rows, int64_t cols)
    : options_(options), first_(rows, cols), second_(rows, cols) {}

void Adam::Step(double learning_rate, View<const float> gradient, View<float> parameters) {
  ONEPASS_CHECK(gradient.rows() == first_.rows() && gradient.cols() == first_.cols(), "shape");
  ++step_count_;
  const double correction1 = 1 - std::pow(options_.beta1, static_cast<double>(step_count_));
  const double correction2 = 1 - std::pow(options_.beta2, static_cast<double>(step_count_));
  for (int64_t r = 0; r < first_.rows(); ++r) {
    const float* g = gradient.row(r);
    float* p = parameters.row(r);
    float* m = first_.view().row(r);
    float* v = second_.view().row(r);
    for (int64_t c = 0; c < first_.cols(); ++c) {
      const double gradient_value = g[c];
      m[c] = static_cast<float>(options_.beta1 * m[c] + (1 - options_.beta1) * gradient_value);
      v[c] = static_cast<float>(options_.beta2 * v[c] +
                                (1 - options_.beta2) * gradient_value * gradient_value);
      const double update =
          (m[c] / correction1) / (std::sqrt(v[c] / correction2) + options_.epsilon);
      p[c] = static_cast<float>(p[c] - learning_rate * (update + options_.weight_decay * p[c]));
    }
  }
}

void Adam::Restore(int64_t step_count, View<const float> first, View<const float> second) {
  ONEPASS_CHECK(first.rows() == first_.rows() && first.cols() == first_.cols(), "shape");
  ONEPASS_CHECK(second.rows() == second_.rows() && second.cols() == second_.cols(), "shape");
  step_count_ = step_count;
  for (int64_t r = 0; r < first_.rows(); ++r) {
    std::copy_n(first.row(r), first_.cols(), first_.view().row(r));
    std::copy_n(second.row(r), second_.cols(), second_.view().row(r));
  }
}

double GradientNorm(View<const float> gradient) {
  double sum = 0;
  for (int64_t r = 0; r < gradient.rows(); ++r) {
    for (int64_t c = 0; c < gradient.cols(); ++c) {
      sum += static_cast<double>(gradient(r, c)) * static_cast<double>(gradient(r, c));
    }
  }
  return std::sqrt(sum);
}

void ClipGradient(double norm, double clip_norm, View<float> gradient) {
  if (clip_norm <= 0 || norm <= clip_norm) return;
  const float scale = static_cast<float>(clip_norm / norm);
  for (int64_t r = 0; r < gradient.rows(); ++r) {
    for (int64_t c = 0; c < gradient.cols(); ++c) gradient(r, c) *= scale;
  }
}

double LearningRateAt(LearningRateSchedule schedule, double peak, double warmup_ratio, int64_t step,
                      int64_t total_steps) {
  const int64_t warmup_steps =
      static_cast<int64_t>(std::ceil(warmup_ratio * static_cast<double>(total_steps)));
  if (step < warmup_steps) {
    return peak * static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  }
  if (schedule == LearningRateSchedule::kConstant) return peak;
  return peak * static_cast<double>(total_steps - step) /
         static_cast<double>(total_steps - warmup_steps);
}

}  // namespace onepass
