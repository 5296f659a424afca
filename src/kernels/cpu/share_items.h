// How threads share the items of a product.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>

#include "core/thread_pool.h"
#include "kernels/cpu/blocking.h"

namespace onepass {

// Calls body(begin, end, thread) until [0, items) is done. Threads take a few items at a time: one
// that the system delays holds up the others less, and who computes an item changes nothing.
// min_step: items that are worth waking a thread for.
template <class Body>
void ShareItems(int64_t items, int64_t min_step, ThreadPool& pool, const Body& body) {
  const int64_t step = std::max({CeilDiv(items, 8 * pool.thread_count()), min_step, int64_t{1}});
  std::atomic<int64_t> next{0};
  auto work = [&](int64_t, int64_t, int thread) {
    for (int64_t i = next.fetch_add(step); i < items; i = next.fetch_add(step)) {
      body(i, std::min(i + step, items), thread);
    }
  };
  pool.ParallelFor(std::min<int64_t>(pool.thread_count(), CeilDiv(items, step)), 1, std::ref(work));
}

// Calls body(i, thread) for each of `items`, begun in their order, on `threads` threads at most.
template <class Body>
void ShareOneByOne(int64_t items, int64_t threads, ThreadPool& pool, const Body& body) {
  std::atomic<int64_t> next{0};
  auto work = [&](int64_t, int64_t, int thread) {
    for (int64_t i = next++; i < items; i = next++) body(i, thread);
  };
  pool.ParallelFor(std::min({threads, items, int64_t{pool.thread_count()}}), 1, std::ref(work));
}

}  // namespace onepass
