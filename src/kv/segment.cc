#include "kv/segment.h"

#include <algorithm>

namespace onepass {

std::string_view NameOf(SegmentKind kind) {
  switch (kind) {
    case SegmentKind::kSharedInput:
      return "shared input";
    case SegmentKind::kPrompt:
      return "prompt";
    case SegmentKind::kOwnInput:
      return "own input";
    case SegmentKind::kOutput:
      return "output";
  }
  return "?";
}

int64_t KvView::token_count() const {
  int64_t count = 0;
  for (const SegmentRef& segment : segments_) count += segment->token_count();
  return count;
}

Segment::Segment(PagePool& pool, int64_t start_position, Provenance provenance)
    : pool_(&pool), start_position_(start_position), provenance_(provenance) {}

Status Segment::Extend(std::span<const int32_t> tokens) {
  RETURN_IF_ERROR(Grow(static_cast<int64_t>(tokens.size())));
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  return Status::Ok();
}

Status Segment::ExtendWithVectors(int64_t count) {
  RETURN_IF_ERROR(Grow(count));
  tokens_.insert(tokens_.end(), count, -1);
  return Status::Ok();
}

void Segment::Truncate(int64_t count) {
  ONEPASS_CHECK(count >= 0 && count <= token_count_, "cannot be cut to more than there is");
  token_count_ = count;
  tokens_.resize(count);
}

Status Segment::Grow(int64_t count) {
  const int64_t room = pages_.size() * pool_->layout().page_tokens - token_count_;
  if (count > room) {
    ASSIGN_OR_RETURN(PageList more, pool_->Allocate(count - room));
    pages_.Append(std::move(more));
    const auto needed = static_cast<size_t>(pages_.size() * pool_->layout().page_tokens);
    if (tokens_.capacity() < needed) tokens_.reserve(std::max(needed, 2 * tokens_.capacity()));
  }
  token_count_ += count;
  return Status::Ok();
}

}  // namespace onepass
