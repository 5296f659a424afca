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
struct Content {
  SegmentKind kind;
  int64_t start_position;
  DType dtype;
  const KvView& view;
  std::span<const int32_t> tokens;
  View<const float> vectors;
  View<const float> added_embedding;  // of tokens from vocab_size on
};
uint64_t HashOfContent(uint64_t base_hash, int64_t vocab_size, const Content& content) {
  uint64_t hash = HashCombine(base_hash, static_cast<uint64_t>(content.kind));
  hash = HashCombine(hash, static_cast<uint64_t>(content.start_position));
  hash = HashCombine(hash, static_cast<uint64_t>(content.dtype));
  for (const SegmentRef& s : content.view.segments()) {
    hash = HashCombine(hash, s->provenance().content_hash);
  }
  const auto add_row = [&](const float* row, int64_t width) {
    for (int64_t c = 0; c < width; ++c) {
      uint32_t bits = 0;
      std::memcpy(&bits, &row[c], sizeof(bits));
      hash = HashCombine(hash, bits);
    }
  };
  for (int32_t token : content.tokens) {
    hash = HashCombine(hash, static_cast<uint32_t>(token));
    if (token >= vocab_size) {
      add_row(content.added_embedding.row(token - vocab_size), content.added_embedding.cols());
    }
  }
  for (int64_t r = 0; r < content.vectors.rows(); ++r) {
    add_row(content.vectors.row(r), content.vectors.cols());
  }
  return hash;
}

bool WriteTheSame(const AddedTokens& a, const AddedTokens& b) {
  return a.rows.head.data() == b.rows.head.data() && a.first == b.first && a.count == b.count;
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

uint64_t Engine::HashOf(const PrefillRequest& request) const {
  // A prompt's segment has the token -1 for each vector.
  const std::vector<int32_t> none(request.vectors.rows(), -1);
  const bool is_prompt = !request.vectors.empty();
  return HashOfContent(base_hash_, base_->config().vocab_size,
                       {.kind = request.provenance.kind,
                        .start_position = request.start_position,
                        .dtype = pool_->layout().dtype,
                        .view = request.view,
                        .tokens = is_prompt ? none : request.tokens,
                        .vectors = request.vectors,
                        .added_embedding = request.added.rows.embedding});
}

Status Engine::Prefill(std::span<PrefillRequest> requests) {
  // Room for all first: scarcity must leave nothing half-written.
  std::vector<PrefillTask> tasks;
  std::vector<PrefillTask*> pointers;
  tasks.reserve(requests.size());
  for (PrefillRequest& request : requests) {
    PrefillTask& task = tasks.emplace_back(request, *pool_);
    RETURN_IF_ERROR(task.Take(task.rows_left()));
    pointers.push_back(&task);
  }
  if (!pointers.empty()) Step(pointers, {});
  return Status::Ok();
}

Status Engine::Decode(std::span<DecodeRequest> requests) {
  std::vector<DecodeTask> tasks;
  std::vector<DecodeTask*> pointers;
  tasks.reserve(requests.size());
  pointers.reserve(requests.size());
  for (DecodeRequest& request : requests) {
    pointers.push_back(
        &tasks.emplace_back(request, *pool_, *base_->tokenizer, base_->config().max_positions));
  }
  for (DecodeTask* task : pointers) Begin(*task);
  while (true) {
    bool running = false;
    for (const DecodeTask& task : tasks) {
      running = running || !task.done();
      if (task.status().ok()) continue;
      for (DecodeRequest& request : requests) request.segment = nullptr;
      return task.status();
    }
    if (!running) return Status::Ok();
    Step({}, pointers);
  }
}

void Engine::Begin(DecodeTask& task) {
  DecodeRequest& request = *task.request_;
  if (Status room = task.segment_->Extend(request.start_tokens); !room.ok()) {
    return task.Fail(std::move(room));
  }
  task.unfed_ = std::ssize(request.start_tokens);
  ONEPASS_CHECK(task.unfed_ > 0 || !request.first_logits.empty(), "nothing to decode from");
  if (request.stop.max_tokens <= 0) task.Finish(FinishReason::kLength);
  if (task.unfed_ > 0) return;
  if (!task.finished_) Accept(task, request.first_logits);
  if (task.finished_ && task.unfed_ == 0) Seal(task);
}

// Takes the next token of an output; what must be fed then waits at its segment's end.
void Engine::Accept(DecodeTask& task, std::span<const float> logits) {
  DecodeRequest& request = *task.request_;
  if (!AllFinite(logits)) {
    return task.Fail(InvalidArgument("base: want finite logits, found others after " +
                                     std::to_string(request.tokens.size()) + " tokens (" +
                                     base_->checkpoint->path() + ")"));
  }
  const bool first = request.first_token_seconds < 0;
  const TokenId place = task.sampler_.Next(logits, sampler_scratch_);
  // Behind the base's logits stand those of the added tokens that it may write.
  const auto id_of = [&](TokenId at) {
    const bool added = at >= base_->config().vocab_size;
    return added ? at + static_cast<TokenId>(request.added.first) : at;
  };
  if (request.logprobs >= 0) {
    TokenLogprobs& kept = request.token_logprobs.emplace_back();
    kept = LogprobsOf(logits, place, request.logprobs);
    for (auto& [token, logprob] : kept.likeliest) token = id_of(token);
  }
  const std::span<const TokenId> next = task.Accept(id_of(place));
  if (request.logprobs >= 0 && request.stop_token >= 0) request.token_logprobs.pop_back();
  if (first) request.first_token_seconds = SecondsSince(task.begin_);
  if (task.finished_) {
    request.decode_seconds = SecondsSince(task.begin_) - request.first_token_seconds;
    // Of what comes last only later readers need the KV.
    if (!request.read_later) return;
  }
  if (Status room = task.segment_->Extend(next); !room.ok()) return task.Fail(std::move(room));
  task.unfed_ = std::ssize(next);
}

void Engine::Step(std::span<PrefillTask* const> inputs, std::span<DecodeTask* const> outputs) {
  items_.clear();
  fed_.clear();
  for (DecodeTask* task : outputs) {
    if (task->done()) continue;
    const DecodeRequest& request = *task->request_;
    items_.push_back({.view = &request.view,
                      .tail = task->segment_.get(),
                      .new_count = task->unfed_,
                      .vectors = {},
                      .added_embedding = request.added.rows.embedding,
                      .read_count = task->finished_ ? 0 : 1});
    counters_.tokens_computed += task->unfed_;
    fed_.push_back(task);
  }
  for (PrefillTask* task : inputs) {
    const PrefillRequest& request = *task->request_;
    ONEPASS_CHECK(task->taken_ > 0, "an input's step without rows");
    const int64_t begin = task->tail_->token_count() - task->taken_;
    const View<const float> vectors =
        request.vectors.empty() ? View<const float>() : request.vectors.Rows(begin, task->taken_);
    const int64_t read =
        std::max<int64_t>(request.want_logits ? 1 : 0, std::ssize(request.targets));
    items_.push_back({.view = &request.view,
                      .tail = task->tail_.get(),
                      .new_count = task->taken_,
                      .vectors = vectors,
                      .added_embedding = request.added.rows.embedding,
                      .read_count = task->rows_left() > 0 ? 0 : read});
    counters_.tokens_computed += task->taken_;
  }
  if (items_.empty()) return;
  const View<const float> hidden = base_->model->Forward(items_, nullptr);
  ++counters_.forward_calls;
  const int64_t sampled = AcceptAll(hidden);
  int64_t row = sampled;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const int64_t read = items_[fed_.size() + i].read_count;
    inputs[i]->taken_ = 0;
    if (inputs[i]->rows_left() > 0) continue;
    Seal(*inputs[i], hidden.Rows(row, read));
    row += read;
  }
}

