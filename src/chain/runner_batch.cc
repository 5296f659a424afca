// Batches of records through the flow in lockstep: who is still in, who leaves a loop, what is
// freed, what is counted.
#include <algorithm>

#include "chain/runner.h"
#include "chain/runner_job.h"
#include "core/quote.h"

namespace onepass {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

// Frees what no step from this one on reads, and makes the step's inputs. A record that cannot
// finish the step stops before it: nothing is in vain.
Status ChainRunner::BeginStep(int step, Job* job, int64_t most_output_tokens) const {
  const PlanStep& planned_step = plan_.steps[step];
  const int stage = planned_step.stage;
  const StageSpec& spec = spec_.stages[stage];
  for (size_t id = 0; id < plan_.segments.size(); ++id) {
    if (plan_.segments[id].dies_after < step) job->written[id].segment = nullptr;
  }
  RETURN_IF_ERROR(templates_->RenderFound(plan_, step, job->transcript, &job->inputs));
  for (const int id : planned_step.writes) {
    const SegmentKind kind = plan_.segments[id].kind;
    if (kind != SegmentKind::kSharedInput && kind != SegmentKind::kOwnInput) continue;
    job->tokens[id] = templates_->TokensOf(plan_, id, job->inputs, job->transcript);
  }
  const int64_t context = base_.config().max_positions;
  const std::string where = job->record->Where() + ": stage " + Quote(spec.name) + ": ";
  for (const int id : planned_step.writes) {
    const int64_t count = std::ssize(job->tokens[id]);
    if (!plan_.segments[id].before_shared || count <= plan_.room) continue;
    return InvalidArgument(where + "want an input of at most " + std::to_string(plan_.room) +
                           " tokens (the chain's room), found " + std::to_string(count));
  }
  const int64_t end = StartPosition(*job, plan_.OutputOf(step)) +
                      std::ssize(templates_->StartTokens(stage)) + most_output_tokens;
  if (end > context) {
    return InvalidArgument(where + "want at most " + std::to_string(context) + " positions (" +
                           std::string(base_.config().LimitOfPositions()) + "), found " +
                           std::to_string(end));
  }
  const int last = planned_step.writes.size() < 2 ? -1 : planned_step.writes.end()[-2];
  if (spec.start.empty() && plan_.segments[last].kind != SegmentKind::kPrompt &&
      job->tokens[last].empty()) {
    return InvalidArgument(where +
                           "want an input that the output can follow (it has no start token), " +
                           "found none");
  }
  return Status::Ok();
}

Status ChainRunner::RunTool(int step, Job* job) {
  ASSIGN_OR_RETURN(ToolResult found, tools_->Run(plan_, step, job->transcript));
  job->transcript.texts[step] = found.text;
  job->result->tools.push_back(std::move(found));
  job->last_token = Clock::now();  // no hand-off's time
  return Status::Ok();
}

// Where the record goes on: with the next step, or behind the loop.
void ChainRunner::EndStep(int step, Job* job) const {
  const PlanStep& planned_step = plan_.steps[step];
  job->next_step = step + 1;
  std::optional<LoopEnd> end;
  if (planned_step.stage >= 0) {
    const StageResult& run = job->run();
    job->loop_tokens += std::ssize(run.tokens);
    if (planned_step.checked) {
      end = rules_[planned_step.part].EndsWith(run.tokens, run.stop_token, run.text,
                                               job->loop_tokens);
    }
  }
  if (!end && job->next_step == planned_step.behind_part) end = LoopEnd::kRounds;
  if (!end) return;
  job->next_step = planned_step.behind_part;
  job->loop_tokens = 0;
  if (!flow_[planned_step.part].is_loop()) return;
  job->result->loops.push_back(
      {.part = planned_step.part, .rounds = planned_step.round + 1, .end = *end});
}

Status ChainRunner::RunStep(int step, std::span<Job*> jobs) {
  if (plan_.steps[step].tool >= 0) {
    for (Job* job : jobs) {
      job->result->status = RunTool(step, job);
      if (!job->failed()) EndStep(step, job);
    }
    return Status::Ok();
  }
  std::vector<Job*> live;
  for (Job* job : jobs) {
    const int64_t most_tokens = spec_.stages[plan_.steps[step].stage].max_tokens;
    job->result->status = BeginStep(step, job, most_tokens);
    if (job->failed()) continue;
    live.push_back(job);
    StageResult& run = job->result->stages.emplace_back();
    run.step = step;
    run.stage = plan_.steps[step].stage;
  }
  if (live.empty()) return Status::Ok();

  const Clock::time_point begin = Clock::now();
  RETURN_IF_ERROR(PrefillStep(step, live));
  const double prefill_ms = Milliseconds(Clock::now() - begin);
  for (Job* job : live) job->run().prefill_ms = prefill_ms;
  RETURN_IF_ERROR(DecodeStep(step, live));

  for (Job* job : live) {
    int64_t bytes = 0;
    for (const WrittenSegment& written : job->written) {
      if (written.segment != nullptr) bytes += written.segment->bytes();
    }
    job->result->peak_kv_bytes = std::max(job->result->peak_kv_bytes, bytes);
    EndStep(step, job);
    if (on_step) on_step(job->index, step, job->written);
  }
  return Status::Ok();
}

Status ChainRunner::RunBatch(std::span<Job*> jobs) {
  const Clock::time_point begin = Clock::now();
  for (Job* job : jobs) {
    job->begin = begin;
    job->result->status = Prepare(job);
  }
  for (int step = 0; step < plan_.step_count(); ++step) {
    std::vector<Job*> here;
    for (Job* job : jobs) {
      if (!job->failed() && job->next_step == step) here.push_back(job);
    }
    if (!here.empty()) RETURN_IF_ERROR(RunStep(step, here));
  }
  for (Job* job : jobs) {
    if (!job->failed()) job->result->total_ms = Milliseconds(job->last_token - job->begin);
  }
  return Status::Ok();
}

std::vector<RecordResult> ChainRunner::Run(std::span<const Record> records) {
  std::vector<RecordResult> results(records.size());
  // Runs records [begin, begin + count). Scarcity in a batch is retried record by record.
  const auto run = [&](size_t begin, size_t count) {
    std::vector<Job> jobs(count);
    std::vector<Job*> pointers;
    for (size_t i = 0; i < count; ++i) {
      const size_t index = begin + i;
      results[index] = {};
      results[index].number = records[index].number;
      jobs[i].index = index;
      jobs[i].record = &records[index];
      jobs[i].result = &results[index];
      pointers.push_back(&jobs[i]);
    }
    return RunBatch(pointers);
  };
  const size_t batch = static_cast<size_t>(options_.batch);
  for (size_t begin = 0; begin < records.size(); begin += batch) {
    const size_t count = std::min(batch, records.size() - begin);
    const Status together = run(begin, count);
    if (together.ok()) continue;
    for (size_t i = begin; i < begin + count; ++i) {
      const Status status = count == 1 ? together : run(i, 1);
      if (!status.ok()) results[i].status = status.WithPrefix(records[i].Where());
    }
  }
  return results;
}

}  // namespace onepass
