// One thread for work that would hold up the one that serves connections: reading requests.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

namespace onepass {

// Thread-safe. Not copyable.
class WorkerThread {
 public:
  WorkerThread() : thread_([this] { Work(); }) {}
  // Waits for what it does; what has not begun is destroyed by the caller's thread.
  ~WorkerThread();
  WorkerThread(const WorkerThread&) = delete;
  WorkerThread& operator=(const WorkerThread&) = delete;

  // Does it soon, the least costs first (whatever their unit is), equal ones in order: what is cheap
  // waits for one dear piece of work at most. `work` must not throw.
  void Run(int64_t cost, std::function<void()> work);

 private:
  void Work();

  std::mutex mutex_;  // guards what stands below
  std::condition_variable wake_;
  std::multimap<int64_t, std::function<void()>> waiting_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace onepass
