// What one run of a stage does for a batch of records: the prefills of its hand-off, and its
// output.
#include <algorithm>

#include "chain/runner.h"
#include "chain/runner_job.h"
#include "core/hash.h"
#include "core/quote.h"

namespace onepass {
namespace {

using Clock = std::chrono::steady_clock;

// What a step writes before its output, in groups whose members do not see each other: one forward
// call a group.
std::vector<std::vector<int>> IndependentGroups(const Plan& plan, const PlanStep& step) {
  std::vector<std::vector<int>> groups;
  std::vector<int> group_of(plan.segments.size(), -1);
  for (size_t i = 0; i + 1 < step.writes.size(); ++i) {
    const int id = step.writes[i];
    int group = 0;
    for (const int seen : plan.segments[id].view) group = std::max(group, group_of[seen] + 1);
    group_of[id] = group;
    if (std::ssize(groups) <= group) groups.resize(group + 1);
    groups[group].push_back(id);
  }
  return groups;
}

}  // namespace

int64_t ChainRunner::StartPosition(const Job& job, int id) const {
  const int step = plan_.segments[id].step;
  if (plan_.segments[id].before_shared) {
    return plan_.segments[id].StartPosition(0, std::ssize(job.tokens[id]));
  }
  int64_t position = 0;
  for (int at = id;;) {
    const PlannedSegment& segment = plan_.segments[at];
    if (segment.after < 0) return position + segment.offset;
    at = segment.after;
    // What the same step writes may not be there yet.
    if (plan_.segments[at].step != step) {
      position += job.written[at].token_count;
    } else if (plan_.segments[at].kind == SegmentKind::kPrompt) {
      position += prompts_[plan_.segments[at].stage].length();
    } else {
      position += std::ssize(job.tokens[at]);
    }
  }
}

Status ChainRunner::PrefillStep(int step, std::span<Job*> jobs) {
  const PlanStep& planned_step = plan_.steps[step];
  if (options_.cold && planned_step.run == 0) {
    std::vector<WrittenSegment> prompts(plan_.segments.size());
    for (int id = 0; id < std::ssize(plan_.segments); ++id) {
      if (!plan_.OutlivesRecords(id) || plan_.segments[id].stage != planned_step.stage) continue;
      RETURN_IF_ERROR(WriteFrontPrompt(id, &prompts));
      for (Job* job : jobs) job->written[id] = prompts[id];
      jobs.front()->run().tokens_computed += prompts[id].token_count;
    }
  }
  const bool want_logits = templates_->StartTokens(planned_step.stage).empty();
  const int last = planned_step.writes.size() < 2 ? -1 : planned_step.writes.end()[-2];
  for (const std::vector<int>& group : IndependentGroups(plan_, planned_step)) {
    std::vector<PrefillRequest> requests;
    std::vector<std::pair<Job*, int>> targets;
    for (Job* job : jobs) {
      for (const int id : group) {
        const PlannedSegment& planned = plan_.segments[id];
        PrefillRequest request;
        if (planned.kind == SegmentKind::kPrompt) {
          request.vectors = prompts_[planned.stage].vectors.view();
        } else {
          request.tokens.assign(job->tokens[id].begin(), job->tokens[id].end());
          if (request.tokens.empty()) continue;
        }
        request.view = AttachView(plan_, id, job->written);
        RETURN_IF_ERROR(GuardRead(plan_, id, job->written, request.view));
        request.start_position = StartPosition(*job, id);
        request.provenance = {.kind = planned.kind, .stage = planned.stage};
        request.want_logits = want_logits && id == last;
        request.added = AddedTokensOf(planned_step.stage);
        requests.push_back(std::move(request));
        targets.emplace_back(job, id);
      }
    }
    RETURN_IF_ERROR(engine_->Prefill(requests));
    for (size_t i = 0; i < requests.size(); ++i) {
      const auto [job, id] = targets[i];
      const SegmentRef& segment = requests[i].segment;
      job->written[id] = {segment, segment->provenance().content_hash, segment->token_count()};
      if (requests[i].want_logits) job->first_logits = std::move(requests[i].logits);
      StageResult& result = job->run();
      result.tokens_computed += segment->token_count();
      const PlannedSegment& planned = plan_.segments[id];
      if (plan_.Recomputes(id)) {
        result.tokens_recomputed += segment->token_count();
        const bool new_input = planned.has_input() && !planned.before_shared;
        if (new_input) result.tokens_recomputed -= std::ssize(job->inputs.own[step]);
      }
    }
  }
  return Status::Ok();
}

// What the output attends to and no work of this step wrote.
void ChainRunner::CountReused(int step, Job* job) const {
  for (const int seen : plan_.segments[plan_.OutputOf(step)].view) {
    const bool own_work =
        Contains(plan_.steps[step].writes, seen) || (options_.cold && plan_.OutlivesRecords(seen));
    if (!own_work) job->run().tokens_reused += job->written[seen].token_count;
  }
}

Status ChainRunner::DecodeStep(int step, std::span<Job*> jobs) {
  const PlanStep& planned_step = plan_.steps[step];
  const int stage = planned_step.stage;
  const StageSpec& spec = spec_.stages[stage];
  const int id = plan_.OutputOf(step);
  const PlannedSegment& planned = plan_.segments[id];
  std::vector<DecodeRequest> requests;
  for (Job* job : jobs) {
    DecodeRequest request;
    request.view = AttachView(plan_, id, job->written);
    RETURN_IF_ERROR(GuardRead(plan_, id, job->written, request.view));
    request.start_tokens = templates_->StartTokens(stage);
    request.first_logits = std::move(job->first_logits);
    job->first_logits.clear();
    request.start_position = StartPosition(*job, id);
    request.provenance = {.kind = planned.kind, .stage = planned.stage};
    request.stop = {.tokens = templates_->StopTokens(stage),
                    .strings = spec.stop_strings,
                    .max_tokens = spec.max_tokens};
    request.added = AddedTokensOf(stage);
    request.sampling = spec.sampling;
    // A record's draws are its own, whatever stands in the batch beside it, and a run's too.
    uint64_t& seed = request.sampling.seed;
    seed = HashCombine(seed, static_cast<uint64_t>(job->record->number));
    if (planned_step.run > 0) seed = HashCombine(seed, static_cast<uint64_t>(planned_step.run));
    request.read_later = planned.dies_after > step;
    CountReused(step, job);
    requests.push_back(std::move(request));
  }
  const Clock::time_point ready = Clock::now();
  for (Job* job : jobs) {
    const bool handed_over = job->result->stages.size() > 1;
    if (handed_over) job->run().handoff_ms = Milliseconds(ready - job->last_token);
  }
  RETURN_IF_ERROR(engine_->Decode(requests));
  for (size_t i = 0; i < requests.size(); ++i) {
    DecodeRequest& request = requests[i];
    Job* job = jobs[i];
    StageResult& result = job->run();
    if (request.segment != nullptr) {
      const Segment& segment = *request.segment;
      job->written[id] = {request.segment, segment.provenance().content_hash,
                          segment.token_count()};
    }
    result.tokens_computed += request.fed_tokens;
    result.tokens = std::move(request.tokens);
    result.text = std::move(request.text);
    result.finish = request.finish;
    result.stop_token = request.stop_token;
    const bool any = request.first_token_seconds >= 0;
    result.first_token_ms = any ? request.first_token_seconds * 1e3 : -1;
    result.decode_ms = request.decode_seconds * 1e3;
    job->transcript.texts[step] = result.text;
    // In lockstep a step ends for all records when it ends for the last one.
    job->last_token = Clock::now();
  }
  return Status::Ok();
}

}  // namespace onepass
