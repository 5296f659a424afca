#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "core/quote.h"
#include "core/stopwatch.h"
#include "kernels/registry.h"
#include "train/adam.h"
#include "train/prompt_init.h"
#include "train/run_folder.h"
#include "train/training_setup.h"

namespace onepass {
namespace {

// The loss of each trained stage's outputs, where there are several.
class StageLosses {
 public:
  explicit StageLosses(const TrainingSetup& setup)
      : setup_(setup), sums_(setup.stages.size()), counts_(setup.stages.size()) {}
  void Add(const BatchLoss& batch) {
    for (size_t i = 0; i < sums_.size(); ++i) {
      sums_[i] += batch.stage_loss_sums[i];
      counts_[i] += batch.stage_target_counts[i];
    }
  }
  void Write(nlohmann::ordered_json& line) const {
    if (sums_.size() < 2) return;
    for (size_t i = 0; i < sums_.size(); ++i) {
      const std::string& stage = setup_.spec.stages[setup_.stages[i]].name;
      line["stage_losses"][stage] =
          sums_[i] / static_cast<double>(std::max<int64_t>(counts_[i], 1));
    }
  }

 private:
  const TrainingSetup& setup_;
  std::vector<double> sums_;
  std::vector<int64_t> counts_;
};

// A stage's part of an init_text.
Result<std::string> InitTextOf(const Recipe& recipe, size_t index, size_t count) {
  const std::vector<std::string> texts = PartsOf(recipe.init_text);
  if (count == 1 || texts.size() <= 1) return recipe.init_text;
  if (texts.size() == count) return texts[index];
  return InvalidArgument(recipe.file + ": init_text: want one text, or " + std::to_string(count) +
                         " separated by \"" + std::string(kPartBorder) + "\", found " +
                         std::to_string(texts.size()));
}

void CopyRows(View<const float> from, View<float> to) {
  for (int64_t r = 0; r < from.rows(); ++r) std::copy_n(from.row(r), from.cols(), to.row(r));
}

class Trainer {
 public:
  Trainer(TrainingSetup& setup, const TrainOptions& options)
      : setup_(setup), recipe_(setup.recipe), observer_(options.observer) {
    if (observer_ == nullptr) observer_ = &silent_;
  }

  Status Open(bool restart);
  Result<TrainReport> Run();

 private:
  Status Begin();  // fresh prompt and moments
  Status Step();
  Status Validate();
  Status SavePrompts(View<const float> parameters, const std::string& name);
  Status Checkpoint();
  bool Due(int64_t every) const {
    return state_.step == total_steps_ || (every > 0 && state_.step % every == 0);
  }

  TrainingSetup& setup_;
  const Recipe& recipe_;
  TrainObserver silent_;
  TrainObserver* observer_;

  TrainState state_;
  std::unique_ptr<Adam> adam_;
  Buffer<float> dprompt_;
  int64_t steps_per_epoch_ = 0;
  int64_t total_steps_ = 0;
  int64_t order_epoch_ = -1;
  std::vector<int32_t> order_;
  std::unique_ptr<RunFolder> folder_;

