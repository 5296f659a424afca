#include "train/prompt_gradient.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "chain/guard.h"

namespace onepass {
namespace {

// How many tokens of a planned segment a sample has. Of an output that has no end token the last
// text token is only predicted, unless a later step reads it.
int64_t SegmentLength(const Plan& plan, const std::vector<int64_t>& prompt_lengths,
                      const TrainSample& sample, int id) {
  const PlannedSegment& segment = plan.segments[id];
  if (segment.step >= 0 && !sample.ran[segment.step]) return 0;
  if (segment.kind == SegmentKind::kPrompt) return prompt_lengths[segment.stage];
  const int64_t count = std::ssize(sample.tokens[id]);
  const auto target = std::ranges::find(sample.targets, id, &TrainSample::Target::id);
  if (target == sample.targets.end() || segment.dies_after > segment.step) return count;
  return !target->end_token && count > target->start_count ? count - 1 : count;
}

}  // namespace

int64_t TrainSample::TargetCount() const {
  int64_t count = 0;
  for (const Target& target : targets) {
    count += std::ssize(tokens[target.id]) - target.start_count + (target.end_token ? 1 : 0);
  }
  return count;
}

int64_t TrainSample::TokenCount(const TapePlan& tape) const {
  int64_t count = 0;
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (tape.roles[id] != TapeRole::kUnused) count += std::ssize(tokens[id]);
  }
  return count;
}

ParameterRows::ParameterRows(const TapePlan& tape, const std::vector<int64_t>& prompt_lengths,
                             const AddedTokenIds& added) {
  for (const int stage : tape.stages) {
    stages.push_back({.stage = stage,
                      .begin = count,
                      .prompt = prompt_lengths[stage],
                      .added = added.count_of(stage)});
    count += stages.back().count();
  }
}

const ParameterRows::Stage& ParameterRows::Of(int stage) const {
  const auto found = std::ranges::find(stages, stage, &Stage::stage);
  ONEPASS_CHECK(found != stages.end(), "the stage is trained");
  return *found;
}

// What one Run holds until its backward is done.
template <class Real>
struct PromptGradient<Real>::Pass {
  std::span<const TrainSample* const> samples;
  View<const Real> parameters;
  bool want_gradient = false;
  std::vector<std::vector<WrittenSegment>> written;  // [sample][plan id]
  std::vector<std::vector<int64_t>> end_positions;   // [sample][plan id]
  std::deque<KvView> views;                          // the tape's calls refer to them
  Tape<Real> tape;
  struct PromptCall {
    int64_t call = 0;  // of the tape, that wrote a trained prompt, once or for every sample
    int stage = 0;
  };
  std::vector<PromptCall> prompt_calls;
  struct TokenRow {
    int64_t call = 0;  // of the tape
    int64_t row = 0;   // of the call
    int64_t parameter = 0;
  };
  std::vector<TokenRow> token_rows;  // trained tokens that were read

  // A token that a row of a segment predicts.
  struct Prediction {
    size_t sample = 0;
    int64_t row = 0;  // of the sample's segment; -1: its last
    int32_t token = 0;
    size_t loss = 0;  // in `losses`
  };
  std::vector<std::vector<Prediction>> predictions;  // by plan id, samples in order
  std::vector<int> prediction_stages;                // by plan id: whose output they are
  std::vector<Real> losses;                          // samples in order, in each its targets
  std::vector<size_t> loss_stages;                   // of each loss: its stage among the trained
  View<Real> dparameters;
  Real scale = 0;
  BatchLoss result;
};

