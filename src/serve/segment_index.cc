#include "serve/segment_index.h"

#include <algorithm>
#include <limits>
#include <tuple>

namespace onepass {
namespace {

std::vector<uint64_t> HashesOf(const KvView& view) {
  std::vector<uint64_t> hashes;
  for (const SegmentRef& segment : view.segments()) {
    hashes.push_back(segment->provenance().content_hash);
  }
  return hashes;
}

// Hashes may be made to collide: what was asked for is looked at itself.
bool IsWhatItWrites(const SegmentIndex::Entry& entry, const PrefillRequest& request) {
  const Segment& segment = *entry.segment;
  const Provenance& is = segment.provenance();
  const Provenance& wanted = request.provenance;
  if (is.kind != wanted.kind || is.stage != wanted.stage ||
      segment.start_position() != request.start_position || entry.view != HashesOf(request.view)) {
    return false;
  }
  if (request.want_logits && entry.logits.empty()) return false;
  // Vectors come from prompts that the server loaded, not from requests.
  if (!request.vectors.empty()) return segment.token_count() == request.vectors.rows();
  return std::ranges::equal(segment.tokens(), request.tokens);
}

}  // namespace

const SegmentIndex::Entry* SegmentIndex::Find(uint64_t hash, const PrefillRequest& request) {
  const auto found = entries_.find(hash);
  if (found == entries_.end() || !IsWhatItWrites(found->second, request)) return nullptr;
  found->second.last_use = ++clock_;
  return &found->second;
}

void SegmentIndex::Add(uint64_t hash, const PrefillRequest& request) {
  entries_[hash] = {.segment = request.segment,
                    .logits = request.logits,
                    .view = HashesOf(request.view),
                    .last_use = ++clock_};
}

bool SegmentIndex::EvictOne(const std::unordered_map<uint64_t, int64_t>& next_use) {
  auto victim = entries_.end();
  std::tuple<int64_t, bool, int64_t> of_victim;
  for (auto it = entries_.begin(); it != entries_.end(); ++it) {
    const Entry& entry = it->second;
    if (entry.segment.use_count() > 1) continue;
    const auto next = next_use.find(it->first);
    // A prompt is needed by any run of its chain that may come.
    const bool prompt = entry.segment->provenance().kind == SegmentKind::kPrompt;
    const int64_t distance =
        next == next_use.end() ? std::numeric_limits<int64_t>::max() : next->second;
    const std::tuple worth(-distance, prompt, entry.last_use);
    if (victim == entries_.end() || worth < of_victim) {
      victim = it;
      of_victim = worth;
    }
  }
  if (victim == entries_.end()) return false;
  entries_.erase(victim);
  return true;
}

int64_t SegmentIndex::idle_pages() const {
  int64_t pages = 0;
  for (const auto& [hash, entry] : entries_) {
    if (entry.segment.use_count() == 1) pages += entry.segment->page_count();
  }
  return pages;
}

void SegmentIndex::Clear() {
  std::erase_if(entries_, [](const auto& item) { return item.second.segment.use_count() == 1; });
}

}  // namespace onepass
