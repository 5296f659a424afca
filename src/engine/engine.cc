#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "core/hash.h"

namespace onepass {
namespace {

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Everything that a segment's KV depends on (segment.h): base, view, position, content and type.
uint64_t ContentHash(uint64_t base_hash, const Segment& segment, const KvView& view,
                     View<const float> vectors, int64_t vocab_size,
                     View<const float> added_embedding) {
  uint64_t hash = HashCombine(base_hash, static_cast<uint64_t>(segment.provenance().kind));
  hash = HashCombine(hash, static_cast<uint64_t>(segment.start_position()));
  hash = HashCombine(hash, static_cast<uint64_t>(segment.pool().layout().dtype));
  for (const SegmentRef& s : view.segments()) {
    hash = HashCombine(hash, s->provenance().content_hash);
  }
  const auto add_row = [&](const float* row, int64_t width) {
    for (int64_t c = 0; c < width; ++c) {
      uint32_t bits = 0;
      std::memcpy(&bits, &row[c], sizeof(bits));
      hash = HashCombine(hash, bits);
    }
  };
  for (int32_t token : segment.tokens()) {
    hash = HashCombine(hash, static_cast<uint32_t>(token));
    if (token >= vocab_size) {
      add_row(added_embedding.row(token - vocab_size), added_embedding.cols());
    }
  }
  for (int64_t r = 0; r < vectors.rows(); ++r) add_row(vectors.row(r), vectors.cols());
  return hash;
}

// One output being generated.
class Decoding {
 public:
  // Empties the request's results and makes room for them, for at most `context` tokens.
  Decoding(DecodeRequest& r, PagePool& pool, const Tokenizer& tokenizer, int64_t context)
      : request(&r),
        segment(std::make_unique<Segment>(pool, r.start_position, r.provenance)),
        sampler(r.sampling),
        decoder(tokenizer),
        tokenizer_(tokenizer) {
    r.segment = nullptr;
    r.tokens.clear();
    r.text.clear();
    r.fed_tokens = 0;
    r.stop_token = -1;
    r.first_token_seconds = -1;
    r.decode_seconds = 0;
    const int64_t most = std::clamp<int64_t>(r.stop.max_tokens, 0, context);
    r.tokens.reserve(most);
    r.text.reserve(most * kTextBytesAToken);
    text_ends_.reserve(most);
  }

  // Takes the token after the ones so far. Those that it leaves to be fed are the request's last.
  std::span<const TokenId> Accept(TokenId token) {
    const StopRule& stop = request->stop;
    if (std::ranges::find(stop.tokens, token) != stop.tokens.end()) {
      request->stop_token = token;
      Finish(FinishReason::kStopToken);
      return {};
    }
    request->tokens.push_back(token);
    request->text += decoder.Push(token);
    text_ends_.push_back(request->text.size());
    size_t cut = std::string::npos;
    for (const std::string& string : stop.strings) {
      if (!string.empty()) cut = std::min(cut, request->text.find(string));
    }
    if (cut != std::string::npos) {
      Finish(FinishReason::kStopString);
      return CutAt(cut);
    }
    if (std::ssize(request->tokens) >= stop.max_tokens) Finish(FinishReason::kLength);
    return std::span(request->tokens).last(1);
  }

  void Finish(FinishReason reason) {
    request->finish = reason;
    done = true;
  }

  DecodeRequest* request;
  std::unique_ptr<Segment> segment;
  Sampler sampler;
  StreamDecoder decoder;
  int64_t unfed = 0;  // tokens at the segment's end that have not run through the model
  bool done = false;

 private:
  // Room for text: about twice what tokens of words have.
  static constexpr int64_t kTextBytesAToken = 8;

  // Drops what stands behind the first `size` bytes of the text, from text, tokens and KV. Of a
  // token that the border splits the rest is tokenised anew and returned.
  std::span<const TokenId> CutAt(size_t size) {
    const auto behind = std::ranges::upper_bound(text_ends_, size);
    const size_t whole = behind == text_ends_.begin() ? 0 : behind[-1];
    // The first token that ends there: those behind it gave no text.
    const int64_t kept =
        whole == 0 ? 0 : std::ranges::lower_bound(text_ends_, whole) - text_ends_.begin() + 1;
    std::vector<TokenId> rest =
        tokenizer_.Encode(std::string_view(request->text).substr(whole, size - whole), {});
    // Never more tokens than were asked for: there may be no positions for them.
    rest.resize(std::min(std::ssize(rest), request->stop.max_tokens - kept));
    request->text.resize(size);
    request->tokens.resize(kept);
    request->tokens.insert(request->tokens.end(), rest.begin(), rest.end());
    segment->Truncate(std::ssize(request->start_tokens) + kept);
    return std::span(request->tokens).last(rest.size());
  }

