#include "train/prompt_gradient.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "chain/guard.h"

namespace onepass {
namespace {

// How many tokens of a planned segment a sample has. The last target of an output is only
// predicted: where there is no end token that is its last text token.
int64_t SegmentLength(const Plan& plan, const TapePlan& tape,
                      const std::vector<int64_t>& prompt_lengths, const TrainSample& sample,
                      int id) {
  const PlannedSegment& segment = plan.segments[id];
  if (segment.kind == SegmentKind::kPrompt) return prompt_lengths[segment.stage];
  const int64_t count = static_cast<int64_t>(sample.tokens[id].size());
  const bool last_is_target_only =
      id == tape.target && !sample.end_token.has_value() && count > sample.start_count;
  return last_is_target_only ? count - 1 : count;
}

}  // namespace

int64_t TrainSample::TargetCount(const TapePlan& tape) const {
  return static_cast<int64_t>(tokens[tape.target].size()) - start_count +
         (end_token.has_value() ? 1 : 0);
}

int64_t TrainSample::TokenCount(const TapePlan& tape) const {
  int64_t count = 0;
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (tape.roles[id] != TapeRole::kUnused) count += static_cast<int64_t>(tokens[id].size());
  }
  return count;
}

// What one Run holds until its backward is done.
template <class Real>
struct PromptGradient<Real>::Pass {
  std::span<const TrainSample* const> samples;
  View<const Real> prompt;
  bool want_gradient = false;
  std::vector<std::vector<WrittenSegment>> written;  // [sample][plan id]
  std::vector<std::vector<int64_t>> end_positions;   // [sample][plan id]
  std::deque<KvView> views;                          // the tape's calls refer to them
  Tape<Real> tape;
  int64_t prompt_call = -1;  // tape call that wrote the trained prompt

  // The loss rows of each sample: the output's first prediction may come from the segment before
  // it.
  std::vector<std::vector<int32_t>> targets;  // [sample]
  std::vector<int> first_row_id;              // plan id that predicts target 0, or the target's own
  std::vector<std::vector<Real>> losses;      // [sample][target]
  Real scale = 0;
  BatchLoss result;
};

template <class Real>
PromptGradient<Real>::PromptGradient(Transformer<Real>& model, PagePool& pool, const Plan& plan,
                                     const TapePlan& tape, std::vector<int64_t> prompt_lengths,
                                     TapeMode tape_mode)
    : model_(&model),
      pool_(&pool),
      plan_(&plan),
      tape_(&tape),
      prompt_lengths_(std::move(prompt_lengths)),
      tape_mode_(tape_mode),
      constant_prompts_(prompt_lengths_.size()),
      constant_front_(plan.segments.size()) {}

template <class Real>
void PromptGradient<Real>::SetConstantPrompt(int stage, View<const Real> vectors) {
  ONEPASS_CHECK(vectors.rows() == prompt_lengths_[stage], "the prompt has the plan's length");
  constant_prompts_[stage] = vectors;
}

// Writes one planned segment of every sample in one ragged call.
template <class Real>
Status PromptGradient<Real>::WriteSegment(Pass& pass, int id) {
  const PlannedSegment& planned = plan_->segments[id];
  const size_t sample_count = pass.samples.size();
  const bool used = tape_->roles[id] != TapeRole::kUnused;
  const bool taped = pass.want_gradient && tape_->roles[id] == TapeRole::kTaped;
  const bool predicts = id == tape_->target || std::ranges::count(pass.first_row_id, id) > 0;
  const bool is_prompt = planned.kind == SegmentKind::kPrompt;
  const bool shared = IsFrontPrompt(planned);
  // Lives as long as this object: no trained vector has any influence on it. (What is taped for a
  // comparison is written anew by every pass, as PagesNeeded counts.)
  const bool kept = shared && tape_->roles[id] == TapeRole::kConstant;

  std::vector<ForwardItem<Real>> items;
  int64_t row_count = 0;
  for (size_t s = 0; s < sample_count; ++s) {
    std::vector<WrittenSegment>& written = pass.written[s];
    const int64_t start =
        planned.after == -1 ? planned.offset : pass.end_positions[s][planned.after];
    const int64_t length = SegmentLength(*plan_, *tape_, prompt_lengths_, *pass.samples[s], id);
    pass.end_positions[s][id] = start + length;
    if (!used || length == 0) continue;
    written[id].token_count = length;
    if (shared && s > 0) {
      written[id].segment = pass.written[0][id].segment;
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
      item.vectors = id == tape_->prompt ? pass.prompt : constant_prompts_[planned.stage];
      ONEPASS_CHECK(item.vectors.rows() == length, "a used prompt was not given");
    } else {
      RETURN_IF_ERROR(
          segment->Extend(std::span<const int32_t>(pass.samples[s]->tokens[id].data(), length)));
    }
    const KvView& view = pass.views.emplace_back(AttachView(*plan_, id, written));
    RETURN_IF_ERROR(GuardRead(*plan_, id, written, view));
    item.view = &view;
    item.tail = segment.get();
    item.new_count = length;
    if (!taped && !predicts) item.read_count = 0;
    items.push_back(item);
    row_count += length;
    written[id].segment = std::move(segment);
  }
  if (items.empty()) return Status::Ok();

  if (taped && id == tape_->prompt) pass.prompt_call = pass.tape.call_count();
  const View<const Real> hidden = model_->Forward(items, taped ? &pass.tape : nullptr);
  if (!kept) (taped ? pass.result.taped_tokens : pass.result.constant_tokens) += row_count;
  AddLoss(pass, id, hidden, taped);
  if (kept) constant_front_[id] = pass.written[0][id].segment;
  return Status::Ok();
}

