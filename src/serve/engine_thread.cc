#include "serve/engine_thread.h"

#include <algorithm>

namespace onepass {

Status EngineThreadOptions::Validate() const {
  if (max_waiting < 0 || max_waiting > 1'000'000) {
    return InvalidArgument("max_waiting: want 0 to 1000000, found " + std::to_string(max_waiting));
  }
  return scheduler.Validate();
}

EngineThread::EngineThread(Base& base, const EngineThreadOptions& options)
    : max_waiting_(options.max_waiting),
      scheduler_(base, options.scheduler),
      page_count_(scheduler_.stats().pages),
      layout_(scheduler_.layout()),
      stats_(scheduler_.stats()),
      thread_([this] { Run(); }) {}

EngineThread::~EngineThread() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

Result<std::vector<uint64_t>> EngineThread::Submit(std::vector<std::unique_ptr<RunOrder>> orders) {
  for (const std::unique_ptr<RunOrder>& order : orders) {
    if (order->need.most <= page_count_) continue;
    return InvalidArgument("kv: want at most " + std::to_string(page_count_) +
                           " pages of KV for a request, found that it may hold " +
                           std::to_string(order->need.most));
  }
  const int64_t most_at_once = max_waiting_ + stats().max_running;
  if (std::ssize(orders) > most_at_once) {
    return InvalidArgument("n: want at most " + std::to_string(most_at_once) +
                           " prompts times answers, found " + std::to_string(orders.size()));
  }
  std::vector<uint64_t> ids;
  {
    std::lock_guard lock(mutex_);
    const int64_t waiting = stats_.waiting + std::ssize(added_);
    // What an idle server can begin at once does not wait.
    const int64_t room =
        max_waiting_ + std::max<int64_t>(0, stats_.max_running - stats_.running) - waiting;
    if (std::ssize(orders) > room) {
      return Exhausted("queue: " + std::to_string(waiting) + " of " + std::to_string(max_waiting_) +
                       " places are taken");
    }
    for (std::unique_ptr<RunOrder>& order : orders) {
      ids.push_back(next_id_);
      added_.emplace_back(next_id_++, std::move(order));
    }
  }
  wake_.notify_one();
  return ids;
}

void EngineThread::Cancel(uint64_t id) {
  {
    std::lock_guard lock(mutex_);
    cancelled_.push_back(id);
  }
  wake_.notify_one();
}

void EngineThread::EndAll() {
  {
    std::lock_guard lock(mutex_);
    end_all_ = true;
  }
  wake_.notify_one();
}

void EngineThread::DropIdleSegments() {
  {
    std::lock_guard lock(mutex_);
    drop_idle_ = true;
  }
  wake_.notify_one();
}

SchedulerStats EngineThread::stats() const {
  std::lock_guard lock(mutex_);
  SchedulerStats stats = stats_;
  stats.waiting += std::ssize(added_);
  return stats;
}

void EngineThread::Run() {
  bool busy = false;
  while (true) {
    std::vector<std::pair<uint64_t, std::unique_ptr<RunOrder>>> added;
    std::vector<uint64_t> cancelled;
    bool drop_idle = false, end_all = false;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] {
        return busy || stop_ || drop_idle_ || end_all_ || !added_.empty() || !cancelled_.empty();
      });
      if (stop_) return;
      added.swap(added_);
      cancelled.swap(cancelled_);
      std::swap(drop_idle, drop_idle_);
      std::swap(end_all, end_all_);
      stats_.waiting += std::ssize(added);  // until the step has told
    }
    for (const uint64_t id : cancelled) scheduler_.Cancel(id);
    if (drop_idle) scheduler_.DropIdleSegments();
    try {
      for (auto& [id, order] : added) {
        // Who cancelled it before it began does not want it.
        if (std::ranges::find(cancelled, id) != cancelled.end()) continue;
        scheduler_.Add(id, std::move(order));
      }
      if (end_all) {
        const Status stopped = Unavailable("the server stopped before the answer was done");
        scheduler_.EndAll(stopped);
        scheduler_.EndWaiting(stopped);
      }
      busy = scheduler_.Step();
    } catch (const std::exception&) {  // of a library: no memory, above all
      scheduler_.EndAll(Unavailable("the server could not finish the request"));
      busy = true;
    }
    std::lock_guard lock(mutex_);
    stats_ = scheduler_.stats();
  }
}

}  // namespace onepass
