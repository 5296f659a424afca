#include "serve/scheduler.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "core/hash.h"

namespace onepass {
namespace {

using Clock = std::chrono::steady_clock;

// What of an output's text no stop string can cut any more: all but the longest end that begins
// one.
size_t CertainBytes(std::string_view text, const std::vector<std::string>& stop_strings) {
  size_t uncertain = 0;
  for (const std::string& stop : stop_strings) {
    for (size_t n = std::min(stop.size(), text.size()); n > uncertain; --n) {
      if (text.ends_with(std::string_view(stop).substr(0, n))) {
        uncertain = n;
        break;
      }
    }
  }
  return text.size() - uncertain;
}

}  // namespace

Status RequestIsLate() { return DeadlineExceeded("deadline: the request was not done in time"); }

Status SchedulerOptions::Validate() const {
  if (max_kv_bytes < 1) {
    return InvalidArgument("max_kv_bytes: want 1 or more, found " + std::to_string(max_kv_bytes));
  }
  if (page_tokens < 1 || page_tokens > 4096) {
    return InvalidArgument("page_tokens: want 1 to 4096, found " + std::to_string(page_tokens));
  }
  if (max_running < 1 || max_running > 4096) {
    return InvalidArgument("max_running: want 1 to 4096, found " + std::to_string(max_running));
  }
  if (prefill_rows < 1 || prefill_rows > 65536) {
    return InvalidArgument("prefill_rows: want 1 to 65536, found " + std::to_string(prefill_rows));
  }
  return CheckKvType(kv_dtype);
}

struct Scheduler::Waiting {
  uint64_t id = 0;
  std::unique_ptr<RunOrder> order;
  // Segments of the index: front prompts in the plan's order, then its shared input, where known.
  std::vector<uint64_t> needs;
  Clock::time_point since;
};

struct Scheduler::Running {
  enum class Phase { kFrontPrompts, kStep, kInputs, kOutput, kEnded };
  // A segment that the run needs before it can go on.
  struct Input {
    int id = 0;  // of the plan
    PrefillRequest request;
    std::optional<uint64_t> index_hash;  // where others may read it too
    std::unique_ptr<PrefillTask> task;   // null: waits for another run to write it
    bool done = false;
  };

  Running(uint64_t run_id, std::unique_ptr<RunOrder> what)
      : id(run_id), order(std::move(what)), run(*order->chain, order->record, order->outputs) {
    run.SetInputs(std::move(order->prepared));
  }

