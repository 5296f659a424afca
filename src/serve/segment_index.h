// Segments that many runs may read: front prompts and shared inputs, found by what they are
// (Provenance and content), kept while there is room. A segment is only ever given to a request
// that would write the very same: the same kind, stage, position, tokens and view.
#pragma once

#include <cstdint>
#include <list>
#include <unordered_map>
#include <vector>

#include "engine/request.h"
#include "kv/segment.h"

namespace onepass {

// Thread-compatible. Not copyable. Holds its segments' pages.
class SegmentIndex {
 public:
  struct Entry {
    SegmentRef segment;
    std::vector<float> logits;   // after its last token, where its writer wanted them
    std::vector<uint64_t> view;  // content hashes
    std::list<uint64_t>::iterator age;
  };

  // Beside their pages, entries keep at most so many bytes of logits, those of the last used.
  explicit SegmentIndex(int64_t max_logits_bytes) : max_logits_bytes_(max_logits_bytes) {}
  SegmentIndex(const SegmentIndex&) = delete;
  SegmentIndex& operator=(const SegmentIndex&) = delete;

  // What `request`, whose content hash this is, would write; null: it is not there. Valid until the
  // next call. Its age begins anew.
  const Entry* Find(uint64_t hash, const PrefillRequest& request);
  // `request` is done: keeps its segment.
  void Add(uint64_t hash, const PrefillRequest& request);
  // Drops the segment that nobody else holds, is needed latest, and was used longest ago; false:
  // there is none. next_use: by hash, how many runs come before the first that is known to need it.
  bool EvictOne(const std::unordered_map<uint64_t, int64_t>& next_use);
  // Drops all that nobody else holds.
  void Clear();

  // Of segments that nobody else holds: walks all of them.
  int64_t idle_pages() const;

 private:
  // Prompts and inputs, the longest unused first.
  std::list<uint64_t>& AgesOf(const Entry& entry) {
    return entry.segment->provenance().kind == SegmentKind::kPrompt ? prompts_ : inputs_;
  }
  void Remove(uint64_t hash);
  void DropLogits(Entry& entry);

  int64_t max_logits_bytes_;
  int64_t logits_bytes_ = 0;
  std::unordered_map<uint64_t, Entry> entries_;
  std::list<uint64_t> inputs_, prompts_;
};

}  // namespace onepass