// The losses of the targets that rows of this segment predict.
template <class Real>
void PromptGradient<Real>::AddLoss(Pass& pass, int id, View<const Real> hidden, bool taped) {
  struct Row {
    size_t sample;
    size_t target;
    int64_t row;
  };
  std::vector<Row> rows;
  int64_t begin = 0;  // this sample's first row of the call
  for (size_t s = 0; s < pass.samples.size(); ++s) {
    const SegmentRef& segment = pass.written[s][id].segment;
    if (segment == nullptr) continue;
    if (pass.first_row_id[s] == id && id != tape_->target) {
      rows.push_back({s, 0, begin + segment->token_count() - 1});
    }
    if (id == tape_->target) {
      const size_t first = pass.first_row_id[s] == id ? 0 : 1;
      const int64_t first_row = std::max<int64_t>(pass.samples[s]->start_count - 1, 0);
      for (size_t t = first; t < pass.targets[s].size(); ++t) {
        rows.push_back({s, t, begin + first_row + static_cast<int64_t>(t - first)});
      }
    }
    // A front prompt's call has one item for all the samples.
    if (!IsFrontPrompt(plan_->segments[id])) begin += segment->token_count();
  }
  if (rows.empty()) return;

  const int64_t row_count = static_cast<int64_t>(rows.size());
  const int64_t width = hidden.cols();
  Buffer<Real> gathered(row_count, width);
  Buffer<Real> gradient(taped ? row_count : 0, width);
  std::vector<int32_t> targets(rows.size());
  std::vector<Real> scales(rows.size(), pass.scale);
  std::vector<Real> losses(rows.size());
  for (int64_t i = 0; i < row_count; ++i) {
    std::copy_n(hidden.row(rows[i].row), width, gathered.view().row(i));
    targets[i] = pass.targets[rows[i].sample][rows[i].target];
  }
  model_->Loss(gathered.view(), targets, scales, losses, taped ? gradient.view() : View<Real>());
  for (int64_t i = 0; i < row_count; ++i) pass.losses[rows[i].sample][rows[i].target] = losses[i];
  if (!taped) return;
  const View<Real> dhidden = pass.tape.dhidden(pass.tape.call_count() - 1);
  for (int64_t i = 0; i < row_count; ++i) {
    const Real* from = gradient.view().row(i);
    Real* to = dhidden.row(rows[i].row);
    for (int64_t c = 0; c < width; ++c) to[c] += from[c];
  }
}

template <class Real>
Result<BatchLoss> PromptGradient<Real>::Run(std::span<const TrainSample* const> samples,
                                            View<const Real> prompt, Real scale, View<Real> dprompt,
                                            std::vector<Real>* target_losses) {
  if (const DType dtype = pool_->layout().dtype; dtype != DTypeOf<Real>::kValue) {
    return InvalidArgument("training: want KV in " +
                           std::string(KvTypeName(DTypeOf<Real>::kValue)) + ", found " +
                           std::string(KvTypeName(dtype)));
  }
  Pass pass;
  pass.tape = Tape<Real>(tape_mode_);
  pass.samples = samples;
  pass.prompt = prompt;
  pass.want_gradient = !dprompt.empty();
  pass.scale = scale;
  pass.written.assign(samples.size(), std::vector<WrittenSegment>(plan_->segments.size()));
  pass.end_positions.assign(samples.size(), std::vector<int64_t>(plan_->segments.size()));
  for (const TrainSample* sample : samples) {
    const std::vector<int32_t>& output = sample->tokens[tape_->target];
    std::vector<int32_t> targets(output.begin() + sample->start_count, output.end());
    if (sample->end_token.has_value()) targets.push_back(*sample->end_token);
    int first_row_id = tape_->target;
    if (sample->start_count == 0) {
      for (int id : plan_->stages[tape_->stage].writes) {
        if (id == tape_->target) break;
        if (SegmentLength(*plan_, *tape_, prompt_lengths_, *sample, id) > 0) first_row_id = id;
      }
      ONEPASS_CHECK(first_row_id != tape_->target, "an output needs a token before it");
    }
    pass.losses.emplace_back(targets.size());
    pass.result.target_count += static_cast<int64_t>(targets.size());
    pass.targets.push_back(std::move(targets));
    pass.first_row_id.push_back(first_row_id);
  }

  for (size_t id = 0; id < plan_->segments.size(); ++id) {
    RETURN_IF_ERROR(WriteSegment(pass, static_cast<int>(id)));
  }
  for (const std::vector<Real>& losses : pass.losses) {
    for (Real loss : losses) pass.result.loss_sum += static_cast<double>(loss);
    if (target_losses != nullptr) {
      target_losses->insert(target_losses->end(), losses.begin(), losses.end());
    }
  }
  if (!pass.want_gradient) return pass.result;

  model_->Backward(pass.tape);
  pass.result.tape_bytes = pass.tape.bytes();
  const View<const Real> dvectors = pass.tape.dvectors(pass.prompt_call);
  const int64_t prompt_rows = prompt.rows();
  ONEPASS_CHECK(dvectors.rows() % prompt_rows == 0, "whole prompts");
  for (int64_t r = 0; r < dvectors.rows(); ++r) {
    const Real* from = dvectors.row(r);
    Real* to = dprompt.row(r % prompt_rows);
    for (int64_t c = 0; c < dprompt.cols(); ++c) to[c] += from[c];
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
      own += pages(SegmentLength(plan, tape, prompt_lengths, sample, static_cast<int>(id)));
    }
    largest = std::max(largest, own);
  }
  return shared + largest * std::min(batch_size, static_cast<int64_t>(samples.size()));
}

template class PromptGradient<float>;
template class PromptGradient<double>;

}  // namespace onepass
