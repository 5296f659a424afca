// One thread for work that would hold up the one that serves connections: reading requests.
#pragma once

#include <chrono>
#include <condition_variable>
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

  // Does it soon. `cost`: what it may take. What came when later work would have been done already
  // goes first, so that what is cheap does not wait behind much that is dear, and nothing for ever.
  // `work` must not throw.
  void Run(std::chrono::microseconds cost, std::function<void()> work);

 private:
  void Work();

  std::mutex mutex_;  // guards what stands below
  std::condition_variable wake_;
  // By when it would be done, were there nothing else.
  std::multimap<std::chrono::steady_clock::time_point, std::function<void()>> waiting_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace onepass
