// How far a base computes from another of the same vocabulary, on a text: what it costs to keep the
// weights in fewer bits, or, with the same base twice, the KV.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "core/status.h"
#include "engine/engine.h"

namespace onepass {

struct BaseErrorOptions {
  // Each window begins anew, and is no longer than either context; its first token is not scored.
  int64_t window_tokens = 512;
  int64_t max_tokens = 4096;  // of the text; what is left is not read
  DType other_kv_dtype =
      DType::kF32;  // what the other base's KV is stored in; the reference's: F32

  Status Validate() const;
};

// Over all scored tokens.
struct BaseError {
  int64_t token_count = 0;
  double perplexity = 0;        // of the reference, e^(mean negative log-likelihood)
  double other_perplexity = 0;  // of the other base
  double mean_kl = 0;           // of reference from other, in nats
  double top1_agreement = 0;    // share of tokens where both rank the same token first
};

// kInvalidArgument: another vocabulary, a text of fewer than two tokens, logits that are no
// numbers. on_progress, where set: after each window, tokens done of those to do.
Result<BaseError> CompareBases(
    Base& reference, Base& other, std::string_view text, const BaseErrorOptions& options,
    const std::function<void(int64_t done, int64_t total)>& on_progress = {});

}  // namespace onepass
