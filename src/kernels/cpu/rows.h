// Ops on single rows of floats: what the backend runs for each token, one function per op.
// A row's result depends on the row alone.
#pragma once

#include <cstdint>

namespace onepass {

// Pointers to the row functions of the best instruction set of this machine.
struct RowOps {
  // y = x * r * weight; returns r = 1 / sqrt(mean(x^2) + eps).
  float (*rms_norm)(const float* x, const float* weight, double eps, float* y, int64_t count);
  void (*rms_norm_backward)(const float* x, const float* weight, float inv_rms, const float* dy,
                            float* dx, int64_t count);
  // Turns the pairs (x[i], x[i + half]) of one head; sine_sign is -1 for the inverse.
  void (*rope)(float* x, const float* cosine, const float* sine, float sine_sign, int64_t half);
  void (*swiglu)(const float* gate, const float* up, float* y, int64_t count);
  void (*swiglu_backward)(const float* gate, const float* up, const float* dy, float* dgate,
                          float* dup, int64_t count);
  // logits become scale * gradient; returns the loss.
  float (*cross_entropy)(float* logits, int64_t count, int64_t target, float scale);
  // out[i] = e^x[i], for tests.
  void (*exp)(const float* x, float* out, int64_t count);
};

const RowOps& BestRowOps();

}  // namespace onepass
