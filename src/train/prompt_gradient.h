// The loss of one micro-batch of teacher-forced samples and its gradient with respect to the
// trained prompt. Segment by segment through the forward pass that inference uses: all samples'
// segments of one plan id go in one ragged call. What the trained prompt has no influence on is a
// constant: no activations, no backward. A front prompt is one segment for the whole micro-batch;
// constant front prompts are computed once per run.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "chain/plan.h"
#include "core/status.h"
#include "kv/segment.h"
#include "model/transformer.h"
#include "train/tape_plan.h"

namespace onepass {

// One record's tokens under a plan.
struct TrainSample {
  // By plan id. A prompt's entry is empty (its rows are vectors). The target's entry holds its
  // start tokens and its text, without the end token.
  std::vector<std::vector<int32_t>> tokens;
  int64_t start_count = 0;           // leading tokens of the target that are given, not predicted
  std::optional<int32_t> end_token;  // predicted after the target's text, never fed

  // Predicted tokens.
  int64_t TargetCount(const TapePlan& tape) const;
  // Text tokens over all the segments that are computed.
  int64_t TokenCount(const TapePlan& tape) const;
};

struct BatchLoss {
  double loss_sum = 0;  // cross entropy, summed over the targets
  int64_t target_count = 0;
  int64_t taped_tokens = 0;     // rows that went through the model with a tape
  int64_t constant_tokens = 0;  // and without, but for constant front prompts (one pass has them)
  int64_t tape_bytes = 0;       // at their largest
};

// Thread-compatible. Not copyable.
template <class Real>
class PromptGradient {
 public:
  // All must outlive it. prompt_lengths are by stage, as the plan was compiled with.
  PromptGradient(Transformer<Real>& model, PagePool& pool, const Plan& plan, const TapePlan& tape,
                 std::vector<int64_t> prompt_lengths,
                 TapeMode tape_mode = TapeMode::kKeepActivations);

  // Gives the constant prompt [P, C] of a stage; its vectors must outlive this object. Every other
  // stage whose prompt the plan uses needs one before Run.
  void SetConstantPrompt(int stage, View<const Real> vectors);

  // The loss of the samples under `prompt` [P, C]. Adds scale * d(sum of losses)/d(prompt) to
  // dprompt [P, C]; where dprompt is empty nothing is taped. target_losses, if not null, gets every
  // target's loss, samples in order. kExhausted: too few pages. kInvalidArgument: a pool whose KV
  // is not stored in Real, through which no gradient goes.
  Result<BatchLoss> Run(std::span<const TrainSample* const> samples, View<const Real> prompt,
                        Real scale, View<Real> dprompt, std::vector<Real>* target_losses = nullptr);

 private:
  struct Pass;
  Status WriteSegment(Pass& pass, int id);
  void AddLoss(Pass& pass, int id, View<const Real> hidden, bool taped);

  Transformer<Real>* model_;
  PagePool* pool_;
  const Plan* plan_;
  const TapePlan* tape_;
  std::vector<int64_t> prompt_lengths_;
  TapeMode tape_mode_;
  std::vector<View<const Real>> constant_prompts_;  // by stage
  std::vector<SegmentRef> constant_front_;          // by plan id; computed once
};

// Pages that one micro-batch of these samples may hold at once, an upper bound.
int64_t PagesNeeded(const Plan& plan, const TapePlan& tape,
                    const std::vector<int64_t>& prompt_lengths,
                    std::span<const TrainSample> samples, int64_t batch_size, int64_t page_tokens);

}  // namespace onepass
