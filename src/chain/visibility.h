// Who sees whom: the table of docs/method.md, section 2, as one function. There is no other place
// that decides what a token may attend to.
#pragma once

#include <span>
#include <vector>

#include "chain/plan.h"

namespace onepass {

// Whether tokens of `reader` attend to all of `segment`, an earlier one in the reader's cache.
// `reads` are the stages whose outputs the reader's stage attends to where they lie (none under a
// text hand-off, which reads their text again in a segment of its own).
//
//   shared input  sees nothing
//   prompt        front: nothing; inline: the shared input, outputs read, texts read again
//   own input     its prompt, the shared input, earlier own inputs of its stage, outputs read
//   output        the same, its own inputs included
bool Sees(Placement placement, const PlannedSegment& reader, std::span<const int> reads,
          const PlannedSegment& segment);

// Ids of the `cache` (ids of earlier segments that could be seen) that the reader sees, in the
// order of their positions.
std::vector<int> ViewOf(Placement placement, const PlannedSegment& reader,
                        std::span<const int> reads, std::span<const PlannedSegment> segments,
                        std::span<const int> cache);

}  // namespace onepass
