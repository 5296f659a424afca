// Nothing crosses an undeclared border: a view is checked against the plan before it is read.
#pragma once

#include <cstdint>
#include <vector>

#include "chain/plan.h"
#include "kv/segment.h"

namespace onepass {

// What a record has written so far, by planned id. Plain data.
struct WrittenSegment {
  SegmentRef segment;         // null: not written yet, empty, or dead
  uint64_t content_hash = 0;  // what its writer recorded
  int64_t token_count = 0;
};

// The view that the plan gives `reader`: what it lists and is not empty, in its order.
KvView AttachView(const Plan& plan, int reader, const std::vector<WrittenSegment>& written);

// Ok if `view` is exactly what the plan lets planned segment `reader` attend to: the segments that
// this record wrote under those ids, of the planned kind and stage, with the content that their
// writer recorded, and nothing else. kInvalidArgument says which segment was refused and why.
Status GuardRead(const Plan& plan, int reader, const std::vector<WrittenSegment>& written,
                 const KvView& view);

// "output of stage 1", for messages.
std::string DescribePlanned(const PlannedSegment& segment);

}  // namespace onepass
