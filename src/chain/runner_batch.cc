// Batches of records through the stages in lockstep: who is still in, what is freed, what is
// counted.
#include <algorithm>

#include "chain/runner.h"
#include "chain/runner_job.h"
#include "core/quote.h"

namespace onepass {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

void ChainRunner::FreeDead(int stage, Job* job) const {
  for (size_t id = 0; id < plan_.segments.size(); ++id) {
    if (plan_.segments[id].dies_after <= stage) job->written[id].segment = nullptr;
  }
}

Status ChainRunner::RunStage(int stage, std::span<Job*> jobs) {
  const StagePlan& stage_plan = plan_.stages[stage];
  for (Job* job : jobs) {
    if (stage > 0) FreeDead(stage - 1, job);
    job->result->stages.emplace_back();
    for (const int id : stage_plan.writes) {
      const PlannedSegment& planned = plan_.segments[id];
      if (!planned.text_of.empty()) {
        job->tokens[id] = templates_->ReadAgain(planned.text_of, job->output_texts);
      }
    }
    // Nothing is in vain: a record that cannot finish the stage stops before it.
    const StageSpec& spec = spec_.stages[stage];
    int64_t end = std::ssize(templates_->StartTokens(stage)) + spec.max_tokens;
    int at = stage_plan.writes.back();
    while (plan_.segments[at].after >= 0) {
      at = plan_.segments[at].after;
      if (Contains(stage_plan.writes, at)) {
        end += plan_.segments[at].kind == SegmentKind::kPrompt
                   ? prompts_[stage].length()
                   : static_cast<int64_t>(job->tokens[at].size());
      } else {
        end += job->written[at].token_count;
      }
    }
    end += plan_.segments[at].offset;
    const int64_t context = base_.config().max_positions;
    const int last = stage_plan.writes.size() < 2 ? -1 : stage_plan.writes.end()[-2];
    if (end > context) {
      job->result->status = InvalidArgument(
          job->record->Where() + ": stage " + Quote(spec.name) + ": want at most " +
          std::to_string(context) + " positions (" +
          std::string(base_.config().LimitOfPositions()) + "), found " + std::to_string(end));
    } else if (spec.start.empty() && plan_.segments[last].kind != SegmentKind::kPrompt &&
               job->tokens[last].empty()) {
      job->result->status = InvalidArgument(
          job->record->Where() + ": stage " + Quote(spec.name) +
          ": want an input that the output can follow (it has no start token), found none");
    }
    if (job->failed()) job->result->stages.pop_back();
  }
  std::vector<Job*> live;
  for (Job* job : jobs) {
    if (!job->failed()) live.push_back(job);
  }
  if (live.empty()) return Status::Ok();

  const Clock::time_point begin = Clock::now();
  RETURN_IF_ERROR(PrefillStage(stage, live));
  const double prefill_ms = Milliseconds(Clock::now() - begin);
  for (Job* job : live) job->result->stages[stage].prefill_ms = prefill_ms;
  RETURN_IF_ERROR(DecodeStage(stage, live));

  for (Job* job : live) {
    int64_t bytes = 0;
    for (const WrittenSegment& written : job->written) {
      if (written.segment != nullptr) bytes += written.segment->bytes();
    }
    job->result->peak_kv_bytes = std::max(job->result->peak_kv_bytes, bytes);
    if (on_stage) on_stage(job->index, stage, job->written);
  }
  return Status::Ok();
}

Status ChainRunner::RunBatch(std::span<Job*> jobs) {
  const Clock::time_point begin = Clock::now();
  for (Job* job : jobs) {
    job->begin = begin;
    job->result->status = Prepare(job);
  }
  for (int stage = 0; stage < std::ssize(plan_.stages); ++stage) {
    std::vector<Job*> live;
    for (Job* job : jobs) {
      if (!job->failed()) live.push_back(job);
    }
    if (live.empty()) break;
    RETURN_IF_ERROR(RunStage(stage, live));
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
