#include "kernels/cpu/share_items.h"

#include <gtest/gtest.h>

#include <vector>

namespace onepass {
namespace {

TEST(ShareItems, EachItemIsGivenOnceInStepsThatAreWorthIt) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (int64_t items : {0, 1, 7, 1000}) {
      for (int64_t min_step : {0, 1, 3, 5000}) {
        std::vector<std::atomic<int>> given(static_cast<size_t>(items));
        ShareItems(items, min_step, pool, [&](int64_t begin, int64_t end, int thread) {
          EXPECT_LT(begin, end);
          EXPECT_TRUE(end - begin >= min_step || end == items);
          EXPECT_TRUE(thread >= 0 && thread < threads);
          for (int64_t i = begin; i < end; ++i) ++given[i];
        });
        for (const std::atomic<int>& times : given) EXPECT_EQ(times, 1);
      }
    }
  }
}

TEST(ShareItems, OneByOneEachIsGivenOnceToNoMoreThreadsThanAsked) {
  ThreadPool pool(4);
  for (int64_t threads : {1, 3, 100}) {
    for (int64_t items : {0, 1, 50}) {
      std::vector<std::atomic<int>> given(static_cast<size_t>(items));
      ShareOneByOne(items, threads, pool, [&](int64_t i, int thread) {
        EXPECT_LT(thread, std::min<int64_t>(threads, 4));
        ++given[i];
      });
      for (const std::atomic<int>& times : given) EXPECT_EQ(times, 1);
    }
  }
}

}  // namespace
}  // namespace onepass
