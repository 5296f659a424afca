#include "serve/segment_index.h"

#include <algorithm>
#include <optional>

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
  Entry& entry = found->second;
  std::list<uint64_t>& ages = AgesOf(entry);
  ages.splice(ages.end(), ages, entry.age);
  return &entry;
}

void SegmentIndex::Add(uint64_t hash, const PrefillRequest& request) {
  Remove(hash);
  Entry made{.segment = request.segment,
             .logits = request.logits,
             .view = HashesOf(request.view),
             .age = {}};
  // Whole or not at all, also where there is no memory.
  std::list<uint64_t> age(1, hash);
  Entry& entry = entries_.emplace(hash, std::move(made)).first->second;
  std::list<uint64_t>& ages = AgesOf(entry);
  entry.age = age.begin();
  ages.splice(ages.end(), age);
  logits_bytes_ += std::ssize(entry.logits) * static_cast<int64_t>(sizeof(float));
  for (const uint64_t old : inputs_) {
    if (logits_bytes_ <= max_logits_bytes_) break;
    DropLogits(entries_.at(old));
  }
}

void SegmentIndex::DropLogits(Entry& entry) {
  logits_bytes_ -= std::ssize(entry.logits) * static_cast<int64_t>(sizeof(float));
  entry.logits = {};
}

void SegmentIndex::Remove(uint64_t hash) {
  const auto found = entries_.find(hash);
  if (found == entries_.end()) return;
  DropLogits(found->second);
  AgesOf(found->second).erase(found->second.age);
  entries_.erase(found);
}

// Prompts last: any run of their chain that may come needs them.
bool SegmentIndex::EvictOne(const std::unordered_map<uint64_t, int64_t>& next_use) {
  std::optional<uint64_t> latest;
  int64_t latest_use = -1;
  for (const std::list<uint64_t>* ages : {&inputs_, &prompts_}) {
    for (const uint64_t hash : *ages) {
      if (entries_.at(hash).segment.use_count() > 1) continue;
      const auto next = next_use.find(hash);
      if (next == next_use.end()) {
        Remove(hash);
        return true;
      }
      if (next->second > latest_use) {
        latest = hash;
        latest_use = next->second;
      }
    }
  }
  if (!latest) return false;
  Remove(*latest);
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
  std::vector<uint64_t> idle;
  for (const auto& [hash, entry] : entries_) {
    if (entry.segment.use_count() == 1) idle.push_back(hash);
  }
  for (const uint64_t hash : idle) Remove(hash);
}

}  // namespace onepass
