// Runs many chain runs at once: continuous batching. Each step is one forward call over whatever
// the admitted runs need next, outputs of any stage of any chain beside parts of inputs, so that a
// long input holds no output up. Front prompts and equal shared inputs are computed once
// (segment_index.h). Knows no HTTP, no threads and no clock but for deadlines.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "chain/bound_chain.h"
#include "chain/chain_run.h"
#include "chain/tools.h"
#include "engine/engine.h"
#include "serve/segment_index.h"

namespace onepass {

// Of a request whose time is over.
Status RequestIsLate();

// What a run tells. Plain data.
struct RunEvent {
  enum class Kind {
    kStageBegin,  // the step's stage: its inputs are next
    kToken,       // more of the step's output, that no stop string will cut
    kStageEnd,    // stage_result
    kTool,        // tool_result
    kEnd,         // result, whose status says why a run was not done
  };
  Kind kind = Kind::kEnd;
  std::chrono::steady_clock::time_point at;
  int step = 0;  // of the plan
  std::string text;
  std::vector<TokenId> tokens;
  std::vector<TokenLogprobs> logprobs;  // of `tokens`, where they were asked for
  StageResult stage_result;
  ToolResult tool_result;
  RecordResult result;
  double queue_ms = 0;  // kEnd: from Add to admission
};

// A run to do.
struct RunOrder {
  const BoundChain* chain = nullptr;
  Tools* tools = nullptr;  // the chain's; used by the scheduler's thread alone
  Record record;
  std::vector<OutputOptions> outputs;  // by stage
  PreparedRecord prepared;             // of this record and these outputs
  PageNeed need;                       // BoundChain::PagesOf
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
  // The last call is kEnd. Must not call the scheduler.
  std::function<void(RunEvent&&)> on_event;
};

struct SchedulerOptions {
  int64_t max_kv_bytes = int64_t{1} << 30;
  int64_t page_tokens = 16;
  DType kv_dtype = DType::kF32;
  int64_t max_running = 64;   // runs at once
  int64_t prefill_rows = 64;  // most input rows in a step beside outputs

  Status Validate() const;
};

// Numbers since the start, and of now.
struct SchedulerStats {
  int64_t running = 0, waiting = 0, max_running = 0;  // runs
  int64_t pages = 0, pages_used = 0, pages_peak = 0, page_bytes = 0;
  int64_t pages_returned = 0;  // in all
  // Part of pages_used that no run holds; counted when nothing runs, else every 64 steps.
  int64_t pages_held_by_index = 0;
  int64_t steps = 0;
  int64_t tokens_computed = 0;    // rows that went through the model
  int64_t tokens_reused = 0;      // KV attended to that its reader did not compute
  int64_t tokens_recomputed = 0;  // prefilled though an earlier stage had computed them
  int64_t hand_offs = 0;          // stages that began behind another
  int64_t index_queried_tokens = 0, index_hit_tokens = 0;  // soft tokens of front prompts included
  int64_t evictions = 0;
};

// Thread-compatible. Not copyable.
class Scheduler {
 public:
  // The base must outlive it.
  Scheduler(Base& base, const SchedulerOptions& options);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Whether a run that may hold so many pages can ever be admitted.
  bool CanHold(const PageNeed& need) const { return need.most <= pool_.page_count(); }
  const KvLayout& layout() const { return pool_.layout(); }

  // Waits for its admission, in order. REQUIRES: a new id, CanHold(order.need).
  void Add(uint64_t id, std::unique_ptr<RunOrder> order);
  // Its pages are free when this returns; no event follows. Unknown ids are ignored.
  void Cancel(uint64_t id);
  // Admits what fits, and runs one forward call. False: nothing was there to do.
  bool Step();
  // Ends all admitted runs with this status, after Step threw; and those that wait.
  void EndAll(const Status& status);
  void EndWaiting(const Status& status);

  SchedulerStats stats() const;
  // Drops what no run holds: afterwards, without runs, no page is used.
  void DropIdleSegments() { index_.Clear(); }

 private:
  struct Running;
  struct Waiting;

  uint64_t KeyOf(const PrefillRequest& request) const;
  void Admit();
  void EndLate();
  void Advance(Running& run);
  Status AdvanceUntilWork(Running& run);
  // keys: of its front prompts, then others.
  void WantFrontPrompts(Running& run, std::span<const uint64_t> keys);
  // False: it waits for pages.
  Result<bool> WantGroup(Running& run, int group);
  bool MayHold(Running& run, std::span<const PlannedPrefill> prefills);
  bool ResolveInputs(Running& run);
  void TakeInput(Running& run, size_t input, const SegmentRef& segment, std::vector<float> logits,
                 bool own_work);
  Status BeginOutput(Running& run);
  void EndOutput(Running& run);
  void EmitTokens(Running& run);
  void RunBatch();
  void EraseEnded();
  bool EvictOne();
  void Tell(const RunOrder& order, RunEvent event) const;
  void End(Running& run, const Status& status);
  void Release(const Running& run);

  Base& base_;
  SchedulerOptions options_;
  PagePool pool_;
  Engine engine_;
  SegmentIndex index_;
  std::unordered_set<uint64_t> being_written_;   // hashes of what will be in the index
  std::list<std::unique_ptr<Running>> running_;  // in the order of admission
  std::deque<Waiting> waiting_;
  int64_t pages_promised_ = 0;  // to admitted runs, the reserve left out
  std::optional<uint64_t> reserve_taken_by_;
  SchedulerStats stats_;
};

}  // namespace onepass
