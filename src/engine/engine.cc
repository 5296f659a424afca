#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

namespace onepass {
namespace {

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Everything that a segment's KV depends on (segment.h): its view, position and content.
uint64_t ContentHash(const Segment& segment, const KvView& view, View<const float> vectors) {
  uint64_t hash = HashCombine(static_cast<uint64_t>(segment.provenance().kind),
                              static_cast<uint64_t>(segment.start_position()));
  for (const SegmentRef& s : view.segments()) {
    hash = HashCombine(hash, s->provenance().content_hash);
  }
  for (int32_t token : segment.tokens()) hash = HashCombine(hash, static_cast<uint32_t>(token));
  for (int64_t r = 0; r < vectors.rows(); ++r) {
    for (int64_t c = 0; c < vectors.cols(); ++c) {
      uint32_t bits = 0;
      std::memcpy(&bits, &vectors(r, c), sizeof(bits));
      hash = HashCombine(hash, bits);
    }
  }
  return hash;
}

// One output being generated.
struct Decoding {
  Decoding(DecodeRequest& r, const Tokenizer& tokenizer)
      : request(&r), sampler(r.sampling), decoder(tokenizer) {}

  DecodeRequest* request;
  std::unique_ptr<Segment> segment;
  Sampler sampler;
  StreamDecoder decoder;
  int64_t unfed = 0;  // tokens at the segment's end that have not run through the model
  bool done = false;

  // True when a stop string stands in the text; cuts the text before it.
  bool CutAtStopString() {
    size_t first = std::string::npos;
    for (const std::string& stop : request->stop.strings) {
      if (!stop.empty()) first = std::min(first, request->text.find(stop));
    }
    if (first == std::string::npos) return false;
    request->text.resize(first);
    return true;
  }

  void Finish(FinishReason reason) {
    request->finish = reason;
    done = true;
  }

  // Takes the token after the ones so far.
  void Accept(TokenId token, const Tokenizer& tokenizer) {
    const StopRule& stop = request->stop;
    if (std::find(stop.tokens.begin(), stop.tokens.end(), token) != stop.tokens.end()) {
      return Finish(FinishReason::kStopToken);
    }
    request->tokens.push_back(token);
    if (request->on_token) request->on_token(token);
    if (!tokenizer.IsSpecial(token)) request->text += decoder.Push(token);
    if (CutAtStopString()) return Finish(FinishReason::kStopString);
    if (static_cast<int64_t>(request->tokens.size()) >= stop.max_tokens) {
      Finish(FinishReason::kLength);
    }
  }
};

}  // namespace

std::string_view NameOf(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStopToken:
      return "stop_token";
    case FinishReason::kStopString:
      return "stop_string";
    case FinishReason::kLength:
      return "length";
  }
  return "?";
}

Status Engine::Prefill(std::span<PrefillRequest> requests) {
  // Room for all first: scarcity must leave nothing half-written.
  std::vector<std::unique_ptr<Segment>> tails;
  std::vector<ForwardItem<float>> items;
  for (PrefillRequest& request : requests) {
    auto tail = std::make_unique<Segment>(*pool_, request.start_position, request.provenance);
    const int64_t count = request.vectors.empty() ? static_cast<int64_t>(request.tokens.size())
                                                  : request.vectors.rows();
    ONEPASS_CHECK(count > 0, "an empty segment");
    RETURN_IF_ERROR(request.vectors.empty() ? tail->Extend(request.tokens)
                                            : tail->ExtendWithVectors(count));
    items.push_back({.view = &request.view,
                     .tail = tail.get(),
                     .new_count = count,
                     .vectors = request.vectors});
    tails.push_back(std::move(tail));
  }
  if (items.empty()) return Status::Ok();
  const View<const float> hidden = base_->model->Forward(items, nullptr);
  counters_.tokens_computed += hidden.rows();
  ++counters_.forward_calls;
  int64_t row = -1;
  for (size_t i = 0; i < requests.size(); ++i) {
    PrefillRequest& request = requests[i];
    row += items[i].new_count;
    if (request.want_logits) {
      request.logits.resize(base_->config().vocab_size);
      base_->model->Logits(hidden.Rows(row, 1),
                           {request.logits.data(), 1, base_->config().vocab_size});
    }
    tails[i]->set_content_hash(ContentHash(*tails[i], request.view, request.vectors));
    request.segment = std::move(tails[i]);
  }
  return Status::Ok();
}

