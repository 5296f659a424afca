#include "core/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <latch>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace onepass {
namespace {

struct Part {
  int64_t begin;
  int64_t end;
  int thread;
};

std::vector<Part> PartsOf(ThreadPool& pool, int64_t count, int64_t grain) {
  std::mutex mutex;
  std::vector<Part> parts;
  pool.ParallelFor(count, grain, [&](int64_t begin, int64_t end, int thread) {
    const std::lock_guard lock(mutex);
    parts.push_back({begin, end, thread});
  });
  std::sort(parts.begin(), parts.end(), [](auto& a, auto& b) { return a.begin < b.begin; });
  return parts;
}

TEST(ThreadPool, PartsTileTheRangeOnGrainBorders) {
  for (int threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    for (int64_t count : {1, 2, 3, 7, 8, 63, 64, 65, 1000}) {
      for (int64_t grain : {1, 2, 8, 64, 2000}) {
        SCOPED_TRACE(testing::Message() << threads << " threads, " << count << " by " << grain);
        const std::vector<Part> parts = PartsOf(pool, count, grain);
        const int64_t units = (count + grain - 1) / grain;
        ASSERT_EQ(std::ssize(parts), std::min<int64_t>(threads, units));
        int64_t at = 0;
        std::set<int> seen;
        int64_t least = count, most = 0;
        for (const Part& part : parts) {
          EXPECT_EQ(part.begin, at);
          EXPECT_GT(part.end, part.begin);
          EXPECT_EQ(part.begin % grain, 0);
          EXPECT_TRUE(seen.insert(part.thread).second);
          EXPECT_LT(part.thread, threads);
          const int64_t part_units = (part.end - part.begin + grain - 1) / grain;
          least = std::min(least, part_units);
          most = std::max(most, part_units);
          at = part.end;
        }
        EXPECT_EQ(at, count);
        EXPECT_LE(most - least, 1);
      }
    }
  }
}

TEST(ThreadPool, SamePartitionEveryTime) {
  ThreadPool pool(3);
  const std::vector<Part> first = PartsOf(pool, 100, 8);
  for (int repeat = 0; repeat < 50; ++repeat) {
    const std::vector<Part> again = PartsOf(pool, 100, 8);
    ASSERT_EQ(again.size(), first.size());
    for (size_t i = 0; i < first.size(); ++i) {
      EXPECT_EQ(again[i].end, first[i].end);
      EXPECT_EQ(again[i].thread, first[i].thread);
    }
  }
}

// Each part waits for all the others: one thread alone would never end.
TEST(ThreadPool, PartsRunAtTheSameTime) {
  ThreadPool pool(3);
  for (int round = 0; round < 20; ++round) {
    std::latch all(3);
    std::mutex mutex;
    std::set<std::thread::id> ids;
    pool.ParallelFor(3, 1, [&](int64_t, int64_t, int) {
      all.arrive_and_wait();
      const std::lock_guard lock(mutex);
      ids.insert(std::this_thread::get_id());
    });
    EXPECT_EQ(ids.size(), 3u);
    EXPECT_EQ(ids.count(std::this_thread::get_id()), 1u);
  }
}

// The caller and the worker both reach for the same part: one of them gets it.
TEST(ThreadPool, NoPartRunsTwice) {
  ThreadPool pool(4);
  std::vector<int> runs(4, 0);
  for (int round = 0; round < 300; ++round) {
    pool.ParallelFor(4, 1, [&](int64_t begin, int64_t, int thread) {
      EXPECT_EQ(begin, thread);
      ++runs[static_cast<size_t>(begin)];
    });
  }
  for (int count : runs) EXPECT_EQ(count, 300);
}

TEST(ThreadPool, EmptyRangeCallsNothing) {
  ThreadPool pool(2);
  EXPECT_TRUE(PartsOf(pool, 0, 4).empty());
}

// Each loop reads what the loop before wrote in other parts: a lost wake-up hangs, a missing
// barrier gives a wrong sum (and a report under the thread sanitizer).
TEST(ThreadPool, EveryLoopSeesTheOneBefore) {
  ThreadPool pool(4);
  std::vector<int64_t> values(64, 0);
  std::vector<int64_t> next(64, 0);
  const int rounds = 600;
  for (int round = 0; round < rounds; ++round) {
    // Longer pauses now and then, so that the workers sleep as well as spin.
    if (round % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    pool.ParallelFor(64, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) next[i] = values[63 - i] + 1;
    });
    values.swap(next);
  }
  for (int64_t value : values) EXPECT_EQ(value, rounds);
}

TEST(ThreadPool, ZeroMeansOnePerHardwareThread) {
  ThreadPool pool;
  EXPECT_EQ(pool.thread_count(),
            std::max(1, static_cast<int>(std::thread::hardware_concurrency())));
}

TEST(ThreadPoolDeathTest, NestedLoopsAreRefused) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        ThreadPool pool(1);
        pool.ParallelFor(
            1, 1, [&](int64_t, int64_t, int) { pool.ParallelFor(1, 1, [](auto, auto, auto) {}); });
      },
      "same pool");
}

}  // namespace
}  // namespace onepass