template <class Real>
PromptGradient<Real>::PromptGradient(Transformer<Real>& model, PagePool& pool, const Plan& plan,
                                     const TapePlan& tape, std::vector<int64_t> prompt_lengths,
                                     TapeMode tape_mode, AddedTokenIds added)
    : model_(&model),
      pool_(&pool),
      plan_(&plan),
      tape_(&tape),
      prompt_lengths_(std::move(prompt_lengths)),
      rows_(tape, prompt_lengths_, added),
      tape_mode_(tape_mode),
      constant_prompts_(prompt_lengths_.size()),
      added_(std::move(added)),
      added_embedding_(added_.count(), model.config().width),
      constant_front_(plan.segments.size()) {
  std::vector<bool> read(plan.segments.size());
  for (size_t id = 0; id < read.size(); ++id) {
    if (tape.roles[id] != TapeRole::kTaped) continue;
    for (const int seen : plan.segments[id].view) read[seen] = true;
  }
  for (int id = 0; id < std::ssize(read); ++id) {
    const bool constant = tape.roles[id] == TapeRole::kConstant;
    if (read[id] && constant && !IsFrontPrompt(plan.segments[id])) stored_.push_back(id);
  }
}

template <class Real>
void PromptGradient<Real>::SetConstantPrompt(int stage, View<const Real> vectors) {
  ONEPASS_CHECK(vectors.rows() == prompt_lengths_[stage], "the prompt has the plan's length");
  constant_prompts_[stage] = vectors;
}

template <class Real>
int64_t PromptGradient<Real>::LengthOf(const TrainSample& sample, int id) const {
  return SegmentLength(*plan_, prompt_lengths_, sample, id);
}

template <class Real>
Status PromptGradient<Real>::WriteConstants(
    std::span<const TrainSample* const> samples,
    const std::function<void(const TrainSample&, int id, const Segment&)>& on_stored) {
  Pass pass;
  pass.samples = samples;
  pass.written.assign(samples.size(), std::vector<WrittenSegment>(plan_->segments.size()));
  pass.end_positions.assign(samples.size(), std::vector<int64_t>(plan_->segments.size()));
  pass.predictions.resize(plan_->segments.size());
  for (int id = 0; id < std::ssize(plan_->segments); ++id) {
    // What is trained takes part in the positions only.
    const bool constant = tape_->roles[id] == TapeRole::kConstant;
    RETURN_IF_ERROR(WriteSegment(pass, id, /*positions_only=*/!constant));
  }
  for (const int id : stored_) {
    for (size_t s = 0; s < samples.size(); ++s) {
      const SegmentRef& segment = pass.written[s][id].segment;
      if (segment != nullptr) on_stored(*samples[s], id, *segment);
    }
  }
  return Status::Ok();
}

template <class Real>
void PromptGradient<Real>::SetConstantTokens(int stage, View<const Real> embedding) {
  ONEPASS_CHECK(embedding.rows() == added_.count_of(stage), "all of the stage's added tokens");
  for (int64_t i = 0; i < embedding.rows(); ++i) {
    std::copy_n(embedding.row(i), embedding.cols(),
                added_embedding_.view().row(added_.first_of(stage) + i));
  }
}

// Which rows predict which tokens. The first token of an output without start tokens is predicted
// by the last row that its step wrote before.
template <class Real>
void PromptGradient<Real>::ListLosses(Pass& pass) const {
  pass.predictions.resize(plan_->segments.size());
  pass.prediction_stages.resize(plan_->segments.size());
  pass.result.stage_loss_sums.resize(rows_.stages.size());
  pass.result.stage_target_counts.resize(rows_.stages.size());
  for (size_t s = 0; s < pass.samples.size(); ++s) {
    const TrainSample& sample = *pass.samples[s];
    for (const TrainSample::Target& target : sample.targets) {
      const PlannedSegment& segment = plan_->segments[target.id];
      const size_t stage = &rows_.Of(segment.stage) - rows_.stages.data();
      const std::vector<int32_t>& output = sample.tokens[target.id];
      std::vector<int32_t> tokens(output.begin() + target.start_count, output.end());
      if (target.end_token) tokens.push_back(*target.end_token);
      int before = -1;
      for (const int id : plan_->steps[segment.step].writes) {
        const bool written = SegmentLength(*plan_, prompt_lengths_, sample, id) > 0;
        if (id != target.id && written) before = id;
      }
      ONEPASS_CHECK(target.start_count > 0 || before >= 0, "an output needs a token before it");
      int64_t row = target.start_count - 1;
      const int64_t vocab_size = model_->config().vocab_size;
      for (int32_t token : tokens) {
        // The stage's own tokens stand behind the base's among its logits.
        if (token >= vocab_size) token -= static_cast<int32_t>(added_.first_of(segment.stage));
        const size_t loss = pass.loss_stages.size();
        const int by = row < 0 ? before : target.id;
        pass.predictions[by].push_back({s, row, token, loss});
        pass.prediction_stages[by] = segment.stage;
        pass.loss_stages.push_back(stage);
        ++row;
      }
      pass.result.stage_target_counts[stage] += std::ssize(tokens);
    }
  }
  pass.losses.resize(pass.loss_stages.size());
  pass.result.target_count = std::ssize(pass.losses);
}

