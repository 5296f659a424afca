#include "engine/task.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

namespace onepass {
namespace {

// Room for text: about twice what tokens of words have.
constexpr int64_t kTextBytesAToken = 8;

}  // namespace

PrefillTask::PrefillTask(PrefillRequest& request, PagePool& pool)
    : request_(&request),
      tail_(std::make_unique<Segment>(pool, request.start_position, request.provenance)),
      row_count_(request.vectors.empty() ? std::ssize(request.tokens) : request.vectors.rows()) {
  ONEPASS_CHECK(row_count_ > 0, "an empty segment");
  ONEPASS_CHECK(std::ssize(request.targets) <= row_count_, "a target without a token before it");
  request.segment = nullptr;
}

Status PrefillTask::Take(int64_t rows) {
  ONEPASS_CHECK(taken_ == 0 && rows > 0 && rows <= rows_left(), "rows that are left to take");
  ONEPASS_CHECK(request_->targets.empty() || rows == row_count_, "losses are of one call");
  if (request_->vectors.empty()) {
    RETURN_IF_ERROR(tail_->Extend(std::span(request_->tokens).subspan(tail_->token_count(), rows)));
  } else {
    RETURN_IF_ERROR(tail_->ExtendWithVectors(rows));
  }
  taken_ = rows;
  return Status::Ok();
}

DecodeTask::DecodeTask(DecodeRequest& request, PagePool& pool, const Tokenizer& tokenizer,
                       int64_t context)
    : request_(&request),
      segment_(std::make_unique<Segment>(pool, request.start_position, request.provenance)),
      sampler_(request.sampling),
      decoder_(tokenizer),
      tokenizer_(tokenizer),
      begin_(std::chrono::steady_clock::now()) {
  request.segment = nullptr;
  request.tokens.clear();
  request.drawn.clear();
  request.token_logprobs.clear();
  request.text.clear();
  request.fed_tokens = 0;
  request.stop_token = -1;
  request.first_token_seconds = -1;
  request.decode_seconds = 0;
  const int64_t most = std::clamp<int64_t>(request.stop.max_tokens, 0, context);
  request.tokens.reserve(most);
  request.text.reserve(most * kTextBytesAToken);
  text_ends_.reserve(most);
}

std::span<const TokenId> DecodeTask::Accept(TokenId token) {
  const StopRule& stop = request_->stop;
  if (std::ranges::find(stop.tokens, token) != stop.tokens.end()) {
    request_->stop_token = token;
    Finish(FinishReason::kStopToken);
    return {};
  }
  request_->tokens.push_back(token);
  request_->text += decoder_.Push(token);
  text_ends_.push_back(request_->text.size());
  size_t cut = std::string::npos;
  for (const std::string& string : stop.strings) {
    if (!string.empty()) cut = std::min(cut, request_->text.find(string));
  }
  if (cut != std::string::npos) {
    Finish(FinishReason::kStopString);
    return CutAt(cut);
  }
  if (std::ssize(request_->tokens) >= stop.max_tokens) Finish(FinishReason::kLength);
  return std::span(request_->tokens).last(1);
}

void DecodeTask::Finish(FinishReason reason) {
  request_->finish = reason;
  finished_ = true;
}

void DecodeTask::Fail(Status status) {
  status_ = std::move(status);
  segment_ = nullptr;
  unfed_ = 0;
  done_ = true;
}

std::span<const TokenId> DecodeTask::CutAt(size_t size) {
  const auto behind = std::ranges::upper_bound(text_ends_, size);
  const size_t whole = behind == text_ends_.begin() ? 0 : behind[-1];
  // The first token that ends there: those behind it gave no text.
  const int64_t kept =
      whole == 0 ? 0 : std::ranges::lower_bound(text_ends_, whole) - text_ends_.begin() + 1;
  std::vector<TokenId> rest =
      tokenizer_.Encode(std::string_view(request_->text).substr(whole, size - whole), {});
  // Never more tokens than were asked for: there may be no positions for them.
  rest.resize(std::min(std::ssize(rest), request_->stop.max_tokens - kept));
  request_->text.resize(size);
  request_->drawn = request_->tokens;
  request_->tokens.resize(kept);
  request_->tokens.insert(request_->tokens.end(), rest.begin(), rest.end());
  segment_->Truncate(std::ssize(request_->start_tokens) + kept);
  return std::span(request_->tokens).last(rest.size());
}

}  // namespace onepass
