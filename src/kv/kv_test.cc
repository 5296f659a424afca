#include <gtest/gtest.h>

#include <vector>

#include "kv/segment.h"

namespace onepass {
namespace {

KvLayout SmallLayout() {
  return {.layers = 2, .kv_heads = 3, .head_dim = 4, .page_tokens = 8, .dtype = DType::kF32};
}

TEST(KvLayout, BytesFollowTheShape) {
  const KvLayout layout = SmallLayout();
  EXPECT_EQ(layout.PageElements(), 2 * 2 * 3 * 8 * 4);
  EXPECT_EQ(layout.TokenBytes(), 2 * 2 * 3 * 4 * 4);
}

TEST(KvLayout, NarrowTypesTakeTheBytesOfTheirRows) {
  KvLayout layout = SmallLayout();
  const int64_t row_count = 2 * 2 * 3 * 8;  // layers, K and V, heads, tokens
  EXPECT_EQ(layout.PageBytes(), row_count * 4 * 4);
  layout.dtype = DType::kBF16;
  EXPECT_EQ(layout.PageBytes(), row_count * 4 * 2);
  layout.dtype = DType::kI8;
  EXPECT_EQ(layout.PageBytes(), row_count * (4 + 4));  // and the scale
  EXPECT_EQ(layout.TokenBytes() * 8, layout.PageBytes());
}

TEST(KvType, HasAUsersName) {
  for (const char* name : {"f32", "bf16", "int8"}) {
    const Result<DType> dtype = ParseKvType(name);
    ASSERT_TRUE(dtype.ok());
    EXPECT_EQ(KvTypeName(*dtype), name);
    EXPECT_TRUE(CheckKvType(*dtype).ok());
  }
  EXPECT_EQ(ParseKvType("f64").status().message(),
            "kv: want one of f32, bf16, int8, found \"f64\"");
  EXPECT_EQ(CheckKvType(DType::kF16).message(), "kv: want f32, bf16 or int8, found F16");
}

TEST(PagePool, AllocatesAllOrNone) {
  PagePool pool(SmallLayout(), 3);
  Result<PageList> two = pool.Allocate(9);
  ASSERT_TRUE(two.ok());
  EXPECT_EQ(two->size(), 2);
  Result<PageList> more = pool.Allocate(9);
  ASSERT_FALSE(more.ok());
  EXPECT_EQ(more.status().code(), StatusCode::kExhausted);
  EXPECT_EQ(more.status().message(), "kv pages: want 2, 1 of 3 are free");
  EXPECT_EQ(pool.pages_used(), 2);
}

TEST(PagePool, PagesComeBackWhenTheirListDies) {
  PagePool pool(SmallLayout(), 4);
  {
    PageList list = std::move(pool.Allocate(32)).value();
    EXPECT_EQ(pool.pages_used(), 4);
    PageList moved = std::move(list);
    EXPECT_EQ(pool.pages_used(), 4);
  }
  EXPECT_EQ(pool.pages_used(), 0);
  EXPECT_EQ(pool.pages_peak(), 4);
  pool.ResetPeak();
  EXPECT_EQ(pool.pages_peak(), 0);
  EXPECT_TRUE(pool.Allocate(32).ok());
}

TEST(PagePool, PagesNeverOverlap) {
  PagePool pool(SmallLayout(), 5);
  PageList list = std::move(pool.Allocate(40)).value();
  const int64_t n = pool.layout().PageElements();
  for (int64_t p = 0; p < list.size(); ++p) {
    std::fill_n(pool.page<float>(list.id(p)), n, static_cast<float>(p));
  }
  for (int64_t p = 0; p < list.size(); ++p) {
    const float* page = pool.page<float>(list.id(p));
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(page[i], static_cast<float>(p));
  }
}

TEST(Segment, GrowsByPagesAndKeepsItsTokens) {
  PagePool pool(SmallLayout(), 4);
  Segment segment(pool, 100, {.kind = SegmentKind::kOutput, .stage = 1});
  const std::vector<int32_t> seven(7, 5);
  ASSERT_TRUE(segment.Extend(seven).ok());
  EXPECT_EQ(segment.page_count(), 1);
  ASSERT_TRUE(segment.ExtendWithVectors(2).ok());
  EXPECT_EQ(segment.page_count(), 2);
  EXPECT_EQ(segment.token_count(), 9);
  EXPECT_EQ(segment.end_position(), 109);
  EXPECT_EQ(segment.tokens().back(), -1);
  EXPECT_EQ(segment.v_plane<float>(1, 1) - segment.k_plane<float>(1, 1),
            pool.layout().PlaneElements());
}

TEST(Segment, PlanesOfEveryTypeFillTheirPagesWithoutOverlap) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
    KvLayout layout = SmallLayout();
    layout.dtype = dtype;
    PagePool pool(layout, 2);
    Segment segment(pool, 0, {});
    ASSERT_TRUE(segment.Extend(std::vector<int32_t>(16, 1)).ok());
    EXPECT_EQ(segment.bytes(), 2 * layout.PageBytes());
    for (int64_t page = 0; page < 2; ++page) {
      const std::byte* next = segment.k_bytes(page, 0);
      for (int64_t layer = 0; layer < 2; ++layer) {
        EXPECT_EQ(segment.k_bytes(page, layer), next);
        EXPECT_EQ(segment.v_bytes(page, layer), next += layout.PlaneBytes());
        next += layout.PlaneBytes();
      }
      EXPECT_EQ(next - segment.k_bytes(page, 0), layout.PageBytes());
    }
  }
}

TEST(Segment, TruncatingMakesRoomInThePagesThatItHas) {
  PagePool pool(SmallLayout(), 1);
  Segment segment(pool, 5, {});
  const std::vector<int32_t> eight(8, 1);
  ASSERT_TRUE(segment.Extend(eight).ok());
  segment.Truncate(3);
  EXPECT_EQ(segment.end_position(), 8);
  EXPECT_EQ(segment.tokens().size(), 3u);
  EXPECT_TRUE(segment.Extend(std::span(eight).first(5)).ok());
}

TEST(Segment, AFailedExtensionChangesNothing) {
  PagePool pool(SmallLayout(), 1);
  Segment segment(pool, 0, {});
  const std::vector<int32_t> eight(8, 1);
  ASSERT_TRUE(segment.Extend(eight).ok());
  EXPECT_EQ(segment.Extend(eight).code(), StatusCode::kExhausted);
  EXPECT_EQ(segment.token_count(), 8);
  EXPECT_EQ(segment.tokens().size(), 8u);
}

}  // namespace
}  // namespace onepass
