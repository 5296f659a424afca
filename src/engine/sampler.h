// Picks the next token from logits.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/rng.h"
#include "core/status.h"

namespace onepass {

struct SamplingOptions {
  double temperature = 0;  // 0: greedy
  int64_t top_k = 0;       // 0: all
  double top_p = 1;        // in (0, 1]
  uint64_t seed = 0;

  Status Validate() const;
};

// None is infinite or NaN.
bool AllFinite(std::span<const float> values);

// Natural logarithms of a token's probabilities, before temperature and cuts.
struct TokenLogprobs {
  float logprob = 0;
  std::vector<std::pair<int32_t, float>> likeliest;  // best first, ties by id
};
// Of `token` and of the `count` likeliest. REQUIRES: logits are finite, and hold `token`.
TokenLogprobs LogprobsOf(std::span<const float> logits, int32_t token, int64_t count);

// Memory of a sampler's that several may share, one after the other. It grows to the vocabulary's
// size and stays.
struct SamplerScratch {
  std::vector<int32_t> ids;
  std::vector<double> weights;
};

// Greedy ties go to the smallest id. Same seed and logits, same tokens. Thread-compatible.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options);
  // REQUIRES: logits are finite, and at least one.
  int32_t Next(std::span<const float> logits, SamplerScratch& scratch);

 private:
  SamplingOptions options_;
  Rng rng_;
};

}  // namespace onepass
