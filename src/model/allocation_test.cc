// What memory a model takes while it runs.
#include <gtest/gtest.h>

#include <array>
#include <filesystem>

#include "core/count_memory_for_test.h"
#include "kernels/registry.h"
#include "model/convert.h"
#include "model/transformer.h"

namespace onepass {
namespace {

class MemoryOfSmallModel : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string dir = ::testing::TempDir() + "/onepass_allocation_test";
    std::filesystem::remove_all(dir);
    ModelConfig config;
    config.architecture = "llama";
    config.vocab_size = 61;
    config.width = 64;
    config.layers = 3;
    config.heads = 6;
    config.kv_heads = 2;
    config.head_dim = 16;
    config.feed_forward = 96;
    config.max_positions = 512;
    config.tied_head = true;  // so that in blocks the embedding is in blocks too
    ASSERT_EQ(InitBase(config, DType::kBF16, 7, dir).message(), "");
    ops = std::move(MakeOps("cpu", {.thread_count = 2})).value();
    Load(dir);
  }

  void Load(const std::string& dir) {
    const std::shared_ptr<const Checkpoint> base = std::move(Checkpoint::Open(dir)).value();
    model = std::move(Transformer<float>::Create(base, *ops)).value();
  }

  // The base with its weights in blocks.
  void LoadIn(BlockType type) {
    const std::string dir =
        ::testing::TempDir() + "/onepass_allocation_test_in_" + std::string(FormatOf(type).name);
    std::filesystem::remove_all(dir);
    ThreadPool pool(1);
    const auto report =
        ConvertBase(model->checkpoint(), {.weights = type, .head = type}, dir, pool, {});
    ASSERT_EQ(report.status().message(), "");
    Load(dir);
  }

  std::unique_ptr<Ops<float>> ops;
  std::unique_ptr<Transformer<float>> model;
};

class MemoryOfSteps : public MemoryOfSmallModel, public ::testing::WithParamInterface<DType> {};

// Of two sequences at once, one behind a view, in the middle of a page, whose chunks of keys the
// threads share.
void DecodeStepsTakeNoMemory(Transformer<float>* model, DType kv_dtype) {
  PagePool pool(model->config().Layout(32, kv_dtype), 16);
  const std::vector<int32_t> tokens(300, 5);
  auto before = std::make_unique<Segment>(pool, 0, Provenance{});
  ASSERT_TRUE(before->Extend(tokens).ok());
  const ForwardItem<float> prefill{.view = nullptr, .tail = before.get(), .new_count = 300};
  model->Forward({&prefill, 1}, nullptr);
  const KvView view({SegmentRef(std::move(before))});
  Segment first(pool, 300, {});
  Segment second(pool, 0, {});
  const std::array<ForwardItem<float>, 2> items = {
      {{.view = &view, .tail = &first, .new_count = 1},
       {.view = nullptr, .tail = &second, .new_count = 1}}};
  Buffer<float> logits(2, model->config().vocab_size);
  for (int step = 0; step < 6; ++step) {
    ASSERT_TRUE(first.Extend({tokens.data(), 1}).ok());
    ASSERT_TRUE(second.Extend({tokens.data(), 1}).ok());
    const int64_t so_far = allocations;
    model->Logits(model->Forward(items, nullptr), logits.view());
    if (step == 0) continue;
    EXPECT_EQ(allocations - so_far, 0) << "step " << step;
  }
  EXPECT_GT(allocations, 0);
}

TEST_P(MemoryOfSteps, ADecodeStepTakesNoMemoryOnceItsScratchHasGrown) {
  DecodeStepsTakeNoMemory(model.get(), GetParam());
}

TEST_F(MemoryOfSmallModel, NorDoesOneWithWeightsInBlocks) {
  for (const BlockType type : {BlockType::kQ8_0, BlockType::kQ4_0}) {
    ASSERT_NO_FATAL_FAILURE(LoadIn(type));
    DecodeStepsTakeNoMemory(model.get(), DType::kF32);
  }
}

INSTANTIATE_TEST_SUITE_P(KvTypes, MemoryOfSteps,
                         ::testing::Values(DType::kF32, DType::kBF16, DType::kI8),
                         [](const auto& type) { return std::string(KvTypeName(type.param)); });

// What it takes, which it keeps, is less than the logits of half the rows.
TEST_F(MemoryOfSmallModel, ALossHoldsTheLogitsOfABlockOfItsRows) {
  constexpr int64_t kRows = 1 << 14;
  const ModelConfig& config = model->config();
  Buffer<float> hidden(kRows, config.width), dhidden(kRows, config.width);
  const std::vector<int32_t> targets(kRows, 5);
  const std::vector<float> scale(kRows, 1);
  std::vector<float> losses(kRows);
  const auto run = [&](int64_t rows) {
    const auto first = [&](auto& of_all) { return std::span(of_all).first(rows); };
    const int64_t so_far = allocated_bytes;
    model->Loss(hidden.view().Rows(0, rows), first(targets), first(scale), first(losses),
                dhidden.view().Rows(0, rows));
    return allocated_bytes - so_far;
  };
  const int64_t of_all = run(kRows);
  EXPECT_GT(of_all, 0);
  EXPECT_LT(of_all, kRows / 2 * config.vocab_size * SizeOf(DType::kF32));
  EXPECT_EQ(run(kRows), 0);
}

}  // namespace
}  // namespace onepass
