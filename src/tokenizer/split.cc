#include "tokenizer/split.h"

#include <algorithm>
#include <string>

namespace onepass {
namespace {

// Joins a match to the part before it, unless that is a match too.
void MergeWithPrevious(std::vector<TextPart>* parts) {
  std::vector<TextPart> merged;
  bool previous_match = false;
  for (const TextPart& part : *parts) {
    if (part.is_match && !previous_match && !merged.empty()) {
      merged.back().end = part.end;
    } else {
      merged.push_back(part);
    }
    previous_match = part.is_match;
  }
  *parts = std::move(merged);
}

void MergeWithNext(std::vector<TextPart>* parts) {
  std::vector<TextPart> merged;
  bool previous_match = false;
  for (auto part = parts->rbegin(); part != parts->rend(); ++part) {
    if (part->is_match && !previous_match && !merged.empty()) {
      merged.back().begin = part->begin;
    } else {
      merged.push_back(*part);
    }
    previous_match = part->is_match;
  }
  std::reverse(merged.begin(), merged.end());
  *parts = std::move(merged);
}

void MergeRuns(std::vector<TextPart>* parts) {
  std::vector<TextPart> merged;
  bool previous_match = false;
  for (const TextPart& part : *parts) {
    if (part.is_match == previous_match && !merged.empty()) {
      merged.back().end = part.end;
    } else {
      merged.push_back(part);
    }
    previous_match = part.is_match;
  }
  *parts = std::move(merged);
}

}  // namespace

Result<SplitBehavior> ParseSplitBehavior(const JsonNode& node, SplitBehavior fallback) {
  if (!node.present()) return fallback;
  ASSIGN_OR_RETURN(const std::string name, node.String());
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return node.Want("one of Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
}

void ApplySplitBehavior(SplitBehavior behavior, std::vector<TextPart>* parts) {
  switch (behavior) {
    case SplitBehavior::kIsolated:
      return;
    case SplitBehavior::kRemoved:
      std::erase_if(*parts, [](const TextPart& part) { return part.is_match; });
      return;
    case SplitBehavior::kMergedWithPrevious:
      return MergeWithPrevious(parts);
    case SplitBehavior::kMergedWithNext:
      return MergeWithNext(parts);
    case SplitBehavior::kContiguous:
      return MergeRuns(parts);
  }
}

}  // namespace onepass
