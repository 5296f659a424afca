// Cuts a text at the matches of a pattern, in the five ways that tokenizer.json knows.
#pragma once

#include <cstddef>
#include <vector>

#include "core/status.h"
#include "tokenizer/json_node.h"

namespace onepass {

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// The node may be absent.
Result<SplitBehavior> ParseSplitBehavior(const JsonNode& node, SplitBehavior fallback);

// A part of a text, and whether the pattern matched it.
struct TextPart {
  size_t begin;
  size_t end;
  bool is_match;
};

// Collects the matches of a text as parts that cover it.
class PartCollector {
 public:
  // `invert`: what does not match counts as the match.
  PartCollector(size_t size, bool invert) : size_(size), invert_(invert) {}
  void AddMatch(size_t begin, size_t end) {
    if (last_ != begin) parts_.push_back({last_, begin, invert_});
    parts_.push_back({begin, end, !invert_});
    last_ = end;
  }
  std::vector<TextPart> Finish() {
    if (last_ != size_) parts_.push_back({last_, size_, invert_});
    return std::move(parts_);
  }

 private:
  size_t size_;
  bool invert_;
  size_t last_ = 0;
  std::vector<TextPart> parts_;
};

// Joins and drops parts in place, as the behaviour says.
void ApplySplitBehavior(SplitBehavior behavior, std::vector<TextPart>* parts);

}  // namespace onepass
