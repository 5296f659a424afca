// One record on its way through a bound chain: what must be written next, under which view and at
// which position, and what was said so far. Runs nothing: whoever holds an engine asks it for
// requests, and gives it their results.
//
//   for (; !run.done(); run.EndStep()) {
//     if (run.at_tool()) { run.RunTool(tools); continue; }
//     run.BeginStep();
//     for each group: run.Prefills(group), then run.TakePrefilled(...) for each of them
//     run.Output(), then run.TakeOutput(...)
//   }
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "chain/bound_chain.h"
#include "chain/guard.h"
#include "chain/record_result.h"
#include "chain/tools.h"

namespace onepass {

// An input segment to write.
struct PlannedPrefill {
  int id = 0;  // of the plan
  PrefillRequest request;
};

// Thread-compatible. Not copyable. Holds its segments' pages.
class ChainRun {
 public:
  // The chain and the record must outlive it. `outputs`: by stage.
  ChainRun(const BoundChain& chain, const Record& record, std::vector<OutputOptions> outputs);
  ChainRun(const BoundChain& chain, const Record& record)
      : ChainRun(chain, record, chain.Outputs()) {}
  ChainRun(const ChainRun&) = delete;
  ChainRun& operator=(const ChainRun&) = delete;

  // First of all. `prepared`: what BoundChain::Prepare gave for the record and these outputs.
  void SetInputs(PreparedRecord prepared);
  Status Prepare();
  // A front prompt that outlives the record. `own_work`: it was written for this record.
  void SetFrontPrompt(int id, const WrittenSegment& prompt, bool own_work);
  // The present step wrote it.
  void CountFrontPrompt(int id) {
    stage_result().tokens_computed += written_[id].token_count;
    stage_result().tokens_prefilled += written_[id].token_count;
  }

  const BoundChain& chain() const { return chain_; }
  const RecordResult& result() const { return result_; }
  RecordResult TakeResult() { return std::move(result_); }
  // What the record holds, by planned id.
  const std::vector<WrittenSegment>& written() const { return written_; }
  int64_t HeldKvBytes() const;

  bool done() const { return step_ >= chain_.plan().step_count(); }
  int step() const { return step_; }  // of the plan
  bool at_tool() const { return chain_.plan().steps[step_].tool >= 0; }

  // Frees what no step from this one on reads, and makes the step's inputs. A record that cannot
  // finish the step stops before it: nothing is in vain. kInvalidArgument: more positions than
  // there are, no token that the output can follow.
  Status BeginStep() { return BeginStep(outputs_[planned_step().stage].max_tokens); }
  // The step's inputs of one of the chain's groups, of which the earlier ones are written. A read
  // that the plan does not have is refused.
  Result<std::vector<PlannedPrefill>> Prefills(int group);
  int group_count() const { return static_cast<int>(chain_.GroupsOf(step_).size()); }
  void TakePrefilled(int id, PrefillRequest& request);
  // Of another's work: a segment that is what the request would write. `logits`: what the request
  // wants of them.
  void TakeShared(int id, const SegmentRef& segment, std::vector<float> logits);
  Result<DecodeRequest> Output();
  // Its times are in its results.
  void TakeOutput(DecodeRequest&& request);
  Status RunTool(Tools& tools);
  // Where the record goes on: with the next step, or behind the loop.
  void EndStep();

  // The same with an output that is given, of which `losses` are wanted (PrefillRequest::targets;
  // the last target is a stop token, or 0 where the stage has none).
  Status BeginStepWithOutput(const std::string& text);
  Result<PrefillRequest> GivenOutput();
  void TakeGivenOutput(PrefillRequest& request);
  // To the next step, whatever the rules say; `text`: what a tool is said to have found.
  void Advance(std::optional<std::string> text = {});
  // Of a stage without start tokens: what the output's first token was predicted by.
  std::vector<float> TakeFirstLogits() { return std::move(first_logits_); }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr int kNoStep = -1;   // another record's work
  static constexpr int kAnyStep = -2;  // a front prompt written for this record

  const PlanStep& planned_step() const { return chain_.plan().steps[step_]; }
  StageResult& stage_result() { return result_.stages.back(); }
  Status BeginStep(int64_t most_output_tokens);
  int64_t StartPosition(int id) const;
  void CountReused();

  const BoundChain& chain_;
  const Record* record_;
  std::vector<OutputOptions> outputs_;  // by stage
  PreparedRecord prepared_;
  Transcript transcript_;
  std::vector<std::vector<TokenId>> tokens_;  // by planned id: the inputs of steps that began
  std::vector<WrittenSegment> written_;       // by planned id
  std::vector<int> worked_at_;  // by planned id: the step whose work wrote it; kAnyStep, kNoStep
  std::vector<float> first_logits_;  // after the last input of the present step
  std::string given_text_;           // the present step's output, where it is given
  std::vector<TokenId> given_;       // its tokens
  int step_ = 0;
  int64_t loop_tokens_ = 0;  // sampled in the present part of the flow
  Clock::time_point begin_;
  Clock::time_point prefill_begin_;
  Clock::time_point last_token_;
  RecordResult result_;
};

}  // namespace onepass
