// The thread that owns the scheduler: everything that computes happens there. Others hand it
// orders and cancellations; events come back on it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/status.h"
#include "serve/scheduler.h"

namespace onepass {

struct EngineThreadOptions {
  SchedulerOptions scheduler;
  int64_t max_waiting = 256;  // runs that wait for admission

  Status Validate() const;
};

// Thread-safe. Not copyable.
class EngineThread {
 public:
  // The base must outlive it, and is its own from here on, its tokenizer excepted.
  EngineThread(Base& base, const EngineThreadOptions& options);
  // Ends what runs, without events.
  ~EngineThread();
  EngineThread(const EngineThread&) = delete;
  EngineThread& operator=(const EngineThread&) = delete;

  // All of them or none; ids in their order. kInvalidArgument: one that no pool of this size holds;
  // kExhausted: too many wait already. Their on_event is called by the thread, and must be quick.
  Result<std::vector<uint64_t>> Submit(std::vector<std::unique_ptr<RunOrder>> orders);
  // Its pages are free before the thread's next step; events may still come until then.
  void Cancel(uint64_t id);
  // Ends all runs with an error that says so, soon.
  void EndAll();
  const KvLayout& layout() const { return layout_; }
  // As of the last step.
  SchedulerStats stats() const;
  // Drops what no run holds, for tests of lost pages.
  void DropIdleSegments();

 private:
  void Run();

  const int64_t max_waiting_;
  Scheduler scheduler_;  // used by thread_ alone
  const int64_t page_count_;
  const KvLayout layout_;
  mutable std::mutex mutex_;  // guards what stands below
  std::condition_variable wake_;
  std::vector<std::pair<uint64_t, std::unique_ptr<RunOrder>>> added_;
  std::vector<uint64_t> cancelled_;
  bool drop_idle_ = false;
  bool end_all_ = false;
  bool stop_ = false;
  uint64_t next_id_ = 1;
  SchedulerStats stats_;
  std::thread thread_;
};

}  // namespace onepass
