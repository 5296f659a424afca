// The loss of one micro-batch of teacher-forced samples and its gradient with respect to the
// trained prompts. Segment by segment through the forward pass that inference uses: all samples'
// segments of one plan id go in one ragged call. What no trained prompt has any influence on is a
// constant: no activations, no backward. A front prompt is one segment for the whole micro-batch;
// constant front prompts are computed once per run.
#pragma once

#include <cstdint>
#include <functional>
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
  // By plan id; empty where the step did not run. A prompt's entry is empty (its rows are vectors).
  // A target's entry holds its start tokens and its text, without the end token.
  std::vector<std::vector<int32_t>> tokens;
  std::vector<bool> ran;  // by step
  // An output that is trained.
  struct Target {
    int id = 0;                        // of the plan
    int64_t start_count = 0;           // leading tokens that are given, not predicted
    std::optional<int32_t> end_token;  // predicted after the text, never fed
  };
  std::vector<Target> targets;  // of the steps that ran, ascending
  int64_t index = 0;            // in its data set

  // Predicted tokens.
  int64_t TargetCount() const;
  // Text tokens over all the segments that are computed.
  int64_t TokenCount(const TapePlan& tape) const;
};

// Where the added tokens of each stage stand among all the added ones; the first of them has the
// base's vocab_size for an id. Empty: there are none.
struct AddedTokenIds {
  std::vector<int64_t> first;  // by stage, and the end

  int64_t first_of(int stage) const { return first.empty() ? 0 : first[stage]; }
  int64_t count_of(int stage) const { return first.empty() ? 0 : first[stage + 1] - first[stage]; }
  int64_t count() const { return first.empty() ? 0 : first.back(); }
};

// Which rows of the matrix of trained parameters [R, C] are whose.
struct ParameterRows {
  struct Stage {
    int stage = 0;
    int64_t begin = 0;
    int64_t prompt = 0;  // rows of the prompt's vectors, from `begin` on
    int64_t added = 0;   // behind them its added tokens' rows of the embedding, then of the head

    int64_t embedding() const { return begin + prompt; }
    int64_t head() const { return begin + prompt + added; }
    int64_t count() const { return prompt + 2 * added; }
  };
  std::vector<Stage> stages;  // in the order of their rows
  int64_t count = 0;          // R

  ParameterRows(const TapePlan& tape, const std::vector<int64_t>& prompt_lengths,
                const AddedTokenIds& added);
  // REQUIRES: the stage is trained.
  const Stage& Of(int stage) const;
};

// Where the KV of constant segments comes from in place of a forward pass.
class KvSource {
 public:
  virtual ~KvSource() = default;
  // Fills the pages of a segment that has its tokens. REQUIRES: id is one of StoredSegments().
  virtual void CopyTo(int64_t sample, int id, const Segment& segment) const = 0;
};

struct BatchLoss {
  double loss_sum = 0;  // cross entropy, summed over the predicted tokens
  int64_t target_count = 0;
  // The same of each trained stage's outputs, as ParameterRows orders them.
  std::vector<double> stage_loss_sums;
  std::vector<int64_t> stage_target_counts;
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
                 TapeMode tape_mode = TapeMode::kKeepActivations, AddedTokenIds added = {});

  // Gives the constant prompt [P, C] of a stage; its vectors must outlive this object. Every other
  // stage whose prompt the plan uses needs one before Run.
  void SetConstantPrompt(int stage, View<const Real> vectors);
  // The same of the rows of the embedding of its added tokens; they are copied.
  void SetConstantTokens(int stage, View<const Real> embedding);

  const ParameterRows& rows() const { return rows_; }
  // How many tokens of a planned segment are computed for a sample.
  int64_t LengthOf(const TrainSample& sample, int id) const;

  // The constants that a KvSource must have: what taped segments read, but for front prompts, which
  // are computed once a run.
  const std::vector<int>& StoredSegments() const { return stored_; }
  // Of the samples of the next Runs; it must outlive them. null: constants are computed.
  void SetKvSource(const KvSource* source) { source_ = source; }
  // Computes the constants alone, and tells of each StoredSegments() of each sample.
  Status WriteConstants(
      std::span<const TrainSample* const> samples,
      const std::function<void(const TrainSample&, int id, const Segment&)>& on_stored);

  // The loss of the samples under `parameters` [R, C], whose rows rows() tells. Adds scale * d(sum
  // of losses)/d(parameters) to dparameters [R, C]; where that is empty nothing is taped.
  // target_losses, if not null, gets every predicted token's loss: samples in order, in each its
  // targets. kExhausted: too few pages. kInvalidArgument: a pool whose KV
  // is not stored in Real, through which no gradient goes.
  Result<BatchLoss> Run(std::span<const TrainSample* const> samples, View<const Real> parameters,
                        Real scale, View<Real> dparameters,
                        std::vector<Real>* target_losses = nullptr);

 private:
  struct Pass;
  void ListLosses(Pass& pass) const;
  Status WriteSegment(Pass& pass, int id, bool positions_only = false);
  void AddLoss(Pass& pass, int id, View<const Real> hidden, bool taped);
  void FindTrainedTokens(Pass& pass, int id) const;

  Transformer<Real>* model_;
  PagePool* pool_;
  const Plan* plan_;
  const TapePlan* tape_;
  std::vector<int64_t> prompt_lengths_;
  ParameterRows rows_;
  TapeMode tape_mode_;
  std::vector<View<const Real>> constant_prompts_;  // by stage
  AddedTokenIds added_;
  std::vector<int> stored_;
  const KvSource* source_ = nullptr;
  Buffer<Real> added_embedding_;            // [N, C]; of trained stages as of the last Run
  std::vector<SegmentRef> constant_front_;  // by plan id; computed once
};

// Pages that one micro-batch of these samples may hold at once, an upper bound.
int64_t PagesNeeded(const Plan& plan, const TapePlan& tape,
                    const std::vector<int64_t>& prompt_lengths,
                    std::span<const TrainSample> samples, int64_t batch_size, int64_t page_tokens);

}  // namespace onepass