// Writes one planned segment of every sample in one ragged call.
template <class Real>
Status PromptGradient<Real>::WriteSegment(Pass& pass, int id, bool positions_only) {
  const PlannedSegment& planned = plan_->segments[id];
  const size_t sample_count = pass.samples.size();
  const bool constant = tape_->roles[id] == TapeRole::kConstant;
  const bool shared = IsFrontPrompt(planned);
  // Lives as long as this object: no trained vector has any influence on it. (What is taped for a
  // comparison is written anew by every pass, as PagesNeeded counts.)
  const bool kept = shared && constant;
  const bool is_stored = source_ != nullptr && std::ranges::find(stored_, id) != stored_.end();
  // With a source, constants that only constants read are not needed. What is kept is never stored.
  const bool used = !positions_only && tape_->roles[id] != TapeRole::kUnused &&
                    (source_ == nullptr || !constant || is_stored || kept);
  const bool taped = pass.want_gradient && tape_->roles[id] == TapeRole::kTaped;
  const bool predicts = !pass.predictions[id].empty();
  const bool is_prompt = planned.kind == SegmentKind::kPrompt;
  const bool trained = is_prompt && tape_->Trains(planned.stage);

  std::vector<ForwardItem<Real>> items;
  SegmentRef written_once;  // a front prompt's, for all samples
  int64_t row_count = 0;
  for (size_t s = 0; s < sample_count; ++s) {
    std::vector<WrittenSegment>& written = pass.written[s];
    const int64_t length = SegmentLength(*plan_, prompt_lengths_, *pass.samples[s], id);
    const int64_t start =
        planned.StartPosition(planned.after < 0 ? 0 : pass.end_positions[s][planned.after], length);
    pass.end_positions[s][id] = start + length;
    if (!used || length == 0) continue;
    written[id].token_count = length;
    if (shared && !items.empty()) {
      written[id].segment = written_once;
      continue;
    }
    if (kept && constant_front_[id] != nullptr) {
      written[id].segment = constant_front_[id];
      continue;
    }
    auto segment = std::make_shared<Segment>(
        *pool_, start, Provenance{.kind = planned.kind, .stage = planned.stage});
    ForwardItem<Real> item;
    if (is_prompt) {
      RETURN_IF_ERROR(segment->ExtendWithVectors(length));
      item.vectors = constant_prompts_[planned.stage];
      if (trained) item.vectors = pass.parameters.Rows(rows_.Of(planned.stage).begin, length);
      ONEPASS_CHECK(item.vectors.rows() == length, "a used prompt was not given");
    } else {
      RETURN_IF_ERROR(
          segment->Extend(std::span<const int32_t>(pass.samples[s]->tokens[id].data(), length)));
    }
    if (is_stored) {
      source_->CopyTo(pass.samples[s]->index, id, *segment);
      written[id].segment = std::move(segment);
      continue;
    }
    const KvView& view = pass.views.emplace_back(AttachView(*plan_, id, written));
    RETURN_IF_ERROR(GuardRead(*plan_, id, written, view));
    item.view = &view;
    item.tail = segment.get();
    item.new_count = length;
    item.added_embedding = View<const Real>(added_embedding_.view());
    if (!taped && !predicts) item.read_count = 0;
    items.push_back(item);
    row_count += length;
    written_once = segment;
    written[id].segment = std::move(segment);
  }
  if (items.empty()) return Status::Ok();

  if (taped && trained) {
    pass.prompt_calls.push_back({.call = pass.tape.call_count(), .stage = planned.stage});
  }
  if (taped && !is_prompt && added_.count() > 0) FindTrainedTokens(pass, id);
  const View<const Real> hidden = model_->Forward(items, taped ? &pass.tape : nullptr);
  if (!kept) (taped ? pass.result.taped_tokens : pass.result.constant_tokens) += row_count;
  AddLoss(pass, id, hidden, taped);
  if (kept) constant_front_[id] = written_once;
  return Status::Ok();
}