  Stopwatch watch_;            // this process's part of the run
  double seconds_before_ = 0;  // trained by earlier processes
  int64_t first_step_ = 0;
  int64_t rows_ = 0;  // that went through the model in this process
};

Status Trainer::Open(bool restart) {
  // Holding the folder comes first: no other process changes what is read here.
  ASSIGN_OR_RETURN(folder_, RunFolder::Open(recipe_.out));
  const int64_t samples = std::ssize(setup_.data.samples);
  const int64_t step_samples = recipe_.batch_size * recipe_.accumulation;
  steps_per_epoch_ = (samples + step_samples - 1) / step_samples;
  total_steps_ = recipe_.max_steps > 0 ? recipe_.max_steps : recipe_.epochs * steps_per_epoch_;

  if (restart) RETURN_IF_ERROR(folder_->RemoveCheckpoint());
  Result<TrainState> found = folder_->LoadCheckpoint();
  if (!found.ok() && found.status().code() != StatusCode::kNotFound) return found.status();
  if (found.ok()) {
    RETURN_IF_ERROR(CheckSameIdentity(found->identity, setup_.identity, folder_->CheckpointPath()));
    state_ = std::move(*found);
    const int64_t rows = setup_.gradient->rows().count;
    if (state_.prompt.rows() != rows || state_.prompt.cols() != setup_.base->config().width) {
      return InvalidArgument(
          folder_->CheckpointPath() + ": want a prompt [" + std::to_string(rows) + ", " +
          std::to_string(setup_.base->config().width) + "], found [" +
          std::to_string(state_.prompt.rows()) + ", " + std::to_string(state_.prompt.cols()) + "]");
    }
    if (state_.step > total_steps_) {
      return InvalidArgument(folder_->CheckpointPath() + ": want at most " +
                             std::to_string(total_steps_) + " steps done, found " +
                             std::to_string(state_.step));
    }
    if (state_.instruction_set != InstructionSetOf(recipe_.backend)) {
      observer_->OnWarning(folder_->CheckpointPath() + ": written with instruction set " +
                           Quote(state_.instruction_set) + ", going on with " +
                           Quote(InstructionSetOf(recipe_.backend)) +
                           ": the losses may differ in their last bits");
    }
  } else {
    RETURN_IF_ERROR(Begin());
  }
  state_.instruction_set = InstructionSetOf(recipe_.backend);
  RETURN_IF_ERROR(folder_->ContinueFrom(state_));
  // A killed process may have left a best prompt of later steps than the checkpoint's.
  if (state_.best_step >= 0) {
    RETURN_IF_ERROR(SavePrompts(std::as_const(state_.best_prompt).view(), "best"));
  }

  adam_ = std::make_unique<Adam>(AdamOptions{.beta1 = recipe_.beta1,
                                             .beta2 = recipe_.beta2,
                                             .epsilon = recipe_.epsilon,
                                             .weight_decay = recipe_.weight_decay},
                                 state_.prompt.rows(), state_.prompt.cols());
  if (state_.step > 0) {
    adam_->Restore(state_.step, state_.first_moment.view(), state_.second_moment.view());
  }
  dprompt_ = Buffer<float>(state_.prompt.rows(), state_.prompt.cols());
  first_step_ = state_.step;
  seconds_before_ = state_.seconds;
  return Status::Ok();
}

Status Trainer::Begin() {
  const ParameterRows& rows = setup_.gradient->rows();
  state_.prompt = Buffer<float>(rows.count, setup_.base->config().width);
  for (size_t i = 0; i < rows.stages.size(); ++i) {
    const ParameterRows::Stage& own = rows.stages[i];
    const View<float> all = state_.prompt.view();
    const View<float> part = all.Rows(own.begin, own.prompt);
    if (!setup_.init_prompts.empty()) {
      const SoftPrompt& from = setup_.init_prompts[i];
      CopyRows(from.vectors.view(), part);
      const std::vector<std::string>& tokens = setup_.spec.stages[own.stage].added_tokens;
      for (int64_t t = 0; t < own.added; ++t) {
        std::ranges::copy(from.RowsOf(tokens[t])->embedding, all.row(own.embedding() + t));
        std::ranges::copy(from.RowsOf(tokens[t])->head, all.row(own.head() + t));
      }
      continue;
    }
    ASSIGN_OR_RETURN(const std::string text, InitTextOf(recipe_, i, rows.stages.size()));
    ASSIGN_OR_RETURN(const Buffer<float> vectors,
                     InitPrompt(recipe_.init, text, recipe_.prompt_length, recipe_.init_seed + i,
                                *setup_.base->model, *setup_.base->tokenizer));
    CopyRows(vectors.view(), part);
    const Buffer<float> tokens =
        InitAddedTokens(own.added, recipe_.init_seed + i, *setup_.base->model);
    CopyRows(tokens.view(), all.Rows(own.embedding(), 2 * own.added));
  }
  state_.identity = setup_.identity;
  return Status::Ok();
}

// One optimizer step over batch_size * accumulation samples, fewer at an epoch's end.
Status Trainer::Step() {
  const Stopwatch step_watch;
  const int64_t epoch = state_.step / steps_per_epoch_;
  if (order_epoch_ != epoch) {
    order_ = EpochOrder(std::ssize(setup_.data.samples), recipe_.seed, epoch);
    order_epoch_ = epoch;
  }
  const int64_t step_samples = recipe_.batch_size * recipe_.accumulation;
  const int64_t begin = (state_.step % steps_per_epoch_) * step_samples;
  const int64_t end = std::min<int64_t>(begin + step_samples, std::ssize(order_));
  std::vector<const TrainSample*> samples;
  int64_t target_count = 0;
  for (int64_t i = begin; i < end; ++i) {
    samples.push_back(&setup_.data.samples[order_[i]]);
    target_count += samples.back()->TargetCount();
  }

  // Every target of the step weighs the same, however the samples fall into micro-batches.
  const float scale = static_cast<float>(1.0 / static_cast<double>(target_count));
  std::ranges::fill(dprompt_.span(), 0.0F);
  setup_.gradient->SetKvSource(setup_.data_kv.get());
  StageLosses stage_losses(setup_);
  double loss_sum = 0;
  int64_t rows = 0;
  for (size_t i = 0; i < samples.size(); i += recipe_.batch_size) {
    const size_t count = std::min<size_t>(recipe_.batch_size, samples.size() - i);
    ASSIGN_OR_RETURN(
        const BatchLoss batch,
        setup_.gradient->Run({samples.data() + i, count}, std::as_const(state_.prompt).view(),
                             scale, dprompt_.view()));
    loss_sum += batch.loss_sum;
    stage_losses.Add(batch);
    rows += batch.taped_tokens + batch.constant_tokens;
  }
  const double loss = loss_sum / static_cast<double>(target_count);
  const double norm = GradientNorm(std::as_const(dprompt_).view());
  if (!std::isfinite(loss) || !std::isfinite(norm)) {
    return InvalidArgument("step " + std::to_string(state_.step + 1) +
                           ": want a finite loss, found loss " + std::to_string(loss) +
                           " and gradient norm " + std::to_string(norm) +
                           " (try a lower learning_rate)");
  }
  const double learning_rate = LearningRateAt(recipe_.schedule, recipe_.learning_rate,
                                              recipe_.warmup_ratio, state_.step, total_steps_);
  ClipGradient(norm, recipe_.clip_norm, dprompt_.view());
  adam_->Step(learning_rate, std::as_const(dprompt_).view(), state_.prompt.view());
  ++state_.step;
  state_.last_loss = loss;
  rows_ += rows;

  const double fraction =
      static_cast<double>(epoch) + static_cast<double>(end) / static_cast<double>(order_.size());
  nlohmann::ordered_json line;
  line["step"] = state_.step;
  line["epoch"] = fraction;
  line["loss"] = loss;
  stage_losses.Write(line);
  line["learning_rate"] = learning_rate;
  line["gradient_norm"] = norm;
  line["target_tokens"] = target_count;
  line["tokens"] = rows;
  line["seconds"] = step_watch.Seconds();
  RETURN_IF_ERROR(folder_->Log(state_.step, line,
                               {{"train/loss", static_cast<float>(loss)},
                                {"train/learning_rate", static_cast<float>(learning_rate)},
                                {"train/gradient_norm", static_cast<float>(norm)}}));
  const double seconds = watch_.Seconds();
  observer_->OnStep({.step = state_.step,
                     .total_steps = total_steps_,
                     .epoch = fraction,
                     .loss = loss,
                     .learning_rate = learning_rate,
                     .gradient_norm = norm,
                     .tokens_per_second = static_cast<double>(rows_) / seconds,
                     .seconds_left = seconds / static_cast<double>(state_.step - first_step_) *
                                     static_cast<double>(total_steps_ - state_.step)});
  return Status::Ok();
}

Status Trainer::Validate() {
  if (setup_.validation.samples.empty()) return Status::Ok();
  std::vector<const TrainSample*> samples;
  for (const TrainSample& sample : setup_.validation.samples) samples.push_back(&sample);
  setup_.gradient->SetKvSource(setup_.validation_kv.get());
  StageLosses stage_losses(setup_);
  double loss_sum = 0;
  int64_t target_count = 0;
  for (size_t i = 0; i < samples.size(); i += recipe_.batch_size) {
    const size_t count = std::min<size_t>(recipe_.batch_size, samples.size() - i);
    ASSIGN_OR_RETURN(const BatchLoss batch,
                     setup_.gradient->Run({samples.data() + i, count},
                                          std::as_const(state_.prompt).view(), 1, {}));
    loss_sum += batch.loss_sum;
    stage_losses.Add(batch);
    target_count += batch.target_count;
  }
  const double loss = loss_sum / static_cast<double>(target_count);
  if (!std::isfinite(loss)) {
    return InvalidArgument("step " + std::to_string(state_.step) +
                           ": want a finite validation loss, found " + std::to_string(loss) +
                           " (try a lower learning_rate)");
  }
  const bool best = state_.best_step < 0 || loss < state_.best_loss;
  nlohmann::ordered_json line;
  line["step"] = state_.step;
  line["validation_loss"] = loss;
  stage_losses.Write(line);
  line["best"] = best;
  RETURN_IF_ERROR(folder_->Log(state_.step, line, {{"validation/loss", static_cast<float>(loss)}}));
  if (best) {
    state_.best_loss = loss;
    state_.best_step = state_.step;
    state_.best_prompt = state_.prompt.Copy();
    RETURN_IF_ERROR(SavePrompts(std::as_const(state_.best_prompt).view(), "best"));
  }
  observer_->OnValidation(state_.step, loss, best);
  return Status::Ok();
}

// One folder, or, of several stages, one each in it.
Status Trainer::SavePrompts(View<const float> parameters, const std::string& name) {
  for (const ParameterRows::Stage& rows : setup_.gradient->rows().stages) {
    const std::string& stage = setup_.spec.stages[rows.stage].name;
    SoftPrompt prompt;
    prompt.vectors = Buffer<float>(rows.prompt, parameters.cols());
    CopyRows(parameters.Rows(rows.begin, rows.prompt), prompt.vectors.view());
    prompt.base_model_name = setup_.spec.base;
    prompt.facts = PromptFacts{.placement = setup_.spec.placement,
                               .stage = stage,
                               .trained_as = std::string(NameOf(recipe_.kind)),
                               .base_fingerprint = setup_.base->checkpoint->Fingerprint(),
                               .base_type = std::string(setup_.base->checkpoint->stored_type()),
                               .recipe_json = recipe_.ToJson(/*with_paths=*/true)};
    const std::vector<std::string>& tokens = setup_.spec.stages[rows.stage].added_tokens;
    for (int64_t t = 0; t < rows.added; ++t) {
      const auto values = [&](int64_t row) {
        return std::vector<float>(parameters.row(row), parameters.row(row) + parameters.cols());
      };
      prompt.facts->added_tokens.push_back({.token = tokens[t],
                                            .embedding = values(rows.embedding() + t),
                                            .head = values(rows.head() + t)});
    }
    RETURN_IF_ERROR(folder_->SavePrompt(setup_.stages.size() == 1 ? name : name + "/" + stage,
                                        std::move(prompt)));
  }
  return Status::Ok();
}

Status Trainer::Checkpoint() {
  RETURN_IF_ERROR(SavePrompts(std::as_const(state_.prompt).view(), "last"));
  state_.first_moment = adam_->first_moment().Copy();
  state_.second_moment = adam_->second_moment().Copy();
  state_.seconds = seconds_before_ + watch_.Seconds();
  return folder_->SaveCheckpoint(state_);
}

Result<TrainReport> Trainer::Run() {
  for (const Dataset* dataset : {&setup_.data, &setup_.validation}) {
    for (const std::string& warning : dataset->warnings) observer_->OnWarning(warning);
    const std::string& path = dataset == &setup_.data ? recipe_.data : recipe_.validation_data;
    if (dataset->faulty_count > 0) {
      observer_->OnWarning(path + ": left out " + std::to_string(dataset->faulty_count) +
                           " faulty records");
    }
    if (dataset->targetless_count > 0) {
      observer_->OnWarning(path + ": left out " + std::to_string(dataset->targetless_count) +
                           " records in which no trained stage runs");
    }
    if (dataset->overlong_count > 0) {
      observer_->OnWarning(path + ": cut or left out " + std::to_string(dataset->overlong_count) +
                           " overlong records");
    }
  }
  observer_->OnStart({.samples = std::ssize(setup_.data.samples),
                      .validation_samples = std::ssize(setup_.validation.samples),
                      .first_step = state_.step,
                      .total_steps = total_steps_,
                      .prompts = static_cast<int>(setup_.stages.size()),
                      .prompt_rows = setup_.gradient->rows().stages.front().prompt,
                      .width = state_.prompt.cols()});
  watch_ = Stopwatch();
  while (state_.step < total_steps_) {
    RETURN_IF_ERROR(Step());
    if (Due(recipe_.validate_every)) RETURN_IF_ERROR(Validate());
    if (state_.step == total_steps_ && setup_.validation.samples.empty()) {
      RETURN_IF_ERROR(SavePrompts(std::as_const(state_.prompt).view(), "best"));
    }
    if (Due(recipe_.checkpoint_every)) RETURN_IF_ERROR(Checkpoint());
  }
  TrainReport report{.steps = state_.step,
                     .last_loss = state_.last_loss,
                     .best_step = state_.best_step >= 0 ? state_.best_step : state_.step,
                     .seconds = state_.seconds,
                     .tokens_per_second = static_cast<double>(rows_) / watch_.Seconds()};
  if (state_.best_step >= 0) report.best_validation_loss = state_.best_loss;
  return report;
}

}  // namespace

Result<TrainReport> Train(const Recipe& recipe, const TrainOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<TrainingSetup> setup,
                   PrepareTraining(recipe, options.observer));
  Trainer trainer(*setup, options);
  RETURN_IF_ERROR(trainer.Open(options.restart));
  return trainer.Run();
}

}  // namespace onepass
