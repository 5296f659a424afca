// Runs segments over a base: prefill, ragged decode, counters. Knows nothing of chains; the views,
// positions and provenances that it is given come from a plan.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/status.h"
#include "engine/request.h"
#include "engine/sampler.h"
#include "engine/task.h"
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

  // The content hash of what the request would write (Provenance).
  uint64_t HashOf(const PrefillRequest& request) const;
  // Writes all segments, in one ragged batch. kExhausted: too few pages, nothing was written.
  Status Prefill(std::span<PrefillRequest> requests);
  // Generates all outputs together, each until it stops. kExhausted: too few pages;
  // kInvalidArgument: logits that are no numbers. Then no request has a segment, and none is done.
  Status Decode(std::span<DecodeRequest> requests);

  // A task's first step; where there are first logits, its first token. A fault is the task's
  // status.
  void Begin(DecodeTask& task);
  // One forward call for all: the rows that inputs have taken, and the next token of each output
  // that is not done. Alone or together, each gets the same bits. A fault is its task's alone.
  // Once scratch memory has grown, a step takes no memory and no lock but where an output ends, its
  // KV begins a page, its visible keys begin a chunk of the backend's attention, its text is longer
  // than 8 bytes a token, or DecodeState::Push takes memory: decoders other than ByteLevel and
  // tiktoken's may for every token.
  void Step(std::span<PrefillTask* const> inputs, std::span<DecodeTask* const> outputs);

 private:
  void Accept(DecodeTask& task, std::span<const float> logits);
  int64_t AcceptAll(View<const float> hidden);
  void Seal(DecodeTask& task);
  void Seal(PrefillTask& task, View<const float> hidden);

  Base* base_;
  PagePool* pool_;
  uint64_t base_hash_;  // of the base's fingerprint: what every content hash begins with
  EngineCounters counters_;
  // Scratch of a step.
  std::vector<ForwardItem<float>> items_;
  std::vector<DecodeTask*> fed_;
  Buffer<float> logits_;  // [outputs, V + added tokens], grown to the most so far
  SamplerScratch sampler_scratch_;
};

}  // namespace onepass