// The losses of the tokens that rows of this segment predict.
template <class Real>
void PromptGradient<Real>::AddLoss(Pass& pass, int id, View<const Real> hidden, bool taped) {
  const auto& predictions = pass.predictions[id];
  if (predictions.empty()) return;
  // Each sample's first row of the call; a front prompt's call has one item for all the samples.
  std::vector<int64_t> begins(pass.samples.size());
  int64_t next = 0;
  for (size_t s = 0; s < pass.samples.size(); ++s) {
    begins[s] = IsFrontPrompt(plan_->segments[id]) ? 0 : next;
    if (pass.written[s][id].segment != nullptr) next += pass.written[s][id].token_count;
  }

  const int64_t count = std::ssize(predictions);
  const int64_t width = hidden.cols();
  Buffer<Real> gathered(count, width);
  Buffer<Real> gradient(taped ? count : 0, width);
  std::vector<int64_t> rows(count);
  std::vector<int32_t> targets(count);
  std::vector<Real> scales(count, pass.scale);
  std::vector<Real> losses(count);
  for (int64_t i = 0; i < count; ++i) {
    const auto& [sample, row, token, loss] = predictions[i];
    rows[i] = begins[sample] + (row < 0 ? pass.written[sample][id].token_count - 1 : row);
    std::copy_n(hidden.row(rows[i]), width, gathered.view().row(i));
    targets[i] = token;
  }
  // All of these rows predict the stage's that wrote them.
  const ParameterRows::Stage& own = rows_.Of(pass.prediction_stages[id]);
  const View<const Real> added_head = pass.parameters.Rows(own.head(), own.added);
  model_->Loss(gathered.view(), targets, scales, losses, taped ? gradient.view() : View<Real>(),
               added_head, taped ? pass.dparameters.Rows(own.head(), own.added) : View<Real>());
  for (int64_t i = 0; i < count; ++i) pass.losses[predictions[i].loss] = losses[i];
  if (!taped) return;
  const View<Real> dhidden = pass.tape.dhidden(pass.tape.call_count() - 1);
  for (int64_t i = 0; i < count; ++i) {
    const Real* from = gradient.view().row(i);
    Real* to = dhidden.row(rows[i]);
    for (int64_t c = 0; c < width; ++c) to[c] += from[c];
  }
}

// Where the segment's call, the next of the tape, reads trained tokens.
template <class Real>
void PromptGradient<Real>::FindTrainedTokens(Pass& pass, int id) const {
  const int64_t vocab_size = model_->config().vocab_size;
  int64_t row = 0;
  for (size_t s = 0; s < pass.samples.size(); ++s) {
    const std::vector<int32_t>& tokens = pass.samples[s]->tokens[id];
    const int64_t length = pass.written[s][id].token_count;
    for (int64_t i = 0; i < length; ++i, ++row) {
      const int64_t added = tokens[i] - vocab_size;
      if (added < 0) continue;
      for (const ParameterRows::Stage& stage : rows_.stages) {
        const int64_t own = added - added_.first_of(stage.stage);
        if (own < 0 || own >= stage.added) continue;
        pass.token_rows.push_back(
            {.call = pass.tape.call_count(), .row = row, .parameter = stage.embedding() + own});
      }
    }
  }
}

