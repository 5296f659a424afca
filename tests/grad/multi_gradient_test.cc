// Traces of several rounds whose stages are trained together and add tokens of their own: losses
// and the gradients of all trained rows against PyTorch with an explicit mask
// (tools/make_goldens_sample.py), against finite differences, and who is influenced by whom.
#include <functional>

#include "sample_case.h"

namespace onepass {
namespace {

constexpr int kStages = 2;
constexpr int64_t kAdded = 2;  // a stage
constexpr int kRounds = 3;

// The goldens of one layout, bound to a backend.
template <class Real>
class MultiCase {
 public:
  // `layout`: the prompts' placement, or "first": in front, and B's own input in a room before S.
  MultiCase(const std::string& layout, Ops<Real>& ops, bool taped_constants = false,
            TapeMode tape_mode = TapeMode::kKeepActivations)
      : layout_(layout),
        tensors_(Must(SafetensorsFile::Open(SampleGoldenDir() + "/multi.safetensors"))) {
    const auto json = nlohmann::json::parse(Must(ReadFile(SampleGoldenDir() + "/multi.json")));
    ChainSpec spec;
    spec.placement = layout == "inline" ? Placement::kInline : Placement::kFront;
    spec.shared = "S";
    spec.stages = {{.name = "A", .start = "<a>"}, {.name = "B", .input = "I", .start = "<b>"}};
    spec.stages[1].input_first = layout == "first";
    spec.room = layout == "first" ? 10 : 0;
    spec.flow = {{.names = {"A", "B"}, .rounds = kRounds, .until = {}}};
    for (int stage = 0; stage < kStages; ++stage) {
      const Buffer<double> rows = Golden("rows_" + std::string(1, static_cast<char>('A' + stage)));
      lengths_.push_back(rows.rows() - 2 * kAdded);
      counts_.push_back(rows.rows());
    }
    plan_ = Must(CompilePlan(spec, lengths_));
    tape_ = Must(MakeTapePlan(plan_, {0, 1}, taped_constants));
    for (const nlohmann::json& fields : json["samples"]) samples_.push_back(MakeSample(fields));
    model_ =
        Must(Transformer<Real>::Create(Must(Checkpoint::Open(SampleGoldenDir() + "/base")), ops));
    pool_ = std::make_unique<PagePool>(model_->config().Layout(4, DTypeOf<Real>::kValue), 256);
    gradient_ = std::make_unique<PromptGradient<Real>>(*model_, *pool_, plan_, tape_, lengths_,
                                                       tape_mode, AddedTokenIds{{0, 2, 4}});
    parameters_ = Buffer<Real>(counts_[0] + counts_[1], model_->config().width);
    for (int stage = 0; stage < kStages; ++stage) {
      const Buffer<double> rows = Golden("rows_" + std::string(1, static_cast<char>('A' + stage)));
      Real* to = parameters_.view().row(stage * counts_[0]);
      for (int64_t i = 0; i < rows.size(); ++i) to[i] = static_cast<Real>(rows.data()[i]);
    }
  }

  Buffer<double> Golden(const std::string& name) const {
    const RawTensor& tensor = tensors_->tensors().at(name);
    Buffer<double> buffer(tensor.shape.size() == 2 ? tensor.shape[0] : 1, tensor.shape.back());
    ConvertTo<double>(tensor, 0, buffer.size(), buffer.data());
    return buffer;
  }
  Buffer<double> LayoutGolden(const std::string& name) const {
    return Golden(layout_ + "." + name);
  }

  // Losses of all samples' targets; the gradient of their mean is added to `gradient`.
  std::vector<Real> Run(View<Real> gradient) { return Run(samples_, 0, gradient); }
  // Of one sample, where only one output counts; the gradient of its sum.
  std::vector<Real> RunOutput(size_t sample, size_t output, View<Real> gradient) {
    TrainSample one = samples_[sample];
    one.targets = {one.targets[output]};
    return Run({one}, 1, gradient);
  }
  double MeanLoss() {
    const std::vector<Real> losses = Run(View<Real>());
    double sum = 0;
    for (const Real loss : losses) sum += static_cast<double>(loss);
    return sum / static_cast<double>(losses.size());
  }

  Buffer<Real>& parameters() { return parameters_; }
  Buffer<Real> NewGradient() const { return {parameters_.rows(), parameters_.cols()}; }
  View<const Real> RowsOf(const Buffer<Real>& rows, int stage) const {
    return rows.view().Rows(stage * counts_[0], counts_[stage]);
  }
  const BatchLoss& last() const { return last_; }
  const std::vector<TrainSample>& samples() const { return samples_; }

