// Two-stage samples, such as those of tests/golden/grad/sample, run through the engine's plan and
// tape; and what their gradients are checked with.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "chain/plan.h"
#include "core/file.h"
#include "format/safetensors.h"
#include "kernels/registry.h"
#include "train/prompt_gradient.h"
#include "train/tape_plan.h"

namespace onepass {

inline std::string SampleGoldenDir() {
  return std::string(ONEPASS_SOURCE_DIR) + "/tests/golden/grad/sample";
}

template <class T>
T Must(Result<T> result) {
  ONEPASS_CHECK(result.ok(), result.status().message());
  return std::move(result).value();
}

// Samples as token ids, and the base and the two stages' prompts that they run with.
struct SampleSetup {
  nlohmann::json json;  // "samples" and "end_token"
  std::string base;     // its folder
  Buffer<double> prompt_a, prompt_b;
};

struct SampleGoldens {
  nlohmann::json json;
  std::shared_ptr<const SafetensorsFile> tensors;

  static SampleGoldens Load() {
    return {nlohmann::json::parse(Must(ReadFile(SampleGoldenDir() + "/cases.json"))),
            Must(SafetensorsFile::Open(SampleGoldenDir() + "/cases.safetensors"))};
  }
  SampleSetup Setup() const {
    return {json, SampleGoldenDir() + "/base", Matrix("P_A"), Matrix("P_B")};
  }
  Buffer<double> Matrix(const std::string& name) const {
    const RawTensor& tensor = tensors->tensors().at(name);
    const bool matrix = tensor.shape.size() == 2;
    Buffer<double> buffer(matrix ? tensor.shape[0] : 1, tensor.shape.back());
    ConvertTo<double>(tensor, 0, buffer.size(), buffer.data());
    return buffer;
  }
};

// One case bound to a backend: plan, samples, prompts.
template <class Real>
class SampleCase {
 public:
  SampleCase(const SampleGoldens& goldens, const nlohmann::json& json, Ops<Real>& ops,
             bool taped_constants, TapeMode tape_mode = TapeMode::kKeepActivations)
      : SampleCase(goldens.Setup(), json, ops, taped_constants, tape_mode) {}
  // json: "stage", "placement" and "handoff".
  SampleCase(const SampleSetup& setup, const nlohmann::json& json, Ops<Real>& ops,
             bool taped_constants, TapeMode tape_mode = TapeMode::kKeepActivations)
      : stage_(json["stage"]) {
    ChainSpec spec;
    spec.name = "sample";
    spec.base = "base";
    spec.placement = Must(ParsePlacement(json["placement"].get<std::string>()));
    spec.handoff = Must(ParseHandoff(json["handoff"].get<std::string>()));
    spec.shared = "S";
    spec.stages.resize(2);
    spec.stages[0].name = "a";
    spec.stages[0].input = "I_A";
    spec.stages[0].start = "start";
    spec.stages[1].name = "b";
    spec.stages[1].input = "I_B";
    lengths_ = {setup.prompt_a.rows(), setup.prompt_b.rows()};
    plan_ = Must(CompilePlan(spec, lengths_));
    plan_.KeepSteps(stage_ + 1);
    tape_ = Must(MakeTapePlan(plan_, {stage_}, taped_constants));
    for (const nlohmann::json& fields : setup.json["samples"]) {
      samples_.push_back(MakeSample(fields, setup.json["end_token"]));
      target_count_ += samples_.back().TargetCount();
    }
    for (const Buffer<double>* prompt : {&setup.prompt_a, &setup.prompt_b}) {
      Buffer<Real>& copy = prompts_.emplace_back(prompt->rows(), prompt->cols());
      for (int64_t i = 0; i < prompt->size(); ++i) copy.data()[i] = Real(prompt->data()[i]);
    }
    model_ = Must(Transformer<Real>::Create(Must(Checkpoint::Open(setup.base)), ops));
    pool_ = std::make_unique<PagePool>(model_->config().Layout(4, DTypeOf<Real>::kValue), 8192);
    gradient_ =
        std::make_unique<PromptGradient<Real>>(*model_, *pool_, plan_, tape_, lengths_, tape_mode);
    gradient_->SetConstantPrompt(1 - stage_, View<const Real>(prompts_[1 - stage_].view()));
  }

