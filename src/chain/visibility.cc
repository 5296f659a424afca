#include "chain/visibility.h"

#include <algorithm>

namespace onepass {

bool Sees(Placement placement, const PlannedSegment& reader, std::span<const int> reads,
          const PlannedSegment& segment) {
  if (reader.kind == SegmentKind::kSharedInput) return false;
  if (reader.kind == SegmentKind::kPrompt && placement == Placement::kFront) return false;
  if (reader.before_shared && segment.kind != SegmentKind::kPrompt) return false;
  switch (segment.kind) {
    case SegmentKind::kSharedInput:
      return true;
    case SegmentKind::kPrompt:
      return segment.stage == reader.stage && reader.kind != SegmentKind::kPrompt;
    case SegmentKind::kOwnInput:
      return segment.stage == reader.stage;
    case SegmentKind::kOutput:
      return std::ranges::find(reads, segment.stage) != reads.end();
  }
  return false;
}

std::vector<int> ViewOf(Placement placement, const PlannedSegment& reader,
                        std::span<const int> reads, std::span<const PlannedSegment> segments,
                        std::span<const int> cache) {
  std::vector<int> view;
  for (const int id : cache) {
    if (Sees(placement, reader, reads, segments[id])) view.push_back(id);
  }
  // Front prompts stand first, then inputs before the shared one, then that; the rest is written in
  // the order of its positions.
  const auto rank = [&](int id) {
    const SegmentKind kind = segments[id].kind;
    if (kind == SegmentKind::kPrompt && placement == Placement::kFront) return 0;
    if (segments[id].before_shared) return 1;
    return kind == SegmentKind::kSharedInput ? 2 : 3;
  };
  std::ranges::sort(view,
                    [&](int a, int b) { return rank(a) != rank(b) ? rank(a) < rank(b) : a < b; });
  return view;
}

}  // namespace onepass