  const Tokenizer& tokenizer_;
  std::vector<size_t> text_ends_;  // of the text, by token
};

bool WriteTheSame(const AddedTokens& a, const AddedTokens& b) {
  return a.rows.head.data() == b.rows.head.data() && a.first == b.first && a.count == b.count;
}

// Logits of the sequences that are not done, whose rows `hidden` has in order: one call for
// neighbours that may write the same tokens.
void ReadLogits(Transformer<float>& model, std::span<Decoding* const> sequences,
                View<const float> hidden, View<float> logits) {
  int64_t row = 0;
  for (size_t begin = 0, end = 0; begin < sequences.size(); begin = end) {
    const AddedTokens& added = sequences[begin]->request->added;
    int64_t count = 0;
    for (; end < sequences.size(); ++end) {
      if (sequences[end]->done) continue;
      if (!WriteTheSame(added, sequences[end]->request->added)) break;
      ++count;
    }
    // Where the first was done and the others differ there is nothing to read yet.
    if (end == begin) ++end;
    if (count == 0) continue;
    const int64_t cols = model.config().vocab_size + added.count;
    model.Logits(hidden.Rows(row, count), logits.Rows(row, count).Cols(0, cols),
                 added.written_head());
    row += count;
  }
}

// The losses of a request's targets, of which `hidden` has the rows before each.
void AddLosses(Transformer<float>& model, View<const float> hidden, PrefillRequest& request) {
  const int64_t vocab_size = model.config().vocab_size;
  std::vector<int32_t> targets(request.targets.begin(), request.targets.end());
  // Behind the base's logits stand those of the added tokens that it may write.
  for (int32_t& target : targets) {
    if (target >= vocab_size) target -= static_cast<int32_t>(request.added.first);
  }
  const std::vector<float> scale(targets.size(), 1.0F);
  request.losses.resize(targets.size());
  model.Loss(hidden, targets, scale, request.losses, {}, request.added.written_head());
}

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

Engine::Engine(Base& base, PagePool& pool)
    : base_(&base), pool_(&pool), base_hash_(HashText(base.checkpoint->Fingerprint())) {}

Status Engine::Prefill(std::span<PrefillRequest> requests) {
  // Room for all first: scarcity must leave nothing half-written.
  std::vector<std::unique_ptr<Segment>> tails;
  std::vector<ForwardItem<float>> items;
  for (PrefillRequest& request : requests) {
    auto tail = std::make_unique<Segment>(*pool_, request.start_position, request.provenance);
    const int64_t count = request.vectors.empty() ? static_cast<int64_t>(request.tokens.size())
                                                  : request.vectors.rows();
    ONEPASS_CHECK(count > 0, "an empty segment");
    ONEPASS_CHECK(std::ssize(request.targets) <= count, "a target without a token before it");
    RETURN_IF_ERROR(request.vectors.empty() ? tail->Extend(request.tokens)
                                            : tail->ExtendWithVectors(count));
    items.push_back({.view = &request.view,
                     .tail = tail.get(),
                     .new_count = count,
                     .vectors = request.vectors,
                     .added_embedding = request.added.rows.embedding,
                     .read_count = std::max<int64_t>(request.want_logits ? 1 : 0,
                                                     std::ssize(request.targets))});
    tails.push_back(std::move(tail));
  }
  if (items.empty()) return Status::Ok();
  const View<const float> hidden = base_->model->Forward(items, nullptr);
  ++counters_.forward_calls;
  int64_t row = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    PrefillRequest& request = requests[i];
    counters_.tokens_computed += items[i].new_count;
    row += items[i].read_count;
    if (request.want_logits) {
      request.logits.resize(base_->config().vocab_size + request.added.count);
      base_->model->Logits(hidden.Rows(row - 1, 1),
                           {request.logits.data(), 1, std::ssize(request.logits)},
                           request.added.written_head());
    }
    const int64_t target_count = std::ssize(request.targets);
    if (target_count > 0) {
      AddLosses(*base_->model, hidden.Rows(row - target_count, target_count), request);
    }
    tails[i]->set_content_hash(ContentHash(base_hash_, *tails[i], request.view, request.vectors,
                                           base_->config().vocab_size,
                                           request.added.rows.embedding));
    request.segment = std::move(tails[i]);
  }
  return Status::Ok();
}

Status Engine::Decode(std::span<DecodeRequest> requests) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<Decoding> sequences;
  sequences.reserve(requests.size());
  for (DecodeRequest& request : requests) {
    Decoding& d =
        sequences.emplace_back(request, *pool_, *base_->tokenizer, base_->config().max_positions);
    RETURN_IF_ERROR(d.segment->Extend(request.start_tokens));
    d.unfed = static_cast<int64_t>(request.start_tokens.size());
    ONEPASS_CHECK(d.unfed > 0 || !request.first_logits.empty(), "nothing to decode from");
    if (request.stop.max_tokens <= 0) d.Finish(FinishReason::kLength);
  }
  const int64_t vocab_size = base_->config().vocab_size;
  SamplerScratch scratch;
  // Takes the next token of a sequence; what must be fed then waits at its segment's end.
  const auto accept = [&](Decoding& d, std::span<const float> logits) -> Status {
    DecodeRequest& request = *d.request;
    if (!AllFinite(logits)) {
      return InvalidArgument("base: want finite logits, found others after " +
                             std::to_string(request.tokens.size()) + " tokens (" +
                             base_->checkpoint->path() + ")");
    }
    const bool first = request.first_token_seconds < 0;
    TokenId token = d.sampler.Next(logits, scratch);
    // Behind the base's logits stand those of the added tokens that it may write.
    if (token >= vocab_size) token += static_cast<TokenId>(request.added.first);
    const std::span<const TokenId> next = d.Accept(token);
    if (first) request.first_token_seconds = SecondsSince(start);
    if (d.done) request.decode_seconds = SecondsSince(start) - request.first_token_seconds;
    // Of what comes last only later readers need the KV.
    if (d.done && !request.read_later) return Status::Ok();
    RETURN_IF_ERROR(d.segment->Extend(next));
    d.unfed = std::ssize(next);
    return Status::Ok();
  };
  for (Decoding& d : sequences) {
    if (d.unfed == 0 && !d.done) RETURN_IF_ERROR(accept(d, d.request->first_logits));
  }

