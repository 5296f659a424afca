// Requests on their way through an engine's steps: what of each has been written so far. An engine
// runs many of them, inputs and outputs, in one forward call (Engine::Step).
// Thread-compatible. Not copyable. A task that dies gives its pages back.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <vector>

#include "core/status.h"
#include "engine/request.h"
#include "engine/sampler.h"
#include "kv/segment.h"
#include "tokenizer/tokenizer.h"

namespace onepass {

// An input that is written in parts of any size: the KV is the same as in one.
class PrefillTask {
 public:
  // The request must outlive it, and have something to write.
  PrefillTask(PrefillRequest& request, PagePool& pool);

  // Rows that no step has been told of yet.
  int64_t rows_left() const { return tail_ == nullptr ? 0 : row_count_ - tail_->token_count(); }
  // The request has its results.
  bool done() const { return request_->segment != nullptr; }

  // The next rows go through the model in the engine's next step. kExhausted: too few pages, and
  // nothing was taken. REQUIRES: 0 < rows <= rows_left(), nothing is taken; all at once where the
  // request has targets.
  Status Take(int64_t rows);

 private:
  friend class Engine;
  PrefillRequest* request_;
  std::unique_ptr<Segment> tail_;
  int64_t row_count_;
  int64_t taken_ = 0;  // at the tail's end, not yet through the model
};

// An output, a token a step.
class DecodeTask {
 public:
  // Empties the request's results and makes room for them, for at most `context` tokens. The
  // request must outlive it. Engine::Begin comes first.
  DecodeTask(DecodeRequest& request, PagePool& pool, const Tokenizer& tokenizer, int64_t context);

  // Nothing is left to run: the request has its results, but where there is a fault.
  bool done() const { return done_; }
  // kExhausted, kInvalidArgument: as Engine::Decode says. Its text and tokens are those before it.
  const Status& status() const { return status_; }
  const DecodeRequest& request() const { return *request_; }
  // By token of the request: where its text ends.
  std::span<const size_t> text_ends() const { return text_ends_; }

 private:
  friend class Engine;
  // Takes the token after the ones so far. Those that it leaves to be fed are the request's last.
  std::span<const TokenId> Accept(TokenId token);
  void Finish(FinishReason reason);
  // Drops what stands behind the first `size` bytes of the text, from text, tokens and KV. Of a
  // token that the border splits the rest is tokenised anew and returned.
  std::span<const TokenId> CutAt(size_t size);
  void Fail(Status status);

  DecodeRequest* request_;
  std::unique_ptr<Segment> segment_;
  Sampler sampler_;
  StreamDecoder decoder_;
  const Tokenizer& tokenizer_;
  std::chrono::steady_clock::time_point begin_;
  std::vector<size_t> text_ends_;  // of the text, by token
  int64_t unfed_ = 0;      // tokens at the segment's end that have not run through the model
  bool finished_ = false;  // nothing more is sampled
  bool done_ = false;
  Status status_;
};

}  // namespace onepass
