// Segments and views: the one idea everything follows from (docs/method.md, section 2).
// A Segment is the KV of consecutive tokens, written once and then immutable. A KvView is an
// ordered list of segments: what a new segment's tokens attend to besides earlier tokens of their
// own. There is no mask: what is not in the view does not exist for the reader.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "kv/page_pool.h"

namespace onepass {

enum class SegmentKind { kSharedInput, kPrompt, kOwnInput, kOutput };
std::string_view NameOf(SegmentKind kind);

// Where a segment came from: enough to decide who may read it. Plain data.
struct Provenance {
  SegmentKind kind = SegmentKind::kSharedInput;
  int32_t stage = -1;  // owner's index in the chain; -1: nobody (shared input)
  // Hash of everything that the KV depends on: the base's fingerprint, kind, tokens or prompt
  // vectors, start position, the type it is stored in and the hashes of the segments in its view.
  // On one backend equal hashes mean equal KV.
  uint64_t content_hash = 0;
};

class Segment;
using SegmentRef = std::shared_ptr<const Segment>;

// What a reader may see, in order. Cheap to copy (shared references).
class KvView {
 public:
  KvView() = default;
  explicit KvView(std::vector<SegmentRef> segments) : segments_(std::move(segments)) {}
  const std::vector<SegmentRef>& segments() const { return segments_; }
  int64_t token_count() const;
  void Append(SegmentRef segment) { segments_.push_back(std::move(segment)); }

 private:
  std::vector<SegmentRef> segments_;
};

// KV of consecutive tokens at positions [start_position, start_position + token_count).
// While it is being written only its writer holds it (unique_ptr); sealing it makes a SegmentRef,
// after which it is immutable and its reference count is thread-safe. Not copyable.
class Segment {
 public:
  Segment(PagePool& pool, int64_t start_position, Provenance provenance);

  PagePool& pool() const { return *pool_; }
  int64_t token_count() const { return token_count_; }
  int64_t start_position() const { return start_position_; }
  int64_t end_position() const { return start_position_ + token_count_; }
  const Provenance& provenance() const { return provenance_; }
  // Token ids, for text segments; -1 for the vectors of a soft prompt.
  const std::vector<int32_t>& tokens() const { return tokens_; }
  int64_t page_count() const { return pages_.size(); }
  int64_t bytes() const { return page_count() * pool_->layout().PageBytes(); }

  // Makes room for `count` more tokens (their KV is written by the model). kExhausted. Takes memory
  // and the pool's lock only where a page begins.
  Status Extend(std::span<const int32_t> tokens);
  Status ExtendWithVectors(int64_t count);
  // Drops what stands behind the first `count` tokens; before sealing only. Keeps the pages.
  void Truncate(int64_t count);
  // Sets the hash when everything is known; before sealing only.
  void set_content_hash(uint64_t hash) { provenance_.content_hash = hash; }

  // K or V rows of one layer in one page: [G][page_tokens][row].
  template <class Real>
  Real* k_plane(int64_t page_index, int64_t layer) const {
    return pool_->page<Real>(pages_.id(page_index)) + layer * 2 * pool_->layout().PlaneElements();
  }
  template <class Real>
  Real* v_plane(int64_t page_index, int64_t layer) const {
    return k_plane<Real>(page_index, layer) + pool_->layout().PlaneElements();
  }
  // The same as bytes, whatever the type.
  std::byte* k_bytes(int64_t page_index, int64_t layer) const {
    return pool_->page_bytes(pages_.id(page_index)) + layer * 2 * pool_->layout().PlaneBytes();
  }
  std::byte* v_bytes(int64_t page_index, int64_t layer) const {
    return k_bytes(page_index, layer) + pool_->layout().PlaneBytes();
  }

 private:
  Status Grow(int64_t count);
  PagePool* pool_;
  int64_t start_position_;
  Provenance provenance_;
  int64_t token_count_ = 0;
  std::vector<int32_t> tokens_;
  PageList pages_;
};

}  // namespace onepass
