#include "serve/segment_index.h"

#include <gtest/gtest.h>

namespace onepass {
namespace {

// Hashes may be made to collide: whatever differs, the index does not give it.
TEST(SegmentIndex, GivesASegmentOnlyToWhatWouldWriteIt) {
  const KvLayout layout{.layers = 1, .kv_heads = 1, .head_dim = 8, .page_tokens = 4};
  PagePool pool(layout, 8);
  const Provenance shared{.kind = SegmentKind::kSharedInput, .stage = 1};
  const auto written = [&](std::vector<TokenId> tokens) -> SegmentRef {
    auto segment = std::make_unique<Segment>(pool, 3, shared);
    EXPECT_TRUE(segment->Extend(tokens).ok());
    return segment;
  };
  PrefillRequest request;
  request.tokens = {5, 6, 7};
  request.start_position = 3;
  request.provenance = shared;
  request.segment = written(request.tokens);
  SegmentIndex index(1 << 20);
  index.Add(42, request);
  request.segment.reset();
  EXPECT_NE(index.Find(42, request), nullptr);
  EXPECT_EQ(index.Find(43, request), nullptr);
  const auto changed = [&](auto change) {
    PrefillRequest other = request;
    change(other);
    return index.Find(42, other) == nullptr;
  };
  EXPECT_TRUE(changed([](PrefillRequest& r) { r.tokens[1] = 8; }));
  EXPECT_TRUE(changed([](PrefillRequest& r) { r.tokens.push_back(8); }));
  EXPECT_TRUE(changed([](PrefillRequest& r) { r.start_position = 4; }));
  EXPECT_TRUE(changed([](PrefillRequest& r) { r.provenance.stage = 2; }));
  EXPECT_TRUE(changed([](PrefillRequest& r) { r.provenance.kind = SegmentKind::kOwnInput; }));
  EXPECT_TRUE(changed([&](PrefillRequest& r) { r.view.Append(written({1})); }));
  EXPECT_TRUE(changed([](PrefillRequest& r) { r.want_logits = true; }));
  EXPECT_NE(index.Find(42, request), nullptr);
}

}  // namespace
}  // namespace onepass