  int64_t most_logits = vocab_size;
  for (const DecodeRequest& request : requests) {
    most_logits = std::max(most_logits, vocab_size + request.added.count);
  }
  Buffer<float> logits;
  std::vector<Decoding*> active;
  std::vector<ForwardItem<float>> items;
  active.reserve(sequences.size());
  items.reserve(sequences.size());
  while (true) {
    active.clear();
    items.clear();
    for (Decoding& d : sequences) {
      if (d.unfed == 0) continue;
      items.push_back({.view = &d.request->view,
                       .tail = d.segment.get(),
                       .new_count = d.unfed,
                       .vectors = {},
                       .added_embedding = d.request->added.rows.embedding,
                       .read_count = d.done ? 0 : 1});
      counters_.tokens_computed += d.unfed;
      active.push_back(&d);
    }
    if (active.empty()) break;
    const View<const float> hidden = base_->model->Forward(items, nullptr);
    ++counters_.forward_calls;

    if (logits.rows() < hidden.rows()) logits = Buffer<float>(hidden.rows(), most_logits);
    int64_t row = 0;
    ReadLogits(*base_->model, active, hidden, logits.view());
    for (Decoding* d : active) {
      d->request->fed_tokens += std::exchange(d->unfed, 0);
      if (d->done) continue;
      const int64_t count = vocab_size + d->request->added.count;
      RETURN_IF_ERROR(accept(*d, {logits.view().row(row++), static_cast<size_t>(count)}));
    }
  }

  for (Decoding& d : sequences) {
    DecodeRequest& request = *d.request;
    if (request.finish != FinishReason::kStopString) request.text += d.decoder.Finish();
    request.tokens.shrink_to_fit();
    request.text.shrink_to_fit();
    if (d.segment->token_count() == 0) continue;
    d.segment->set_content_hash(ContentHash(base_hash_, *d.segment, request.view, {}, vocab_size,
                                            request.added.rows.embedding));
    request.segment = std::move(d.segment);
  }
  return Status::Ok();
}

}  // namespace onepass
