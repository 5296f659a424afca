#include "serve/worker_thread.h"

#include <utility>

namespace onepass {

WorkerThread::~WorkerThread() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void WorkerThread::Run(std::chrono::microseconds cost, std::function<void()> work) {
  {
    std::lock_guard lock(mutex_);
    waiting_.emplace(std::chrono::steady_clock::now() + cost, std::move(work));
  }
  wake_.notify_one();
}

void WorkerThread::Work() {
  while (true) {
    std::function<void()> work;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stop_ || !waiting_.empty(); });
      if (stop_) return;
      work = std::move(waiting_.extract(waiting_.begin()).mapped());
    }
    work();
  }
}

}  // namespace onepass
