#include "core/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>
#include <vector>

#include "core/check.h"

namespace onepass {
namespace {

// How often a waiting thread looks before it sleeps: some 20 to 50 microseconds, the usual gap
// between two kernels of a forward pass.
constexpr int kSpins = 1000;

inline void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns once value != old, with acquire order.
template <class T>
void WaitWhileEqual(const std::atomic<T>& value, T old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    Pause();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

struct ThreadPool::State {
  // One for each worker, on its own cache line. A part is offered by the caller and taken once: by
  // its worker, or by the caller itself where the worker has not begun (asleep, or without a core).
  enum Offer : uint32_t { kNone, kPart, kStop };
  struct alignas(64) Door {
    std::atomic<uint32_t> offer{kNone};
  };

  explicit State(int threads) : doors(static_cast<size_t>(threads)) {
    workers.reserve(static_cast<size_t>(threads - 1));
    try {
      for (; thread_count < threads; ++thread_count) {
        workers.emplace_back([this, t = thread_count] { Work(t); });
      }
    } catch (const std::system_error&) {
      // The system gives no more threads: those that there are do the work.
    }
  }

  ~State() {
    for (int t = 1; t < thread_count; ++t) Put(t, kStop);
    for (std::thread& worker : workers) worker.join();
  }

  void Put(int thread, Offer offer) {
    std::atomic<uint32_t>& door = doors[static_cast<size_t>(thread)].offer;
    door.store(offer, std::memory_order_release);
    door.notify_one();
  }

  // Whoever succeeds runs the part. The job stays as it is until all taken parts are done.
  bool Take(int thread) {
    uint32_t expected = kPart;
    return doors[static_cast<size_t>(thread)].offer.compare_exchange_strong(
        expected, kNone, std::memory_order_acq_rel);
  }

  void Work(int thread) {
    const std::atomic<uint32_t>& offer = doors[static_cast<size_t>(thread)].offer;
    while (true) {
      WaitWhileEqual<uint32_t>(offer, kNone);
      if (offer.load(std::memory_order_relaxed) == kStop) return;
      if (!Take(thread)) continue;
      RunPart(thread);
      // The caller may only be waiting while the count is above 0, so the last one wakes it.
      if (pending.fetch_sub(1, std::memory_order_acq_rel) == 1) pending.notify_one();
    }
  }

  // Part p of `parts`: the first `units % parts` parts are one unit longer.
  void RunPart(int part) const {
    const int64_t base = units / parts;
    const int64_t longer = units % parts;
    const int64_t first = part * base + std::min<int64_t>(part, longer);
    const int64_t last = first + base + (part < longer ? 1 : 0);
    const int64_t end = part + 1 == parts ? count : last * grain;
    (*body)(first * grain, end, part);
  }

  int thread_count = 1;  // with the caller's; fixed once constructed
  std::vector<Door> doors;
  std::vector<std::thread> workers;
  std::atomic<bool> busy{false};

  // The job: written by the caller before it offers parts, read by those who take one.
  int64_t count = 0;
  int64_t grain = 1;
  int64_t units = 0;
  int parts = 0;
  const std::function<void(int64_t, int64_t, int)>* body = nullptr;

  alignas(64) std::atomic<int> pending{0};
};

ThreadPool::ThreadPool(int thread_count) {
  ONEPASS_CHECK(thread_count >= 0, "a negative number of threads");
  if (thread_count == 0) thread_count = static_cast<int>(std::thread::hardware_concurrency());
  state_ = std::make_unique<State>(std::max(thread_count, 1));
}

ThreadPool::~ThreadPool() = default;

int ThreadPool::thread_count() const { return state_->thread_count; }

void ThreadPool::ParallelFor(int64_t count, int64_t grain,
                             const std::function<void(int64_t, int64_t, int)>& body) {
  ONEPASS_CHECK(count >= 0 && grain > 0, "ParallelFor needs count >= 0 and grain > 0");
  if (count == 0) return;
  State& state = *state_;
  const bool was_busy = state.busy.exchange(true, std::memory_order_acquire);
  ONEPASS_CHECK(!was_busy, "ParallelFor inside ParallelFor of the same pool");
  state.count = count;
  state.grain = grain;
  state.units = (count - 1) / grain + 1;
  state.parts = static_cast<int>(std::min<int64_t>(state.thread_count, state.units));
  state.body = &body;
  if (state.parts > 1) {
    state.pending.store(state.parts - 1, std::memory_order_relaxed);
    for (int t = 1; t < state.parts; ++t) state.Put(t, State::kPart);
  }
  state.RunPart(0);
  for (int t = state.parts - 1; t > 0; --t) {
    if (!state.Take(t)) continue;
    state.RunPart(t);
    state.pending.fetch_sub(1, std::memory_order_relaxed);
  }
  for (int left = state.pending.load(std::memory_order_acquire); left != 0;
       left = state.pending.load(std::memory_order_acquire)) {
    WaitWhileEqual(state.pending, left);
  }
  state.busy.store(false, std::memory_order_release);
}

}  // namespace onepass
