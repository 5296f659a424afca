// What one stage does for a batch of records: the prefills of its hand-off, and its output.
#include <algorithm>

#include "chain/runner.h"
#include "chain/runner_job.h"
#include "core/hash.h"
#include "core/quote.h"

namespace onepass {
namespace {

using Clock = std::chrono::steady_clock;

// The text of earlier outputs and the own input behind it are one run of tokens: a chain that hands
// text over would prefill them in one call, and so does this one. The texts' segment then holds
// both, and the input's is empty. Returns the id whose tokens go behind those of `id`, or -1.
int JoinedBehind(const Plan& plan, const StagePlan& stage, int id) {
  if (plan.segments[id].text_of.empty()) return -1;
  for (const int next : stage.writes) {
    const PlannedSegment& segment = plan.segments[next];
    if (segment.kind == SegmentKind::kOwnInput && segment.after == id) return next;
  }
  return -1;
}

// What a stage writes before its output, in groups whose members do not see each other: one forward
// call a group.
std::vector<std::vector<int>> IndependentGroups(const Plan& plan, const StagePlan& stage) {
  std::vector<std::vector<int>> groups;
  std::vector<int> group_of(plan.segments.size(), -1);
  for (size_t i = 0; i + 1 < stage.writes.size(); ++i) {
    const int id = stage.writes[i];
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
  int64_t position = 0;
  for (int at = id;;) {
    const PlannedSegment& segment = plan_.segments[at];
    if (segment.after < 0) return position + segment.offset;
    at = segment.after;
    position += job.written[at].token_count;
  }
}

Status ChainRunner::PrefillStage(int stage, std::span<Job*> jobs) {
  const StagePlan& stage_plan = plan_.stages[stage];
  if (options_.cold) {
    std::vector<WrittenSegment> prompts(plan_.segments.size());
    for (int id = 0; id < std::ssize(plan_.segments); ++id) {
      const PlannedSegment& planned = plan_.segments[id];
      if (planned.dies_after < std::ssize(plan_.stages) || planned.stage != stage) continue;
      RETURN_IF_ERROR(WriteFrontPrompt(id, &prompts));
      for (Job* job : jobs) job->written[id] = prompts[id];
      jobs.front()->result->stages[stage].tokens_computed += prompts[id].token_count;
    }
  }
  const bool want_logits = templates_->StartTokens(stage).empty();
  int last = stage_plan.writes.size() < 2 ? -1 : stage_plan.writes.end()[-2];
  std::vector<int> joined(plan_.segments.size(), -1);
  std::vector<int> joined_to(plan_.segments.size(), -1);
  for (const int id : stage_plan.writes) {
    joined[id] = JoinedBehind(plan_, stage_plan, id);
    if (joined[id] >= 0) joined_to[joined[id]] = id;
  }
  if (last >= 0 && joined_to[last] >= 0) last = joined_to[last];
  for (const std::vector<int>& group : IndependentGroups(plan_, stage_plan)) {
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
          if (joined_to[id] >= 0) request.tokens.clear();
          if (joined[id] >= 0) {
            const std::vector<TokenId>& behind = job->tokens[joined[id]];
            request.tokens.insert(request.tokens.end(), behind.begin(), behind.end());
          }
          if (request.tokens.empty()) continue;
        }
        request.view = AttachView(plan_, id, job->written);
        RETURN_IF_ERROR(GuardRead(plan_, id, job->written, request.view));
        request.start_position = StartPosition(*job, id);
        request.provenance = {.kind = planned.kind, .stage = planned.stage};
        request.want_logits = want_logits && id == last;
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
      StageResult& result = job->result->stages[stage];
      result.tokens_computed += segment->token_count();
      const PlannedSegment& planned = plan_.segments[id];
      if (!planned.text_of.empty() || (planned.kind == SegmentKind::kSharedInput && stage > 0)) {
        result.tokens_recomputed += std::ssize(job->tokens[id]);
      }
    }
  }
  return Status::Ok();
}

Status ChainRunner::DecodeStage(int stage, std::span<Job*> jobs) {
  const StagePlan& stage_plan = plan_.stages[stage];
  const StageSpec& spec = spec_.stages[stage];
  const int id = stage_plan.writes.back();
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
    request.sampling = spec.sampling;
    // A record's draws are its own, whatever stands in the batch beside it.
    request.sampling.seed =
        HashCombine(spec.sampling.seed, static_cast<uint64_t>(job->record->number));
    request.read_later = planned.dies_after > stage;
    for (const int seen : planned.view) {
      const bool own_work =
          Contains(stage_plan.writes, seen) ||
          (options_.cold && plan_.segments[seen].dies_after == std::ssize(plan_.stages));
      if (!own_work) job->result->stages[stage].tokens_reused += job->written[seen].token_count;
    }
    requests.push_back(std::move(request));
  }
  const Clock::time_point ready = Clock::now();
  for (Job* job : jobs) {
    if (stage > 0) job->result->stages[stage].handoff_ms = Milliseconds(ready - job->last_token);
  }
  RETURN_IF_ERROR(engine_->Decode(requests));
  for (size_t i = 0; i < requests.size(); ++i) {
    DecodeRequest& request = requests[i];
    Job* job = jobs[i];
    StageResult& result = job->result->stages[stage];
    if (request.segment != nullptr) {
      const Segment& segment = *request.segment;
      job->written[id] = {request.segment, segment.provenance().content_hash,
                          segment.token_count()};
    }
    result.tokens_computed += request.fed_tokens;
    result.tokens = std::move(request.tokens);
    result.text = std::move(request.text);
    result.finish = request.finish;
    const bool any = request.first_token_seconds >= 0;
    result.first_token_ms = any ? request.first_token_seconds * 1e3 : -1;
    result.decode_ms = request.decode_seconds * 1e3;
    job->output_texts[stage] = result.text;
    // In lockstep a stage ends for all records when it ends for the last one.
    job->last_token = Clock::now();
  }
  return Status::Ok();
}

}  // namespace onepass
