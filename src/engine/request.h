// What an engine is asked for: a segment of input to write, an output to generate; and what it
// answers. Plain data.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/sampler.h"
#include "kv/segment.h"
#include "model/transformer.h"
#include "tensor/tensor.h"
#include "tokenizer/tokenizer.h"

namespace onepass {

// Tokens beyond the base's vocabulary that a request may use. Borrowed.
struct AddedTokens {
  AddedRows<float> rows;  // of ids V to V + N - 1, V being the base's vocab_size
  // Which of them it may write, from `first` on.
  int64_t first = 0;
  int64_t count = 0;

  View<const float> written_head() const { return rows.head.Rows(first, count); }
};

// One segment to write: its tokens (or a prompt's vectors) at start_position under a view.
struct PrefillRequest {
  KvView view;
  std::vector<int32_t> tokens;
  View<const float> vectors;  // a soft prompt instead of tokens
  int64_t start_position = 0;
  Provenance provenance;  // content_hash is filled in by the engine
  bool want_logits = false;
  // What the last targets.size() tokens are followed by, where it is known; at most one a token.
  std::vector<TokenId> targets;
  AddedTokens added;

  // Results.
  SegmentRef segment;
  std::vector<float> logits;  // [V + added.count] after the last token, if wanted
  std::vector<float> losses;  // cross entropy of each target
};

struct StopRule {
  std::vector<TokenId> tokens;       // any of these ends the output and is not part of it
  std::vector<std::string> strings;  // the output is cut before the first of these
  int64_t max_tokens = 256;          // sampled tokens, the stop token not counted
};

enum class FinishReason { kStopToken, kStopString, kLength };
std::string_view NameOf(FinishReason reason);

// One output to generate. It starts with start_tokens (fed, not sampled), or, where there are none,
// with first_logits of the token before it. Its stop token is not fed: it is in no view.
struct DecodeRequest {
  KvView view;
  std::vector<TokenId> start_tokens;
  std::vector<float> first_logits;
  int64_t start_position = 0;
  Provenance provenance;
  StopRule stop;
  SamplingOptions sampling;
  // A later stage reads the KV: when the output ends without a stop token its last token is fed
  // too.
  bool read_later = false;
  // What the base gave each token, and so many of the likeliest, is kept; -1: nothing is.
  int logprobs = -1;
  AddedTokens added;

  // Results.
  SegmentRef segment;  // KV of the start tokens and of `tokens`, of the last one only if read later
                       // or before a stop token; null if there is none
  // Sampled, the stop token left out. At a stop string: those whose text stands before it; the part
  // of a token that does is tokenised anew, so that tokens, text and KV say the same.
  std::vector<TokenId> tokens;
  std::vector<TokenId> drawn;  // at a stop string: all that was sampled, as sampled; else empty
  std::vector<TokenLogprobs> token_logprobs;  // of what was sampled, the stop token left out
  std::string text;        // decoded, special tokens skipped, cut at a stop string
  int64_t fed_tokens = 0;  // rows that went through the model
  FinishReason finish = FinishReason::kLength;
  TokenId stop_token = -1;         // where one ended it
  double first_token_seconds = 0;  // from the call to the first sampled token; -1: none was
  double decode_seconds = 0;       // from the first sampled token to the end
};

}  // namespace onepass