template <class Real>
Result<BatchLoss> PromptGradient<Real>::Run(std::span<const TrainSample* const> samples,
                                            View<const Real> parameters, Real scale,
                                            View<Real> dparameters,
                                            std::vector<Real>* target_losses) {
  if (const DType dtype = pool_->layout().dtype; dtype != DTypeOf<Real>::kValue) {
    return InvalidArgument("training: want KV in " +
                           std::string(KvTypeName(DTypeOf<Real>::kValue)) + ", found " +
                           std::string(KvTypeName(dtype)));
  }
  ONEPASS_CHECK(parameters.rows() == rows_.count, "all the trained rows");
  Pass pass;
  pass.tape = Tape<Real>(tape_mode_);
  pass.samples = samples;
  pass.parameters = parameters;
  pass.want_gradient = !dparameters.empty();
  pass.dparameters = dparameters;
  pass.scale = scale;
  pass.written.assign(samples.size(), std::vector<WrittenSegment>(plan_->segments.size()));
  pass.end_positions.assign(samples.size(), std::vector<int64_t>(plan_->segments.size()));
  ListLosses(pass);
  for (const ParameterRows::Stage& stage : rows_.stages) {
    SetConstantTokens(stage.stage, parameters.Rows(stage.embedding(), stage.added));
  }

  for (size_t id = 0; id < plan_->segments.size(); ++id) {
    RETURN_IF_ERROR(WriteSegment(pass, static_cast<int>(id)));
  }
  for (size_t i = 0; i < pass.losses.size(); ++i) {
    pass.result.loss_sum += static_cast<double>(pass.losses[i]);
    pass.result.stage_loss_sums[pass.loss_stages[i]] += static_cast<double>(pass.losses[i]);
  }
  if (target_losses != nullptr) {
    target_losses->insert(target_losses->end(), pass.losses.begin(), pass.losses.end());
  }
  if (!pass.want_gradient) return pass.result;

  model_->Backward(pass.tape);
  pass.result.tape_bytes = pass.tape.bytes();
  for (const auto& [call, stage] : pass.prompt_calls) {
    const View<const Real> dvectors = pass.tape.dvectors(call);
    const ParameterRows::Stage& rows = rows_.Of(stage);
    ONEPASS_CHECK(dvectors.rows() % rows.prompt == 0, "whole prompts");
    for (int64_t r = 0; r < dvectors.rows(); ++r) {
      const Real* from = dvectors.row(r);
      Real* to = dparameters.row(rows.begin + r % rows.prompt);
      for (int64_t c = 0; c < dparameters.cols(); ++c) to[c] += from[c];
    }
  }
  for (const auto& [call, row, parameter] : pass.token_rows) {
    const Real* from = pass.tape.dvectors(call).row(row);
    Real* to = dparameters.row(parameter);
    for (int64_t c = 0; c < dparameters.cols(); ++c) to[c] += from[c];
  }
  return pass.result;
}

int64_t PagesNeeded(const Plan& plan, const TapePlan& tape,
                    const std::vector<int64_t>& prompt_lengths,
                    std::span<const TrainSample> samples, int64_t batch_size, int64_t page_tokens) {
  int64_t shared = 0;
  int64_t largest = 0;
  const auto pages = [&](int64_t tokens) { return (tokens + page_tokens - 1) / page_tokens; };
  for (size_t id = 0; id < plan.segments.size(); ++id) {
    if (IsFrontPrompt(plan.segments[id])) shared += pages(prompt_lengths[plan.segments[id].stage]);
  }
  for (const TrainSample& sample : samples) {
    int64_t own = 0;
    for (size_t id = 0; id < plan.segments.size(); ++id) {
      if (tape.roles[id] == TapeRole::kUnused || IsFrontPrompt(plan.segments[id])) continue;
      own += pages(SegmentLength(plan, prompt_lengths, sample, static_cast<int>(id)));
    }
    largest = std::max(largest, own);
  }
  return shared + largest * std::min(batch_size, std::ssize(samples));
}

template class PromptGradient<float>;
template class PromptGradient<double>;

}  // namespace onepass
