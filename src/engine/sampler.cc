#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

namespace onepass {

Status SamplingOptions::Validate() const {
  if (!(temperature >= 0) || !std::isfinite(temperature)) {
    return InvalidArgument("temperature: want a number >= 0, found " + std::to_string(temperature));
  }
  if (top_k < 0) {
    return InvalidArgument("top_k: want 0 (all) or more, found " + std::to_string(top_k));
  }
  if (!(top_p > 0 && top_p <= 1)) {
    return InvalidArgument("top_p: want a number in (0, 1], found " + std::to_string(top_p));
  }
  return Status::Ok();
}

Sampler::Sampler(const SamplingOptions& options) : options_(options), rng_(options.seed) {}

int32_t Sampler::Next(std::span<const float> logits) {
  ONEPASS_CHECK(!logits.empty(), "no logits to sample from");
  const auto best = std::max_element(logits.begin(), logits.end());
  if (options_.temperature == 0 || options_.top_k == 1) {
    return static_cast<int32_t>(best - logits.begin());
  }
  // Candidates, the likeliest first; equal ones by id, so that the order is one.
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto likelier = [&](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  };
  size_t kept = ids.size();
  if (options_.top_k > 0) kept = std::min(kept, static_cast<size_t>(options_.top_k));
  std::partial_sort(ids.begin(), ids.begin() + kept, ids.end(), likelier);

  std::vector<double> weights(kept);
  double total = 0;
  for (size_t i = 0; i < kept; ++i) {
    weights[i] = std::exp((static_cast<double>(logits[ids[i]]) - *best) / options_.temperature);
    total += weights[i];
  }
  // top-p: the smallest prefix, of one at least, that holds at least top_p of the probability.
  double limit = total;
  if (options_.top_p < 1) {
    double sum = 0;
    size_t n = 0;
    do {
      sum += weights[n++];
    } while (n < kept && sum < options_.top_p * total);
    kept = n;
    limit = sum;
  }
  double point = rng_.UniformDouble() * limit;
  for (size_t i = 0; i + 1 < kept; ++i) {
    point -= weights[i];
    if (point < 0) return ids[i];
  }
  return ids[kept - 1];
}

}  // namespace onepass