Status Engine::Decode(std::span<DecodeRequest> requests) {
  const auto start = std::chrono::steady_clock::now();
  const Tokenizer& tokenizer = *base_->tokenizer;
  std::vector<Decoding> sequences;
  sequences.reserve(requests.size());
  for (DecodeRequest& request : requests) {
    Decoding& d = sequences.emplace_back(request, tokenizer);
    request.tokens.clear();
    request.text.clear();
    d.segment = std::make_unique<Segment>(*pool_, request.start_position, request.provenance);
    RETURN_IF_ERROR(d.segment->Extend(request.start_tokens));
    d.unfed = static_cast<int64_t>(request.start_tokens.size());
    ONEPASS_CHECK(d.unfed > 0 || !request.first_logits.empty(), "nothing to decode from");
    request.first_token_seconds = -1;
    request.decode_seconds = 0;
    if (request.stop.max_tokens <= 0) d.Finish(FinishReason::kLength);
  }
  // Takes the next token of a sequence; what must be fed then waits at its segment's end.
  const auto accept = [&](Decoding& d, std::span<const float> logits) -> Status {
    DecodeRequest& request = *d.request;
    const bool first = request.first_token_seconds < 0;
    d.Accept(d.sampler.Next(logits), tokenizer);
    if (first) request.first_token_seconds = SecondsSince(start);
    if (d.done) request.decode_seconds = SecondsSince(start) - request.first_token_seconds;
    // A stop token is in no view. Any other last token is content: its KV is needed by later
    // readers.
    if (d.done && (request.finish == FinishReason::kStopToken || !request.read_later)) {
      return Status::Ok();
    }
    RETURN_IF_ERROR(d.segment->Extend({&request.tokens.back(), 1}));
    d.unfed = 1;
    return Status::Ok();
  };
  for (Decoding& d : sequences) {
    if (d.unfed == 0 && !d.done) RETURN_IF_ERROR(accept(d, d.request->first_logits));
  }

  const int64_t vocab_size = base_->config().vocab_size;
  Buffer<float> last_rows;
  Buffer<float> logits;
  while (true) {
    std::vector<Decoding*> active;
    std::vector<ForwardItem<float>> items;
    for (Decoding& d : sequences) {
      if (d.unfed == 0) continue;
      items.push_back({.view = &d.request->view, .tail = d.segment.get(), .new_count = d.unfed});
      active.push_back(&d);
    }
    if (active.empty()) break;
    const View<const float> hidden = base_->model->Forward(items, nullptr);
    counters_.tokens_computed += hidden.rows();
    ++counters_.forward_calls;

    const int64_t count = static_cast<int64_t>(active.size());
    if (last_rows.rows() < count) {
      last_rows = Buffer<float>(count, hidden.cols());
      logits = Buffer<float>(count, vocab_size);
    }
    int64_t row = -1;
    for (int64_t i = 0; i < count; ++i) {
      row += items[i].new_count;
      std::copy_n(hidden.row(row), hidden.cols(), last_rows.view().row(i));
    }
    base_->model->Logits(last_rows.view().Rows(0, count), logits.view().Rows(0, count));
    for (int64_t i = 0; i < count; ++i) {
      active[i]->unfed = 0;
      if (active[i]->done) continue;
      RETURN_IF_ERROR(accept(*active[i], {logits.view().row(i), static_cast<size_t>(vocab_size)}));
    }
  }

  for (Decoding& d : sequences) {
    DecodeRequest& request = *d.request;
    if (request.finish != FinishReason::kStopString) request.text += d.decoder.Finish();
    request.segment = nullptr;
    if (d.segment->token_count() == 0) continue;
    d.segment->set_content_hash(ContentHash(*d.segment, request.view, {}));
    request.segment = std::move(d.segment);
  }
  return Status::Ok();
}

}  // namespace onepass
