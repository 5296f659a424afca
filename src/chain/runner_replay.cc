// A record with outputs that are given: the same hand-offs as in a run, and what each output would
// have cost to say.
#include "chain/runner.h"

namespace onepass {
namespace {

// Uses the logits up.
float CrossEntropy(Ops<float>& ops, std::vector<float> logits, TokenId target) {
  const float scale = 1;
  float loss = 0;
  ops.SoftmaxCrossEntropy({logits.data(), 1, std::ssize(logits)}, {&target, 1}, {&scale, 1},
                          {&loss, 1});
  return loss;
}

}  // namespace

Status ChainRunner::ReplayStep(const std::string& text, ChainRun* run, std::vector<float>* losses) {
  RETURN_IF_ERROR(run->BeginStepWithOutput(text));
  RETURN_IF_ERROR(PrefillStep(run->step(), {&run, 1}));
  ASSIGN_OR_RETURN(PrefillRequest output, run->GivenOutput());
  const int stage = plan().steps[run->step()].stage;
  losses->clear();
  if (templates().StartTokens(stage).empty()) {
    // Plain text never has added tokens: its ids are places among the logits.
    losses->push_back(CrossEntropy(*base_.ops, run->TakeFirstLogits(), output.tokens.front()));
  }
  RETURN_IF_ERROR(engine_->Prefill({&output, 1}));
  losses->insert(losses->end(), output.losses.begin(), output.losses.end());
  if (templates().StopTokens(stage).empty()) losses->pop_back();
  run->TakeGivenOutput(output);
  return Status::Ok();
}

Result<ReplayResult> ChainRunner::Replay(const Record& record,
                                         const std::vector<std::optional<std::string>>& outputs) {
  ONEPASS_CHECK(outputs.size() == plan().steps.size(), "one output a step");
  ReplayResult replay;
  pool_->ResetPeak();
  ChainRun run(*chain_, record);
  ShareFrontPrompts(&run);
  ASSIGN_OR_RETURN(InputTokens inputs, templates().RenderInputs(plan(), record));
  run.SetInputs({.inputs = std::move(inputs), .cut_record = {}, .cut_bytes = 0});
  for (int step = 0; step < plan().step_count(); ++step) {
    const bool stage = !run.at_tool();
    if (outputs[step] && stage) {
      RETURN_IF_ERROR(ReplayStep(*outputs[step], &run, &replay.losses.emplace_back()));
      if (on_step) on_step(0, step, run.written());
    }
    run.Advance(stage ? std::nullopt : outputs[step]);
  }
  replay.record = run.TakeResult();
  replay.record.peak_kv_bytes = pool_->bytes_peak();
  return replay;
}

}  // namespace onepass
