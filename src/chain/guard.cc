#include "chain/guard.h"

namespace onepass {

std::string DescribePlanned(const PlannedSegment& segment) {
  if (segment.kind == SegmentKind::kSharedInput) return "shared input";
  const std::string what =
      segment.text_of.empty() ? std::string(NameOf(segment.kind)) : std::string("re-read text");
  return what + " of stage " + std::to_string(segment.stage);
}

KvView AttachView(const Plan& plan, int reader, const std::vector<WrittenSegment>& written) {
  KvView view;
  for (const int id : plan.segments[reader].view) {
    if (written[id].segment != nullptr) view.Append(written[id].segment);
  }
  return view;
}

Status GuardRead(const Plan& plan, int reader, const std::vector<WrittenSegment>& written,
                 const KvView& view) {
  const std::string who = "read refused: " + DescribePlanned(plan.segments[reader]);
  size_t next = 0;
  for (const int id : plan.segments[reader].view) {
    const PlannedSegment& planned = plan.segments[id];
    const WrittenSegment& expected = written[id];
    if (expected.segment == nullptr) {
      if (expected.token_count == 0) continue;
      return InvalidArgument(who + " wants the " + DescribePlanned(planned) + ", which is dead");
    }
    if (next >= view.segments().size()) {
      return InvalidArgument(who + " wants the " + DescribePlanned(planned) +
                             ", found nothing in its view");
    }
    const Segment& found = *view.segments()[next++];
    const Provenance& origin = found.provenance();
    if (&found != expected.segment.get() || origin.kind != planned.kind ||
        origin.stage != planned.stage) {
      return InvalidArgument(who + " wants the " + DescribePlanned(planned) + ", found the " +
                             std::string(NameOf(origin.kind)) + " of stage " +
                             std::to_string(origin.stage) + " in its view");
    }
    if (origin.content_hash != expected.content_hash ||
        found.token_count() != expected.token_count) {
      return InvalidArgument(who + ": the " + DescribePlanned(planned) +
                             " is not what its writer recorded");
    }
  }
  if (next != view.segments().size()) {
    const Provenance& origin = view.segments()[next]->provenance();
    return InvalidArgument(who + ": the " + std::string(NameOf(origin.kind)) + " of stage " +
                           std::to_string(origin.stage) + " is not in its plan");
  }
  return Status::Ok();
}

}  // namespace onepass
