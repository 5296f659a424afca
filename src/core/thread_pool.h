// A fixed set of worker threads for data-parallel loops. None is pinned to a core: docs/adr/0010.
// The caller's thread works too. Which thread computes which part never changes a result: kernels
// split over outputs, or over parts of a sum that are added in one order.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace onepass {

// Thread-compatible: one ParallelFor at a time. Not copyable.
class ThreadPool {
 public:
  // thread_count >= 1 counts the caller; 0 means one per hardware thread. Where the system refuses
  // threads there are fewer.
  explicit ThreadPool(int thread_count = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int thread_count() const;

  // Splits [0, count) into at most thread_count() contiguous parts of nearly equal size, whose
  // borders are multiples of `grain` (but for the last), and calls body(begin, end, thread) once
  // for each; `thread` is the part's number. The caller also runs parts that no worker has begun.
  // Returns when all are done. `body` must not throw, nor call ParallelFor of the same pool.
  void ParallelFor(int64_t count, int64_t grain,
                   const std::function<void(int64_t begin, int64_t end, int thread)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace onepass
