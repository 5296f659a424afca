// Logits of tiny random models of every family against Hugging Face transformers.
// Goldens: tests/golden/parity, made by tools/make_goldens_parity.py.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "format/safetensors.h"
#include "gtest/gtest.h"
#include "kernels/registry.h"
#include "model/checkpoint.h"
#include "model/transformer.h"

namespace onepass {
namespace {

constexpr double kTolerance = 1e-4;  // of the logits' range

std::string GoldenFolder(const std::string& name) {
  return std::string(ONEPASS_SOURCE_DIR) + "/tests/golden/parity/" + name;
}

// Every folder there with a golden, so that a new golden needs no line here.
std::vector<std::string> GoldenNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(GoldenFolder(""))) {
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

struct Golden {
  std::vector<int32_t> ids;
  std::vector<float> logits;  // [T, V]
  int64_t vocab = 0;
};

Golden LoadGolden(const std::string& folder) {
  auto file = SafetensorsFile::Open(folder + "/golden.safetensors");
  EXPECT_TRUE(file.ok()) << file.status().message();
  Golden golden;
  const RawTensor& ids = (*file)->tensors().at("ids");
  const RawTensor& logits = (*file)->tensors().at("logits");
  golden.ids.resize(ids.element_count());
  std::memcpy(golden.ids.data(), ids.bytes.data(), ids.bytes.size());
  golden.logits.resize(logits.element_count());
  ConvertTo(logits, 0, logits.element_count(), golden.logits.data());
  golden.vocab = logits.shape[1];
  return golden;
}

class ParityTest : public testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  void SetUp() override {
    const auto& [name, backend] = GetParam();
    golden_ = LoadGolden(GoldenFolder(name));
    auto ops = MakeOps(backend, {.thread_count = 2});
    ASSERT_TRUE(ops.ok()) << ops.status().message();
    ops_ = std::move(*ops);
    auto checkpoint = Checkpoint::Open(GoldenFolder(name));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    auto model = Transformer<float>::Create(*checkpoint, *ops_);
    ASSERT_TRUE(model.ok()) << model.status().message();
    model_ = std::move(*model);
    ASSERT_EQ(model_->config().vocab_size, golden_.vocab);
    pool_ = std::make_unique<PagePool>(model_->config().Layout(7, DType::kF32), 64);
  }

  // Feeds golden ids [begin, begin + count) to `tail` under `view` and compares every row's logits.
  void FeedAndCompare(const KvView& view, Segment& tail, int64_t begin, int64_t count) {
    const auto ids = std::span<const int32_t>(golden_.ids).subspan(begin, count);
    ASSERT_TRUE(tail.Extend(ids).ok());
    const ForwardItem<float> item{.view = &view, .tail = &tail, .new_count = count, .vectors = {}};
    const View<const float> hidden = model_->Forward({&item, 1}, nullptr);
    ASSERT_EQ(hidden.rows(), count);
    Buffer<float> logits(count, golden_.vocab);
    model_->Logits(hidden, logits.view());
    const auto [low, high] = std::minmax_element(golden_.logits.begin(), golden_.logits.end());
    const double range = *high - *low;
    for (int64_t t = 0; t < count; ++t) {
      double worst = 0;
      for (int64_t v = 0; v < golden_.vocab; ++v) {
        const double want = golden_.logits[(begin + t) * golden_.vocab + v];
        const double error = std::abs(logits.view()(t, v) - want);
        worst = std::isfinite(error) ? std::max(worst, error) : INFINITY;
      }
      ASSERT_LE(worst / range, kTolerance) << "token " << begin + t;
      worst_ = std::max(worst_, worst / range);
    }
  }

  int64_t token_count() const { return static_cast<int64_t>(golden_.ids.size()); }

  Golden golden_;
  std::unique_ptr<Ops<float>> ops_;
  std::unique_ptr<Transformer<float>> model_;
  std::unique_ptr<PagePool> pool_;
  double worst_ = 0;
};

TEST_P(ParityTest, OnePrefillGivesTransformersLogits) {
  const KvView nothing;
  Segment tail(*pool_, 0, {});
  FeedAndCompare(nothing, tail, 0, token_count());
  RecordProperty("worst_relative_error", std::to_string(worst_));
}

TEST_P(ParityTest, TokenByTokenGivesTheSameLogits) {
  const KvView nothing;
  Segment tail(*pool_, 0, {});
  FeedAndCompare(nothing, tail, 0, 5);
  for (int64_t t = 5; t < token_count(); ++t) FeedAndCompare(nothing, tail, t, 1);
}

TEST_P(ParityTest, SegmentsOfAViewGiveTheSameLogits) {
  KvView view;
  int64_t begin = 0;
  for (const int64_t count : {int64_t{9}, int64_t{1}, token_count() - 10}) {
    auto tail = std::make_shared<Segment>(*pool_, begin, Provenance{});
    FeedAndCompare(view, *tail, begin, count);
    view.Append(tail);
    begin += count;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, ParityTest,
                         testing::Combine(testing::ValuesIn(GoldenNames()),
                                          testing::Values("ref", "cpu")),
                         [](const auto& param_info) {
                           std::string name =
                               std::get<0>(param_info.param) + "_" + std::get<1>(param_info.param);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace onepass