  // The losses of all targets; adds d(mean loss)/d(prompt) to dprompt if it is not empty.
  std::vector<Real> Run(View<Real> dprompt) {
    std::vector<const TrainSample*> batch;
    for (const TrainSample& sample : samples_) batch.push_back(&sample);
    std::vector<Real> losses;
    last_ = Must(gradient_->Run(batch, View<const Real>(prompt().view()),
                                Real(1) / Real(target_count_), dprompt, &losses));
    return losses;
  }
  double MeanLoss() {
    Run({});
    return last_.loss_sum / static_cast<double>(last_.target_count);
  }

  // What a run with KV stored in `dtype` ends with; with or without a gradient.
  Status RunWithKvIn(DType dtype, bool want_gradient) {
    PagePool pool(model_->config().Layout(4, dtype), 256);
    PromptGradient<Real> gradient(*model_, pool, plan_, tape_, lengths_);
    gradient.SetConstantPrompt(1 - stage_, View<const Real>(prompts_[1 - stage_].view()));
    const TrainSample* sample = &samples_[0];
    Buffer<Real> dprompt(prompt().rows(), prompt().cols());
    return gradient
        .Run({&sample, 1}, View<const Real>(prompt().view()), Real(1),
             want_gradient ? dprompt.view() : View<Real>())
        .status();
  }

  Buffer<Real>& prompt() { return prompts_[stage_]; }
  const BatchLoss& last() const { return last_; }
  const TapePlan& tape() const { return tape_; }
  const Plan& plan() const { return plan_; }
  int64_t pages_used() const { return pool_->pages_used(); }

 private:
  TrainSample MakeSample(const nlohmann::json& fields, int32_t end_token) const {
    TrainSample sample;
    const std::string names[] = {"A", "B"};
    for (const PlannedSegment& segment : plan_.segments) {
      std::string field;
      std::string behind;  // stands in the same segment
      switch (segment.kind) {
        case SegmentKind::kPrompt:
          break;
        case SegmentKind::kSharedInput:
          field = "S";
          break;
        case SegmentKind::kOwnInput:
          field = segment.text_of.empty() ? "I_" + names[segment.stage] : "T";
          if (field == "T" && segment.has_input()) behind = "I_" + names[segment.stage];
          break;
        case SegmentKind::kOutput:
          field = "O_" + names[segment.stage];
          break;
      }
      std::vector<int32_t>& tokens = sample.tokens.emplace_back();
      for (const std::string& name : {field, behind}) {
        if (name.empty()) continue;
        const auto more = fields[name].get<std::vector<int32_t>>();
        tokens.insert(tokens.end(), more.begin(), more.end());
      }
    }
    sample.ran.assign(plan_.steps.size(), true);
    sample.targets = {
        {.id = plan_.OutputOf(stage_), .start_count = stage_ == 0 ? 1 : 0, .end_token = end_token}};
    return sample;
  }

  int stage_;
  std::vector<int64_t> lengths_;
  Plan plan_;
  TapePlan tape_;
  std::vector<TrainSample> samples_;
  int64_t target_count_ = 0;
  std::vector<Buffer<Real>> prompts_;
  std::unique_ptr<Transformer<Real>> model_;
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<PromptGradient<Real>> gradient_;
  BatchLoss last_;
};

template <class Real>
Buffer<Real> GradientOf(SampleCase<Real>& sample) {
  Buffer<Real> gradient(sample.prompt().rows(), sample.prompt().cols());
  sample.Run(gradient.view());
  return gradient;
}

inline double LargestMagnitude(const Buffer<double>& buffer) {
  double largest = 0;
  for (double value : buffer.span()) largest = std::max(largest, std::abs(value));
  return largest;
}

// The gradient of every element of the prompt is the central difference of the loss.
inline void ExpectFiniteDifferences(SampleCase<double>& sample) {
  const Buffer<double> gradient = GradientOf(sample);
  const double largest = LargestMagnitude(gradient);
  const double h = 1e-5;
  for (int64_t i = 0; i < gradient.size(); ++i) {
    double& value = sample.prompt().data()[i];
    const double kept = value;
    value = kept + h;
    const double above = sample.MeanLoss();
    value = kept - h;
    const double below = sample.MeanLoss();
    value = kept;
    EXPECT_NEAR(gradient.data()[i], (above - below) / (2 * h), 1e-8 * std::max(1.0, largest))
        << "element " << i;
  }
}

}  // namespace onepass
