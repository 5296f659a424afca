// Losses and the trained prompt's gradient of whole two-stage samples: against PyTorch with an
// explicit mask (tools/make_goldens_sample.py), against finite differences, and with everything
// taped. Standard and FTHSS training, both placements, ragged batches.
#include "sample_case.h"

namespace onepass {
namespace {

class SampleGradient : public ::testing::TestWithParam<int> {
 protected:
  SampleGradient() : goldens_(SampleGoldens::Load()), case_(goldens_.json["cases"][GetParam()]) {}

  std::string Name() const { return case_["name"]; }

  SampleGoldens goldens_;
  nlohmann::json case_;
};

template <class Real>
void ExpectGoldens(const SampleGoldens& goldens, const std::string& name, SampleCase<Real>& sample,
                   double tolerance) {
  const Buffer<double> want_losses = goldens.Matrix(name + ".losses");
  const Buffer<double> want = goldens.Matrix(name + ".gradient");
  Buffer<Real> got(want.rows(), want.cols());
  const std::vector<Real> losses = sample.Run(got.view());
  ASSERT_EQ(std::ssize(losses), want_losses.size());
  for (size_t i = 0; i < losses.size(); ++i) {
    EXPECT_NEAR(losses[i], want_losses.data()[i], tolerance * 5) << "target " << i;
  }
  const double largest = LargestMagnitude(want);
  ASSERT_GT(largest, 1e-3);
  for (int64_t i = 0; i < want.size(); ++i) {
    EXPECT_NEAR(got.data()[i], want.data()[i], tolerance * largest) << "element " << i;
  }
}

TEST_P(SampleGradient, RefInDoubleEqualsPyTorch) {
  const auto ops = MakeRefOpsDouble();
  SampleCase<double> sample(goldens_, case_, *ops, false);
  ExpectGoldens(goldens_, Name(), sample, 1e-11);
}

TEST_P(SampleGradient, RefInFloatIsCloseToPyTorch) {
  const auto ops = MakeRefOpsFloat();
  SampleCase<float> sample(goldens_, case_, *ops, false);
  ExpectGoldens(goldens_, Name(), sample, 3e-5);
}

TEST_P(SampleGradient, TrainingRefusesNarrowKv) {
  const auto ops = MakeRefOpsFloat();
  SampleCase<float> sample(goldens_, case_, *ops, false);
  for (const bool want_gradient : {true, false}) {
    EXPECT_TRUE(sample.RunWithKvIn(DType::kF32, want_gradient).ok());
    EXPECT_EQ(sample.RunWithKvIn(DType::kBF16, want_gradient).message(),
              "training: want KV in f32, found bf16");
    EXPECT_EQ(sample.RunWithKvIn(DType::kI8, want_gradient).message(),
              "training: want KV in f32, found int8");
  }
}

TEST_P(SampleGradient, CpuIsCloseToPyTorch) {
  const auto ops = Must(MakeOps("cpu", {.thread_count = 2}));
  SampleCase<float> sample(goldens_, case_, *ops, false);
  ExpectGoldens(goldens_, Name(), sample, 3e-5);
}

TEST_P(SampleGradient, FiniteDifferencesAgreeInDouble) {
  const auto ops = MakeRefOpsDouble();
  SampleCase<double> sample(goldens_, case_, *ops, false);
  ExpectFiniteDifferences(sample);
}

TEST_P(SampleGradient, TapingTheConstantsTooChangesNothing) {
  const auto ops = Must(MakeOps("cpu", {.thread_count = 2}));
  SampleCase<float> untaped(goldens_, case_, *ops, false);
  SampleCase<float> taped(goldens_, case_, *ops, true);
  Buffer<float> gradient = GradientOf(untaped);
  Buffer<float> want(gradient.rows(), gradient.cols());
  const std::vector<float> want_losses = taped.Run(want.view());
  const std::vector<float> losses = untaped.Run({});
  EXPECT_EQ(losses, want_losses);
  for (int64_t i = 0; i < want.size(); ++i) EXPECT_EQ(gradient.data()[i], want.data()[i]) << i;
  EXPECT_EQ(taped.last().constant_tokens, 0);
}

TEST_P(SampleGradient, ActivationCheckpointingChangesMemoryOnly) {
  const auto ops = Must(MakeOps("cpu", {.thread_count = 2}));
  SampleCase<float> kept(goldens_, case_, *ops, true);
  SampleCase<float> recomputed(goldens_, case_, *ops, true, TapeMode::kRecomputeActivations);
  const Buffer<float> want = GradientOf(kept);
  const Buffer<float> gradient = GradientOf(recomputed);
  for (int64_t i = 0; i < want.size(); ++i) EXPECT_EQ(gradient.data()[i], want.data()[i]) << i;
  EXPECT_EQ(recomputed.last().loss_sum, kept.last().loss_sum);
  EXPECT_LT(recomputed.last().tape_bytes, kept.last().tape_bytes);
}

TEST_P(SampleGradient, OnlyWhatThePromptInfluencesIsTaped) {
  const auto ops = MakeRefOpsFloat();
  SampleCase<float> sample(goldens_, case_, *ops, false);
  GradientOf(sample);
  for (size_t id = 0; id < sample.plan().segments.size(); ++id) {
    const PlannedSegment& segment = sample.plan().segments[id];
    const int trained = case_["stage"];
    const bool shared = segment.kind == SegmentKind::kSharedInput;
    const bool front = case_["placement"] == "front";
    // Inline, a re-read text stands before the prompt; in front, it sees it.
    const bool before_prompt = !segment.text_of.empty() && !front;
    const TapeRole role = sample.tape().roles[id];
    EXPECT_EQ(role == TapeRole::kTaped, segment.stage == trained && !shared && !before_prompt)
        << "segment " << id;
    // A text hand-off does not need the other stage's segments at all.
    const bool other = segment.stage != trained && !shared;
    if (other) {
      EXPECT_EQ(role, case_["handoff"] == "kv" ? TapeRole::kConstant : TapeRole::kUnused) << id;
    }
  }
  EXPECT_GT(sample.last().constant_tokens, 0);
}

TEST_P(SampleGradient, ARunReturnsItsPagesButForConstantFrontPrompts) {
  const auto ops = MakeRefOpsFloat();
  SampleCase<float> sample(goldens_, case_, *ops, false);
  GradientOf(sample);
  const int64_t kept = sample.pages_used();
  const bool keeps_a_prompt = case_["handoff"] == "kv" && case_["placement"] == "front";
  EXPECT_EQ(kept, keeps_a_prompt ? 2 : 0);  // P_A: 5 vectors in pages of 4
  GradientOf(sample);
  EXPECT_EQ(sample.pages_used(), kept);
}

std::string CaseName(const ::testing::TestParamInfo<int>& info) {
  return SampleGoldens::Load().json["cases"][info.param]["name"];
}
INSTANTIATE_TEST_SUITE_P(Cases, SampleGradient, ::testing::Range(0, 6), CaseName);

}  // namespace
}  // namespace onepass
