#include "engine/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <string>

namespace onepass {

namespace {

// The bits of floats that are numbers, in the order of their values: unlike comparisons of floats,
// those of integers are done many at a time by any compiler.
int32_t Ordered(float value) {
  const auto bits = std::bit_cast<int32_t>(value + 0.0f);  // -0 becomes 0
  return bits ^ ((bits >> 31) & 0x7FFFFFFF);
}

// The first of the largest.
int32_t ArgMax(std::span<const float> values) {
  int32_t most = Ordered(values.front());
  for (const float value : values) most = std::max(most, Ordered(value));
  const auto at = std::ranges::find(values, most, Ordered);
  return static_cast<int32_t>(at - values.begin());
}

// The order of candidates: the likeliest first, equal ones by id, so that the order is one.
auto Likelier(std::span<const float> logits) {
  return [logits](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  };
}

}  // namespace

bool AllFinite(std::span<const float> values) {
  constexpr uint32_t kExponent = 0x7F800000;
  uint32_t others = 0;
  for (const float value : values) {
    others |= (std::bit_cast<uint32_t>(value) & kExponent) == kExponent;
  }
  return others == 0;
}

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

TokenLogprobs LogprobsOf(std::span<const float> logits, int32_t token, int64_t count) {
  const double most = logits[ArgMax(logits)];
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - most);
  const double log_sum = most + std::log(sum);
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto kept = ids.begin() + std::clamp<int64_t>(count, 0, std::ssize(ids));
  std::partial_sort(ids.begin(), kept, ids.end(), Likelier(logits));
  TokenLogprobs result{.logprob = static_cast<float>(logits[token] - log_sum), .likeliest = {}};
  for (auto id = ids.begin(); id != kept; ++id) {
    result.likeliest.emplace_back(*id, static_cast<float>(logits[*id] - log_sum));
  }
  return result;
}

Sampler::Sampler(const SamplingOptions& options) : options_(options), rng_(options.seed) {}

int32_t Sampler::Next(std::span<const float> logits, SamplerScratch& scratch) {
  ONEPASS_CHECK(!logits.empty(), "no logits to sample from");
  const int32_t best = ArgMax(logits);
  if (options_.temperature == 0 || options_.top_k == 1) return best;
  // Candidates, the likeliest first.
  std::vector<int32_t>& ids = scratch.ids;
  ids.resize(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  size_t kept = ids.size();
  if (options_.top_k > 0) kept = std::min(kept, static_cast<size_t>(options_.top_k));
  std::partial_sort(ids.begin(), ids.begin() + kept, ids.end(), Likelier(logits));

  std::vector<double>& weights = scratch.weights;
  weights.resize(kept);
  double total = 0;
  for (size_t i = 0; i < kept; ++i) {
    weights[i] =
        std::exp((static_cast<double>(logits[ids[i]]) - logits[best]) / options_.temperature);
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