 private:
  std::vector<Real> Run(const std::vector<TrainSample>& samples, Real scale, View<Real> gradient) {
    std::vector<const TrainSample*> batch;
    int64_t count = 0;
    for (const TrainSample& sample : samples) {
      batch.push_back(&sample);
      count += sample.TargetCount();
    }
    std::vector<Real> losses;
    last_ = Must(gradient_->Run(batch, std::as_const(parameters_).view(),
                                scale == 0 ? Real(1) / static_cast<Real>(count) : scale, gradient,
                                &losses));
    return losses;
  }

  TrainSample MakeSample(const nlohmann::json& fields) const {
    TrainSample sample;
    sample.ran.resize(plan_.steps.size());
    for (int id = 0; id < std::ssize(plan_.segments); ++id) {
      const PlannedSegment& segment = plan_.segments[id];
      std::string field;
      if (segment.kind == SegmentKind::kSharedInput) field = "S";
      if (segment.kind == SegmentKind::kOwnInput) field = "I_B";
      if (segment.kind == SegmentKind::kOutput) {
        field = "O_" + std::to_string(plan_.steps[segment.step].run + 1) +
                (segment.stage == 0 ? "A" : "B");
      }
      std::vector<int32_t>& tokens = sample.tokens.emplace_back();
      if (field.empty() || !fields.contains(field)) continue;
      tokens = fields[field].get<std::vector<int32_t>>();
      if (segment.kind != SegmentKind::kOutput) continue;
      sample.ran[segment.step] = true;
      const int32_t end = tokens.front() + 1;  // the stage's second token
      sample.targets.push_back({.id = id, .start_count = 1, .end_token = end});
    }
    return sample;
  }

