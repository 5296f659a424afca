// How threads share the items of a product.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>

#include "core/thread_pool.h"
#include "kernels/cpu/blocking.h"

namespace onepass {

// Calls body(begin, end, thread) until [0, items) is done. A thread takes half of its even share of
// what is left, so that steps shrink: large ones cost little, and one that the system delays holds
// up the others by a small step at the end. Who computes an item changes nothing.
// min_step: items that are worth waking a thread for.
template <class Body>
void ShareItems(int64_t items, int64_t min_step, ThreadPool& pool, const Body& body) {
  min_step = std::max<int64_t>(min_step, 1);
  const int64_t threads = std::min<int64_t>(pool.thread_count(), CeilDiv(items, min_step));
  std::atomic<int64_t> next{0};
  auto work = [&](int64_t, int64_t, int thread) {
    int64_t begin = next.load(std::memory_order_relaxed);
    while (begin < items) {
      const int64_t step = std::max((items - begin) / (2 * threads), min_step);
      const int64_t end = std::min(begin + step, items);
      if (!next.compare_exchange_weak(begin, end)) continue;
      body(begin, end, thread);
      begin = next.load(std::memory_order_relaxed);
    }
  };
  pool.ParallelFor(threads, 1, std::ref(work));
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