// Samples for the outputs that go on, whose rows come first; returns how many those were.
int64_t Engine::AcceptAll(View<const float> hidden) {
  const int64_t vocab_size = base_->config().vocab_size;
  int64_t count = 0, cols = 0;
  for (const DecodeTask* task : fed_) {
    if (task->finished_) continue;
    ++count;
    cols = std::max(cols, vocab_size + task->request_->added.count);
  }
  if (logits_.rows() < count || logits_.cols() < cols) {
    logits_ = Buffer<float>(std::max(count, logits_.rows()), std::max(cols, logits_.cols()));
  }
  const View<float> logits = logits_.view();
  // One call for neighbours that may write the same tokens.
  const auto read = [&](int64_t row, int64_t rows, const AddedTokens& added) {
    if (rows == 0) return;
    base_->model->Logits(hidden.Rows(row, rows),
                         logits.Rows(row, rows).Cols(0, vocab_size + added.count),
                         added.written_head());
  };
  int64_t begin = 0, row = 0;
  const AddedTokens* added = nullptr;
  for (const DecodeTask* task : fed_) {
    if (task->finished_) continue;
    if (added != nullptr && !WriteTheSame(*added, task->request_->added)) {
      read(begin, row - begin, *added);
      begin = row;
    }
    added = &task->request_->added;
    ++row;
  }
  if (added != nullptr) read(begin, row - begin, *added);

  row = 0;
  for (DecodeTask* task : fed_) {
    task->request_->fed_tokens += std::exchange(task->unfed_, 0);
    if (!task->finished_) {
      const int64_t width = vocab_size + task->request_->added.count;
      Accept(*task, {logits.row(row++), static_cast<size_t>(width)});
    }
    if (task->finished_ && task->unfed_ == 0 && !task->done_) Seal(*task);
  }
  return count;
}

void Engine::Seal(DecodeTask& task) {
  DecodeRequest& request = *task.request_;
  task.done_ = true;
  if (request.finish != FinishReason::kStopString) request.text += task.decoder_.Finish();
  request.tokens.shrink_to_fit();
  request.text.shrink_to_fit();
  if (task.segment_->token_count() == 0) return;
  task.segment_->set_content_hash(HashOfContent(base_hash_, base_->config().vocab_size,
                                                {.kind = request.provenance.kind,
                                                 .start_position = request.start_position,
                                                 .dtype = pool_->layout().dtype,
                                                 .view = request.view,
                                                 .tokens = task.segment_->tokens(),
                                                 .vectors = {},
                                                 .added_embedding = request.added.rows.embedding}));
  request.segment = std::move(task.segment_);
}

// hidden: the rows that the request wants read, the last of its tokens'.
void Engine::Seal(PrefillTask& task, View<const float> hidden) {
  PrefillRequest& request = *task.request_;
  if (request.want_logits) {
    request.logits.resize(base_->config().vocab_size + request.added.count);
    base_->model->Logits(hidden.Rows(hidden.rows() - 1, 1),
                         {request.logits.data(), 1, std::ssize(request.logits)},
                         request.added.written_head());
  }
  const int64_t target_count = std::ssize(request.targets);
  if (target_count > 0) {
    AddLosses(*base_->model, hidden.Rows(hidden.rows() - target_count, target_count), request);
  }
  task.tail_->set_content_hash(HashOf(request));
  request.segment = std::move(task.tail_);
}

}  // namespace onepass
