// A record with outputs that are given: the same hand-offs as in a run, and what each output would
// have cost to say.
#include <algorithm>

#include "chain/runner.h"
#include "chain/runner_job.h"
#include "core/quote.h"

namespace onepass {
namespace {

using Clock = std::chrono::steady_clock;

// Uses the logits up.
float CrossEntropy(Ops<float>& ops, std::vector<float> logits, TokenId target) {
  const float scale = 1;
  float loss = 0;
  ops.SoftmaxCrossEntropy({logits.data(), 1, std::ssize(logits)}, {&target, 1}, {&scale, 1},
                          {&loss, 1});
  return loss;
}

}  // namespace

Status ChainRunner::ReplayStep(int step, const std::string& text, Job* job,
                               std::vector<float>* losses) {
  const int stage = plan_.steps[step].stage;
  const int id = plan_.OutputOf(step);
  const std::vector<TokenId>& start = templates_->StartTokens(stage);
  const std::vector<TokenId>& stop = templates_->StopTokens(stage);
  std::vector<TokenId> tokens = templates_->OutputText(text);
  if (tokens.empty() && (start.empty() || stop.empty())) {
    return InvalidArgument(job->record->Where() + ": stage " + Quote(spec_.stages[stage].name) +
                           ": want an output that has tokens, found " + Quote(text));
  }
  RETURN_IF_ERROR(BeginStep(step, job, std::ssize(tokens)));
  StageResult& run = job->result->stages.emplace_back();
  run.step = step;
  run.stage = stage;
  const Clock::time_point begin = Clock::now();
  RETURN_IF_ERROR(PrefillStep(step, {&job, 1}));
  run.prefill_ms = Milliseconds(Clock::now() - begin);
  PrefillRequest request;
  request.view = AttachView(plan_, id, job->written);
  RETURN_IF_ERROR(GuardRead(plan_, id, job->written, request.view));
  const Clock::time_point ready = Clock::now();
  if (job->result->stages.size() > 1) run.handoff_ms = Milliseconds(ready - job->last_token);
  run.first_token_ms = -1;
  CountReused(step, job);

  request.start_position = StartPosition(*job, id);
  request.provenance = {.kind = plan_.segments[id].kind, .stage = stage};
  request.added = AddedTokensOf(stage);
  request.tokens = start;
  request.tokens.insert(request.tokens.end(), tokens.begin(), tokens.end());
  request.targets = tokens;
  // The token that follows the last one; where none is known, its loss is dropped.
  request.targets.push_back(stop.empty() ? 0 : stop.front());
  losses->clear();
  if (start.empty()) {
    // Plain text never has added tokens: its ids are places among the logits.
    losses->push_back(CrossEntropy(*base_.ops, std::move(job->first_logits), tokens.front()));
    request.targets.erase(request.targets.begin());
  }
  job->first_logits.clear();
  RETURN_IF_ERROR(engine_->Prefill({&request, 1}));
  losses->insert(losses->end(), request.losses.begin(), request.losses.end());
  if (stop.empty()) losses->pop_back();

  const Segment& segment = *request.segment;
  job->written[id] = {request.segment, segment.provenance().content_hash, segment.token_count()};
  run.tokens_computed += segment.token_count();
  run.tokens = std::move(tokens);
  run.text = text;
  if (!stop.empty()) {
    run.finish = FinishReason::kStopToken;
    run.stop_token = stop.front();
  }
  job->transcript.texts[step] = text;
  job->last_token = Clock::now();
  return Status::Ok();
}

Result<ReplayResult> ChainRunner::Replay(const Record& record,
                                         const std::vector<std::optional<std::string>>& outputs) {
  ONEPASS_CHECK(outputs.size() == plan_.steps.size(), "one output a step");
  ReplayResult replay;
  replay.record.number = record.number;
  pool_->ResetPeak();
  Job job;
  job.record = &record;
  job.result = &replay.record;
  job.begin = Clock::now();
  RETURN_IF_ERROR(RenderInputs(&job));
  for (int step = 0; step < plan_.step_count(); ++step) {
    if (!outputs[step]) continue;
    if (plan_.steps[step].tool >= 0) {
      job.transcript.texts[step] = outputs[step];
      job.last_token = Clock::now();  // no hand-off's time
      continue;
    }
    RETURN_IF_ERROR(ReplayStep(step, *outputs[step], &job, &replay.losses.emplace_back()));
    if (on_step) on_step(0, step, job.written);
  }
  replay.record.total_ms = Milliseconds(job.last_token - job.begin);
  replay.record.peak_kv_bytes = pool_->bytes_peak();
  return replay;
}

}  // namespace onepass
