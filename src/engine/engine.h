// Runs segments over a base: prefill, ragged decode, counters. Knows nothing of chains; the views,
// positions and provenances that it is given come from a plan.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/status.h"
#include "engine/sampler.h"
#include "kernels/ops.h"
#include "kv/segment.h"
#include "model/transformer.h"
#include "prompt/soft_prompt.h"
#include "tokenizer/tokenizer.h"

namespace onepass {

// A base model ready to run: weights, tokenizer, backend. Thread-compatible (the backend has
// scratch).
struct Base {
  std::unique_ptr<Ops<float>> ops;
  std::shared_ptr<const Checkpoint> checkpoint;
  std::unique_ptr<Transformer<float>> model;
  std::unique_ptr<const Tokenizer> tokenizer;

  const ModelConfig& config() const { return checkpoint->config(); }
};
struct BaseOptions {
  std::string backend = "cpu";  // one of BackendNames()
  int thread_count = 0;
  // Matrices in F32 or F16 are rounded to BF16 as they are loaded, which of F32 leaves half to
  // read. Norms, biases, the embedding's rows and weights in blocks stay as they are stored.
  bool bf16 = false;
};
// A folder with config.json, safetensors and a tokenizer (base_tokenizer.h), or a GGUF file.
Result<std::unique_ptr<Base>> LoadBase(const std::string& path, const BaseOptions& options);
// What a prompt that is used with this base, at this placement, by a stage that adds these tokens,
// must fit.
PromptPlace PlaceOnBase(const Base& base, Placement placement,
                        std::vector<std::string> added_tokens = {});

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
  AddedTokens added;

  // Results.
  SegmentRef segment;  // KV of the start tokens and of `tokens`, of the last one only if read later
                       // or before a stop token; null if there is none
  // Sampled, the stop token left out. At a stop string: those whose text stands before it; the part
  // of a token that does is tokenised anew, so that tokens, text and KV say the same.
  std::vector<TokenId> tokens;
  std::string text;        // decoded, special tokens skipped, cut at a stop string
  int64_t fed_tokens = 0;  // rows that went through the model
  FinishReason finish = FinishReason::kLength;
  TokenId stop_token = -1;         // where one ended it
  double first_token_seconds = 0;  // from the call to the first sampled token; -1: none was
  double decode_seconds = 0;       // from the first sampled token to the end
};

struct EngineCounters {
  int64_t tokens_computed = 0;  // rows that went through the model
  int64_t forward_calls = 0;
};

// Thread-compatible.
class Engine {
 public:
  // Both must outlive it. Reads all the weights where the base's fingerprint is not known yet.
  Engine(Base& base, PagePool& pool);

  Base& base() const { return *base_; }
  PagePool& pool() const { return *pool_; }
  const EngineCounters& counters() const { return counters_; }

  // Writes all segments, in one ragged batch. kExhausted: too few pages, nothing was written.
  Status Prefill(std::span<PrefillRequest> requests);
  // Generates all outputs together, each until it stops. kExhausted: too few pages;
  // kInvalidArgument: logits that are no numbers. Then no request has a segment, and none is done.
  // Once scratch memory has grown, a step takes no memory and no lock but where an output ends, its
  // KV begins a page, its visible keys begin a chunk of the backend's attention, its text is longer
  // than 8 bytes a token, or DecodeState::Push takes memory: decoders other than ByteLevel and
  // tiktoken's may for every token.
  Status Decode(std::span<DecodeRequest> requests);

 private:
  Base* base_;
  PagePool* pool_;
  uint64_t base_hash_;  // of the base's fingerprint: what every content hash begins with
  EngineCounters counters_;
};

}  // namespace onepass