  std::string layout_;
  std::shared_ptr<const SafetensorsFile> tensors_;
  std::vector<int64_t> lengths_;  // of the prompts
  std::vector<int64_t> counts_;   // of the stages' rows
  Plan plan_;
  TapePlan tape_;
  std::vector<TrainSample> samples_;
  std::unique_ptr<Transformer<Real>> model_;
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<PromptGradient<Real>> gradient_;
  Buffer<Real> parameters_;
  BatchLoss last_;
};

class MultiGradient : public ::testing::TestWithParam<const char*> {};

template <class Real>
void ExpectGoldens(MultiCase<Real>& multi, double tolerance) {
  Buffer<Real> gradient = multi.NewGradient();
  const std::vector<Real> losses = multi.Run(gradient.view());
  const Buffer<double> want_losses = multi.LayoutGolden("losses");
  ASSERT_EQ(std::ssize(losses), want_losses.size());
  for (size_t i = 0; i < losses.size(); ++i) {
    EXPECT_NEAR(losses[i], want_losses.data()[i], tolerance * 5) << "target " << i;
  }
  for (int stage = 0; stage < kStages; ++stage) {
    const Buffer<double> want = multi.LayoutGolden(stage == 0 ? "gradient_A" : "gradient_B");
    const double largest = LargestMagnitude(want);
    ASSERT_GT(largest, 1e-3);
    const View<const Real> got = multi.RowsOf(gradient, stage);
    for (int64_t r = 0; r < want.rows(); ++r) {
      for (int64_t c = 0; c < want.cols(); ++c) {
        EXPECT_NEAR(got(r, c), want.view()(r, c), tolerance * largest)
            << "stage " << stage << " row " << r;
      }
    }
  }
}

TEST_P(MultiGradient, RefInDoubleEqualsPyTorch) {
  const auto ops = MakeRefOpsDouble();
  MultiCase<double> multi(GetParam(), *ops);
  ExpectGoldens(multi, 1e-11);
}

TEST_P(MultiGradient, CpuIsCloseToPyTorch) {
  const auto ops = Must(MakeOps("cpu", {.thread_count = 2}));
  MultiCase<float> multi(GetParam(), *ops);
  ExpectGoldens(multi, 3e-5);
}

TEST_P(MultiGradient, FiniteDifferencesAgreeInDouble) {
  const auto ops = MakeRefOpsDouble();
  MultiCase<double> multi(GetParam(), *ops);
  Buffer<double> gradient = multi.NewGradient();
  multi.Run(gradient.view());
  const double h = 1e-5;
  for (int64_t i = 0; i < gradient.size(); i += 7) {
    double& value = multi.parameters().data()[i];
    const double kept = value;
    value = kept + h;
    const double above = multi.MeanLoss();
    value = kept - h;
    const double below = multi.MeanLoss();
    value = kept;
    EXPECT_NEAR(gradient.data()[i], (above - below) / (2 * h), 1e-8) << "element " << i;
  }
}

// Gradients cross stages through the KV of earlier outputs, and nothing flows back in time:
// d loss(O_2A) / d P_B is not zero, d loss(O_1A) / d P_B is, exactly.
TEST_P(MultiGradient, EachOutputIsInfluencedByTheStagesBeforeItAndByNoOther) {
  const auto ops = MakeRefOpsDouble();
  MultiCase<double> multi(GetParam(), *ops);
  const std::vector<std::string> outputs = {"O_1A", "O_1B", "O_2A", "O_2B", "O_3A"};
  for (size_t output = 0; output < outputs.size(); ++output) {
    Buffer<double> gradient = multi.NewGradient();
    multi.RunOutput(0, output, gradient.view());
    for (int stage = 0; stage < kStages; ++stage) {
      const Buffer<double> want =
          multi.LayoutGolden(outputs[output] + "_by_" + (stage == 0 ? "A" : "B"));
      const View<const double> got = multi.RowsOf(gradient, stage);
      double largest = 0;
      double of_prompt = 0;  // the largest without the rows of added tokens
      for (int64_t r = 0; r < got.rows(); ++r) {
        for (int64_t c = 0; c < got.cols(); ++c) {
          largest = std::max(largest, std::abs(got(r, c)));
          if (r < got.rows() - 2 * kAdded) of_prompt = largest;
          EXPECT_NEAR(got(r, c), want.view()(r, c), 1e-10);
        }
      }
      const bool influences = stage == 0 || output > 0;
      if (influences) {
        EXPECT_GT(of_prompt, 1e-3) << outputs[output] << " by stage " << stage;
      } else {
        EXPECT_EQ(largest, 0) << outputs[output] << " by stage " << stage;
      }
    }
  }
}

TEST_P(MultiGradient, TapingTheConstantsTooChangesNothing) {
  const auto ops = Must(MakeOps("cpu", {.thread_count = 2}));
  MultiCase<float> untaped(GetParam(), *ops, false);
  MultiCase<float> taped(GetParam(), *ops, true);
  Buffer<float> got = untaped.NewGradient();
  Buffer<float> want = taped.NewGradient();
  EXPECT_EQ(untaped.Run(got.view()), taped.Run(want.view()));
  for (int64_t i = 0; i < want.size(); ++i) EXPECT_EQ(got.data()[i], want.data()[i]) << i;
  EXPECT_GT(untaped.last().constant_tokens, 0);
  EXPECT_EQ(taped.last().constant_tokens, 0);
}

TEST_P(MultiGradient, ActivationCheckpointingChangesMemoryOnly) {
  const auto ops = Must(MakeOps("cpu", {.thread_count = 2}));
  MultiCase<float> kept(GetParam(), *ops);
  MultiCase<float> recomputed(GetParam(), *ops, false, TapeMode::kRecomputeActivations);
  Buffer<float> want = kept.NewGradient();
  Buffer<float> got = recomputed.NewGradient();
  EXPECT_EQ(kept.Run(want.view()), recomputed.Run(got.view()));
  for (int64_t i = 0; i < want.size(); ++i) EXPECT_EQ(got.data()[i], want.data()[i]) << i;
}

TEST_P(MultiGradient, LossesAreCountedByStage) {
  const auto ops = MakeRefOpsFloat();
  MultiCase<float> multi(GetParam(), *ops);
  const std::vector<float> losses = multi.Run(View<float>());
  double sums[kStages] = {};
  int64_t counts[kStages] = {};
  size_t next = 0;
  for (const TrainSample& sample : multi.samples()) {
    for (size_t output = 0; output < sample.targets.size(); ++output) {
      const TrainSample::Target& target = sample.targets[output];
      // Text and end token.
      for (size_t i = 0; i < sample.tokens[target.id].size(); ++i) {
        sums[output % 2] += losses[next++];
        ++counts[output % 2];
      }
    }
  }
  ASSERT_EQ(next, losses.size());
  for (int stage = 0; stage < kStages; ++stage) {
    EXPECT_DOUBLE_EQ(multi.last().stage_loss_sums[stage], sums[stage]);
    EXPECT_EQ(multi.last().stage_target_counts[stage], counts[stage]);
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, MultiGradient, ::testing::Values("front", "inline", "first"),
                         [](const auto& param_info) { return std::string(param_info.param); });

}  // namespace
}  // namespace onepass
