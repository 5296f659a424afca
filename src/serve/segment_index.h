// Segments that many runs may read: front prompts and shared inputs, found by what they are
// (Provenance and content), kept while there is room. A segment is only ever given to a request
// that would write the very same: the same kind, stage, position, tokens and view.
#pragma once

#include <cstdint>
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
    int64_t last_use = 0;
  };

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

  // Of segments that nobody else holds.
  int64_t idle_pages() const;

 private:
  std::unordered_map<uint64_t, Entry> entries_;
  int64_t clock_ = 0;
};

}  // namespace onepass