  uint64_t id;
  std::unique_ptr<RunOrder> order;
  ChainRun run;
  Phase phase = Phase::kFrontPrompts;
  std::deque<Input> inputs;  // tasks keep pointers into it
  int group = 0;
  std::optional<DecodeRequest> output;
  std::optional<DecodeTask> task;
  size_t sent_tokens = 0, sent_bytes = 0;
  double queue_ms = 0;
};

Scheduler::Scheduler(Base& base, const SchedulerOptions& options)
    : base_(base),
      options_(options),
      pool_(base.config().Layout(options.page_tokens, options.kv_dtype),
            std::clamp<int64_t>(
                options.max_kv_bytes /
                    base.config().Layout(options.page_tokens, options.kv_dtype).PageBytes(),
                0, int64_t{1} << 24)),
      engine_(base, pool_),
      index_(options.max_kv_bytes / 4) {
  pool_.reclaim = [this] { return EvictOne(); };
}

Scheduler::~Scheduler() = default;

// What the index knows a request's segment by: segments of different stages are never shared.
uint64_t Scheduler::KeyOf(const PrefillRequest& request) const {
  return HashCombine(engine_.HashOf(request), static_cast<uint64_t>(request.provenance.stage));
}

void Scheduler::Add(uint64_t id, std::unique_ptr<RunOrder> order) {
  ONEPASS_CHECK(CanHold(order->need), "a run that no pool of this size holds");
  Waiting waiting;
  waiting.id = id;
  waiting.since = Clock::now();
  const Plan& plan = order->chain->plan();
  for (int prompt = 0; prompt < std::ssize(plan.segments); ++prompt) {
    if (!plan.OutlivesRecords(prompt)) continue;
    waiting.needs.push_back(KeyOf(order->chain->FrontPrompt(prompt)));
  }
  for (const PlannedSegment& segment : plan.segments) {
    if (segment.kind != SegmentKind::kSharedInput || segment.after >= 0) continue;
    if (order->prepared.inputs.shared.empty()) break;
    PrefillRequest request;
    request.tokens.assign(order->prepared.inputs.shared.begin(),
                          order->prepared.inputs.shared.end());
    request.start_position = segment.offset;
    request.provenance = {.kind = segment.kind, .stage = segment.stage};
    request.added = order->chain->AddedTokensOf(-1);
    waiting.needs.push_back(KeyOf(request));
    break;
  }
  waiting.order = std::move(order);
  waiting_.push_back(std::move(waiting));
}

void Scheduler::Cancel(uint64_t id) {
  std::erase_if(waiting_, [&](const Waiting& waiting) { return waiting.id == id; });
  std::erase_if(running_, [&](const std::unique_ptr<Running>& run) {
    if (run->id != id) return false;
    Release(*run);
    return true;
  });
}

// What a run was promised, and what it had begun to write for all.
void Scheduler::Release(const Running& run) {
  pages_promised_ -= run.order->need.pages;
  if (reserve_taken_by_ == run.id) reserve_taken_by_.reset();
  for (const Running::Input& input : run.inputs) {
    if (input.task != nullptr && input.index_hash && !input.done) {
      being_written_.erase(*input.index_hash);
    }
  }
}

void Scheduler::Tell(const RunOrder& order, RunEvent event) const {
  event.at = Clock::now();
  order.on_event(std::move(event));
}

void Scheduler::End(Running& run, const Status& status) {
  Release(run);
  run.phase = Running::Phase::kEnded;
  RunEvent event;
  event.kind = RunEvent::Kind::kEnd;
  event.queue_ms = run.queue_ms;
  event.result = run.run.TakeResult();
  event.result.status = status;
  Tell(*run.order, std::move(event));
}

// In order, so that a large run is not passed by small ones for ever. A run is admitted only when
// all its pages are free, or held by nothing but the index; and beside what all are promised there is
// a reserve, with which any one of them can end whatever it samples: what is admitted finishes.
void Scheduler::Admit() {
  int64_t reserve = 0;
  for (const std::unique_ptr<Running>& run : running_) {
    reserve = std::max(reserve, run->order->need.most - run->order->need.pages);
  }
  while (!waiting_.empty() && std::ssize(running_) < options_.max_running) {
    const PageNeed& first = waiting_.front().order->need;
    const int64_t need = first.pages;
    reserve = std::max(reserve, first.most - need);
    if (pages_promised_ + need + reserve > pool_.page_count()) return;
    // If what follows throws, the order's end says so.
    Waiting waiting = std::move(waiting_.front());
    waiting_.pop_front();
    auto run = std::make_unique<Running>(waiting.id, std::move(waiting.order));
    const auto waited = Clock::now() - waiting.since;
    run->queue_ms = std::chrono::duration<double, std::milli>(waited).count();
    WantFrontPrompts(*run, waiting.needs);
    running_.push_back(std::move(run));
    pages_promised_ += need;
  }
}

void Scheduler::EndLate() {
  const Clock::time_point now = Clock::now();
  const Status late = RequestIsLate();
  for (const std::unique_ptr<Running>& run : running_) {
    if (run->order->deadline <= now) End(*run, late);
  }
  const auto is_late = [&](const Waiting& waiting) { return waiting.order->deadline <= now; };
  for (const Waiting& waiting : waiting_) {
    if (!is_late(waiting)) continue;
    RunEvent event;
    event.result.status = late;
    Tell(*waiting.order, std::move(event));
  }
  std::erase_if(waiting_, is_late);
}

// Gives the pages of an idle segment back; false: there is none.
bool Scheduler::EvictOne() {
  std::unordered_map<uint64_t, int64_t> next_use;
  for (int64_t place = 0; place < std::ssize(waiting_); ++place) {
    for (const uint64_t hash : waiting_[place].needs) next_use.try_emplace(hash, place);
  }
  if (!index_.EvictOne(next_use)) return false;
  ++stats_.evictions;
  return true;
}

void Scheduler::WantFrontPrompts(Running& run, std::span<const uint64_t> keys) {
  const BoundChain& chain = *run.order->chain;
  for (int id = 0; id < std::ssize(chain.plan().segments); ++id) {
    if (!chain.plan().OutlivesRecords(id)) continue;
    Running::Input& input = run.inputs.emplace_back();
    input.id = id;
    input.request = chain.FrontPrompt(id);
    input.index_hash = keys[run.inputs.size() - 1];
  }
}

// Whether these fit into what the run was promised, or it has the reserve: texts that are read again
// may be longer than was reckoned.
bool Scheduler::MayHold(Running& run, std::span<const PlannedPrefill> prefills) {
  const PageNeed& need = run.order->need;
  const auto pages = [&](int64_t tokens) {
    return (tokens + options_.page_tokens - 1) / options_.page_tokens;
  };
  const bool fits =
      need.pages == need.most || std::ranges::all_of(prefills, [&](const PlannedPrefill& prefill) {
        return pages(std::ssize(prefill.request.tokens)) <= pages(need.tokens[prefill.id]);
      });
  if (fits || reserve_taken_by_ == run.id) return true;
  if (reserve_taken_by_) return false;
  reserve_taken_by_ = run.id;
  return true;
}

Result<bool> Scheduler::WantGroup(Running& run, int group) {
  ASSIGN_OR_RETURN(std::vector<PlannedPrefill> prefills, run.run.Prefills(group));
  if (!MayHold(run, prefills)) return false;
  run.group = group;
  run.inputs.clear();
  for (PlannedPrefill& prefill : prefills) {
    Running::Input& input = run.inputs.emplace_back();
    input.id = prefill.id;
    input.request = std::move(prefill.request);
    if (input.request.provenance.kind == SegmentKind::kSharedInput) {
      input.index_hash = KeyOf(input.request);
    }
  }
  return true;
}

void Scheduler::TakeInput(Running& run, size_t at, const SegmentRef& segment,
                          std::vector<float> logits, bool own_work) {
  Running::Input& input = run.inputs[at];
  input.done = true;
  if (run.phase == Running::Phase::kFrontPrompts) {
    run.run.SetFrontPrompt(input.id,
                           {segment, segment->provenance().content_hash, segment->token_count()},
                           /*own_work=*/false);
  } else if (own_work) {
    run.run.TakePrefilled(input.id, input.request);
  } else {
    run.run.TakeShared(input.id, segment, std::move(logits));
  }
}

// Takes what is there, and begins what nobody writes. True: all is there.
bool Scheduler::ResolveInputs(Running& run) {
  bool all = true;
  for (size_t i = 0; i < run.inputs.size(); ++i) {
    Running::Input& input = run.inputs[i];
    if (!input.done && input.task == nullptr && input.index_hash) {
      if (const SegmentIndex::Entry* found = index_.Find(*input.index_hash, input.request)) {
        stats_.index_queried_tokens += found->segment->token_count();
        stats_.index_hit_tokens += found->segment->token_count();
        TakeInput(run, i, found->segment, found->logits, /*own_work=*/false);
      }
    }
    if (input.done) continue;
    all = false;
    if (input.task != nullptr) continue;
    if (input.index_hash && being_written_.contains(*input.index_hash)) continue;
    input.task = std::make_unique<PrefillTask>(input.request, pool_);
    if (!input.index_hash) continue;
    being_written_.insert(*input.index_hash);
    stats_.index_queried_tokens += input.task->rows_left();
  }
  return all;
}

Status Scheduler::BeginOutput(Running& run) {
  ASSIGN_OR_RETURN(run.output, run.run.Output());
  run.inputs.clear();
  run.phase = Running::Phase::kOutput;
  run.sent_tokens = run.sent_bytes = 0;
  run.task.emplace(*run.output, pool_, *base_.tokenizer, base_.config().max_positions);
  engine_.Begin(*run.task);
  return Status::Ok();
}

void Scheduler::EmitTokens(Running& run) {
  const DecodeRequest& request = *run.output;
  const std::vector<TokenId>& sampled = request.drawn.empty() ? request.tokens : request.drawn;
  const bool done = run.task->done();
  const size_t certain =
      done ? request.text.size() : CertainBytes(request.text, request.stop.strings);
  size_t tokens = run.sent_tokens;
  const size_t first = tokens;
  const std::span<const size_t> ends = run.task->text_ends();
  while (tokens < sampled.size() && (done || (tokens < ends.size() && ends[tokens] <= certain))) {
    ++tokens;
  }
  // A token's text goes with the token, what ends an incomplete one with the last.
  const size_t bytes = done ? certain : tokens == 0 ? 0 : ends[tokens - 1];
  if (tokens == first && bytes <= run.sent_bytes) return;
  RunEvent event;
  event.kind = RunEvent::Kind::kToken;
  event.step = run.run.step();
  if (bytes > run.sent_bytes) {
    event.text = request.text.substr(run.sent_bytes, bytes - run.sent_bytes);
  }
  event.tokens.assign(sampled.begin() + static_cast<ptrdiff_t>(first),
                      sampled.begin() + static_cast<ptrdiff_t>(tokens));
  for (size_t i = first; i < std::min(tokens, request.token_logprobs.size()); ++i) {
    event.logprobs.push_back(request.token_logprobs[i]);
  }
  run.sent_tokens = tokens;
  run.sent_bytes = std::max(run.sent_bytes, bytes);
  Tell(*run.order, std::move(event));
}

void Scheduler::EndOutput(Running& run) {
  const int step = run.run.step();
  run.run.TakeOutput(*std::move(run.output));
  run.task.reset();
  run.output.reset();
  const StageResult& result = run.run.result().stages.back();
  stats_.tokens_reused += result.tokens_reused;
  stats_.tokens_recomputed += result.tokens_recomputed;
  if (run.run.result().stages.size() > 1) ++stats_.hand_offs;
  RunEvent event;
  event.kind = RunEvent::Kind::kStageEnd;
  event.step = step;
  event.stage_result = result;
  Tell(*run.order, std::move(event));
  run.run.EndStep();
  run.phase = Running::Phase::kStep;
}

// Goes on until the run needs a forward call, waits for another's, or has ended.
Status Scheduler::AdvanceUntilWork(Running& run) {
  while (true) {
    switch (run.phase) {
      case Running::Phase::kFrontPrompts:
        if (!ResolveInputs(run)) return Status::Ok();
        run.inputs.clear();
        run.phase = Running::Phase::kStep;
        break;
      case Running::Phase::kStep:
        if (run.run.done()) {
          End(run, Status::Ok());
          return Status::Ok();
        }
        if (run.run.at_tool()) {
          RETURN_IF_ERROR(run.run.RunTool(*run.order->tools));
          RunEvent event;
          event.kind = RunEvent::Kind::kTool;
          event.step = run.run.step();
          event.tool_result = run.run.result().tools.back();
          Tell(*run.order, std::move(event));
          run.run.EndStep();
          break;
        }
        RETURN_IF_ERROR(run.run.BeginStep());
        {
          RunEvent event;
          event.kind = RunEvent::Kind::kStageBegin;
          event.step = run.run.step();
          Tell(*run.order, std::move(event));
        }
        run.group = -1;
        run.inputs.clear();
        run.phase = Running::Phase::kInputs;
        break;
      case Running::Phase::kInputs: {
        if (!ResolveInputs(run)) return Status::Ok();
        if (run.group + 1 == run.run.group_count()) {
          RETURN_IF_ERROR(BeginOutput(run));
          break;
        }
        ASSIGN_OR_RETURN(const bool wanted, WantGroup(run, run.group + 1));
        if (!wanted) return Status::Ok();
        break;
      }
      case Running::Phase::kOutput:
        if (!run.task->status().ok()) return run.task->status();
        EmitTokens(run);
        if (!run.task->done()) return Status::Ok();
        EndOutput(run);
        break;
      case Running::Phase::kEnded:
        return Status::Ok();
    }
  }
}

void Scheduler::Advance(Running& run) {
  const Status status = AdvanceUntilWork(run);
  if (!status.ok()) End(run, status);
}

void Scheduler::RunBatch() {
  std::vector<DecodeTask*> outputs;
  for (const std::unique_ptr<Running>& run : running_) {
    if (run->phase == Running::Phase::kOutput) outputs.push_back(&*run->task);
  }
  std::vector<PrefillTask*> inputs;
  int64_t rows_left = options_.prefill_rows;
  for (const std::unique_ptr<Running>& run : running_) {
    const size_t before = inputs.size();
    for (Running::Input& input : run->inputs) {
      if (input.task == nullptr || input.done || rows_left == 0) continue;
      const int64_t rows = std::min(rows_left, input.task->rows_left());
      if (const Status taken = input.task->Take(rows); !taken.ok()) {
        inputs.resize(before);
        End(*run, taken);
        break;
      }
      rows_left -= rows;
      inputs.push_back(input.task.get());
    }
  }
  EraseEnded();
  engine_.Step(inputs, outputs);
  for (const std::unique_ptr<Running>& run : running_) {
    for (size_t i = 0; i < run->inputs.size(); ++i) {
      Running::Input& input = run->inputs[i];
      if (input.task == nullptr || input.done || !input.task->done()) continue;
      if (input.index_hash) {
        index_.Add(*input.index_hash, input.request);
        being_written_.erase(*input.index_hash);
      }
      const SegmentRef segment = input.request.segment;
      TakeInput(*run, i, segment, {}, /*own_work=*/true);
    }
  }
}

// Gives back what ended runs hold.
void Scheduler::EraseEnded() {
  std::erase_if(running_, [](const auto& run) { return run->phase == Running::Phase::kEnded; });
}

bool Scheduler::Step() {
  EndLate();
  EraseEnded();
  Admit();
  for (const std::unique_ptr<Running>& run : running_) Advance(*run);
  EraseEnded();
  // Counting them walks the whole index.
  constexpr int64_t kStepsOfCount = 64;
  if (running_.empty() || stats_.steps % kStepsOfCount == 0) {
    stats_.pages_held_by_index = index_.idle_pages();
  }
  if (running_.empty()) return !waiting_.empty();
  RunBatch();
  ++stats_.steps;
  for (const std::unique_ptr<Running>& run : running_) Advance(*run);
  EraseEnded();
  return true;
}

void Scheduler::EndAll(const Status& status) {
  for (const std::unique_ptr<Running>& run : running_) {
    if (run->phase == Running::Phase::kEnded) continue;
    try {
      End(*run, status);
    } catch (const std::exception&) {  // still no memory: the order's end says so
    }
  }
  EraseEnded();
}

void Scheduler::EndWaiting(const Status& status) {
  for (const Waiting& waiting : waiting_) {
    RunEvent event;
    event.result.status = status;
    Tell(*waiting.order, std::move(event));
  }
  waiting_.clear();
}

SchedulerStats Scheduler::stats() const {
  SchedulerStats stats = stats_;
  stats.running = std::ssize(running_);
  stats.waiting = std::ssize(waiting_);
  stats.max_running = options_.max_running;
  stats.pages = pool_.page_count();
  stats.pages_used = pool_.pages_used();
  stats.pages_peak = pool_.pages_peak();
  stats.pages_returned = pool_.pages_returned();
  stats.page_bytes = pool_.layout().PageBytes();
  stats.tokens_computed = engine_.counters().tokens_computed;
  return stats;
}

}  // namespace onepass
