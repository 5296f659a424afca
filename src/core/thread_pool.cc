#include "core/thread_pool.h"

#include <algorithm>
#include <atomic>
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
  // One for each worker, on its own cache line: bumped when there is work for it or it must stop.
  struct alignas(64) Door {
    std::atomic<uint32_t> bell{0};
  };

  explicit State(int threads) : thread_count(threads), doors(static_cast<size_t>(threads)) {
    workers.reserve(static_cast<size_t>(threads - 1));
    for (int t = 1; t < threads; ++t) workers.emplace_back([this, t] { Work(t); });
  }

  ~State() {
    stop = true;
    for (int t = 1; t < thread_count; ++t) Ring(t);
    for (std::thread& worker : workers) worker.join();
  }

  void Ring(int thread) {
    std::atomic<uint32_t>& bell = doors[static_cast<size_t>(thread)].bell;
    bell.fetch_add(1, std::memory_order_release);
    bell.notify_one();
  }

  void Work(int thread) {
    const std::atomic<uint32_t>& bell = doors[static_cast<size_t>(thread)].bell;
    uint32_t seen = 0;
    while (true) {
      WaitWhileEqual(bell, seen);
      ++seen;
      if (stop) return;
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

  const int thread_count;
  std::vector<Door> doors;
  std::vector<std::thread> workers;
  std::atomic<bool> busy{false};

  // Written by the caller before it rings; read by workers after their bell.
  bool stop = false;
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
    for (int t = 1; t < state.parts; ++t) state.Ring(t);
  }
  state.RunPart(0);
  for (int left = state.pending.load(std::memory_order_acquire); left != 0;
       left = state.pending.load(std::memory_order_acquire)) {
    WaitWhileEqual(state.pending, left);
  }
  state.busy.store(false, std::memory_order_release);
}

}  // namespace onepass
