#include "bench/work.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>

#include "core/file.h"
#include "core/thread_pool.h"
#include "format/gguf_builder_for_test.h"
#include "kernels/registry.h"
#include "model/convert.h"
#include "model/gguf_base.h"

namespace onepass {
namespace {

ModelConfig SmallConfig(bool tied_head) {
  ModelConfig config;
  config.architecture = "llama";
  config.vocab_size = 50;
  config.width = 32;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 8;
  config.feed_forward = 64;
  config.max_positions = 256;
  config.tied_head = tied_head;
  return config;
}

// Elements of the matrices of a layer, of the head, and of all norms.
constexpr double kKv = 32 * 16 * 2;
constexpr double kLayer = 32 * 32 * 2 + kKv + 3 * 32 * 64;
constexpr double kHead = 50 * 32;
constexpr double kNorms = (2 * 2 + 1) * 32;
// Operations of a query and a key: scores and sum, four heads of 8.
constexpr double kPair = 4 * 4 * 8;

class WorkTest : public testing::Test {
 protected:
  void TearDown() override {
    std::filesystem::remove_all(folder_);
    std::filesystem::remove(file_);
  }

  std::shared_ptr<const Checkpoint> Make(DType dtype, bool tied_head = false) {
    EXPECT_TRUE(InitBase(SmallConfig(tied_head), dtype, 1, folder_ + "/dense").ok());
    auto checkpoint = Checkpoint::Open(folder_ + "/dense");
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    return *checkpoint;
  }
  std::shared_ptr<const Checkpoint> MakeBlocks(BlockType type) {
    ThreadPool pool(1);
    EXPECT_TRUE(ConvertBase(*Make(DType::kF32), {.weights = type, .head = type},
                            folder_ + "/blocks", pool, {})
                    .ok());
    auto checkpoint = Checkpoint::Open(folder_ + "/blocks");
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    return *checkpoint;
  }

  const std::string folder_ = testing::TempDir() + "/work_test";
  const std::string file_ = testing::TempDir() + "/work_test.gguf";
  const KvLayout layout_ = SmallConfig(false).Layout(32, DType::kF32);
  const double kv_token_ = 2 * 2 * 2 * 8 * 4;  // K and V, layers, heads, their size, bytes
};

TEST_F(WorkTest, OperationsCountEveryMatrixAndEveryAttendedPair) {
  const auto checkpoint = Make(DType::kF32);
  const Work one = PrefillWork(*checkpoint, 1, layout_);
  EXPECT_DOUBLE_EQ(one.flops, 2 * 2 * kLayer + 2 * kPair + 2 * kHead);
  const Work three = PrefillWork(*checkpoint, 3, layout_);
  // Of the last layer, two of the three tokens need K and V alone.
  EXPECT_DOUBLE_EQ(three.flops,
                   2 * ((3 + 1) * kLayer + 2 * kKv) + (1 + 2 + 3 + 3) * kPair + 2 * kHead);
  const Work step = DecodeWork(*checkpoint, 3, 10.5, layout_);
  EXPECT_DOUBLE_EQ(step.flops, 3 * (2 * 2 * kLayer + 10.5 * 2 * kPair + 2 * kHead));
  EXPECT_EQ(one.integer_ops + three.integer_ops + step.integer_ops, 0);
}

TEST_F(WorkTest, BytesAreWhatTheBackendHoldsAndTheVisibleKv) {
  const double elements = 2 * kLayer + kHead;
  EXPECT_DOUBLE_EQ(DecodeWork(*Make(DType::kF32), 2, 7, layout_).bytes,
                   4 * (elements + kNorms) + 2 * 7 * kv_token_);
  EXPECT_DOUBLE_EQ(PrefillWork(*Make(DType::kBF16), 7, layout_).bytes,
                   2 * elements + 4 * kNorms + 7 * kv_token_);
  EXPECT_DOUBLE_EQ(PrefillWork(*Make(DType::kF16), 7, layout_).bytes,
                   2 * elements + 4 * kNorms + 7 * kv_token_);
  // A head of its own leaves the embedding out; a tied one is the embedding.
  EXPECT_DOUBLE_EQ(PrefillWork(*Make(DType::kF32, /*tied_head=*/true), 7, layout_).bytes,
                   4 * (elements + kNorms) + 7 * kv_token_);
}

TEST_F(WorkTest, ProductsWithBlocksAreIntegersAndAttentionIsNot) {
  for (const auto& [type, block_bytes] :
       {std::pair(BlockType::kQ8_0, 34.0), std::pair(BlockType::kQ4_0, 18.0)}) {
    const auto checkpoint = MakeBlocks(type);
    const Work work = PrefillWork(*checkpoint, 3, layout_);
    EXPECT_DOUBLE_EQ(work.integer_ops, 2 * ((3 + 1) * kLayer + 2 * kKv) + 2 * kHead);
    EXPECT_DOUBLE_EQ(work.flops, (1 + 2 + 3 + 3) * kPair);
    EXPECT_DOUBLE_EQ(work.bytes,
                     (2 * kLayer + kHead) * block_bytes / 32 + 4 * kNorms + 3 * kv_token_);
  }
}

// A GGUF file whose matrices are zeros in `type`, [64 or 256, 256] each.
std::string WideFile(BlockType type) {
  ModelConfig config = SmallConfig(/*tied_head=*/true);
  config.vocab_size = 64;
  config.width = config.feed_forward = 256;
  config.head_dim = 64;
  GgufBuilder builder = WideLlama(256);
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    const BlockFormat& format = FormatOf(spec.shape.size() == 1 ? BlockType::kF32 : type);
    int64_t elements = 1;
    for (const int64_t extent : spec.shape) elements *= extent;
    builder.Tensor(
        GgufTensorName(spec.name), format.type, spec.shape,
        std::string(static_cast<size_t>(elements / format.elements * format.bytes), '\0'));
  }
  return builder.Build();
}

TEST_F(WorkTest, BytesOfBlocksAreThoseThatTheBackendHolds) {
  const auto ops = std::move(MakeOps("cpu", {.thread_count = 1})).value();
  for (const BlockType type :
       {BlockType::kQ8_0, BlockType::kQ4_0, BlockType::kQ4_K, BlockType::kQ6_K}) {
    SCOPED_TRACE(FormatOf(type).name);
    ASSERT_TRUE(WriteFileAtomically(file_, WideFile(type)).ok());
    const auto opened = Checkpoint::Open(file_);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    const Checkpoint& checkpoint = **opened;
    double held = 0;
    double elements = 0;
    for (const TensorSpec& spec : ExpectedTensors(checkpoint.config())) {
      if (spec.shape.size() == 1) {
        held += 4 * 256;
        continue;
      }
      const BlockTensor& blocks = *checkpoint.blocks(spec.name);
      held += static_cast<double>(std::move(ops->Prepare(blocks)).value()->bytes());
      elements += static_cast<double>(blocks.element_count());
    }
    const KvLayout layout = checkpoint.config().Layout(32, DType::kF32);
    const Work work = DecodeWork(checkpoint, 1, 5, layout);
    EXPECT_DOUBLE_EQ(work.bytes, held + 5 * static_cast<double>(layout.TokenBytes()));
    EXPECT_DOUBLE_EQ(work.integer_ops, 2 * elements);
  }
}

TEST(Work, TimeAtThePeaksAddsBothKindsOfOperations) {
  const Peaks peaks{.gflops = 100, .int8_gops = 400, .gb_per_s = 10};
  EXPECT_DOUBLE_EQ((Work{.flops = 50e9, .integer_ops = 100e9, .bytes = 0}).ComputeSeconds(peaks),
                   0.75);
}

TEST(Work, ShareIsOfTheLimitThatBinds) {
  const Peaks peaks{.gflops = 100, .int8_gops = 400, .gb_per_s = 10};
  // Half a second of computing, a quarter of reading; then the other way round.
  const Work computing{.flops = 30e9, .integer_ops = 80e9, .bytes = 2.5e9};
  EXPECT_DOUBLE_EQ(computing.ShareOfLimit(peaks, 2), 0.25);
  const Work reading{.flops = 5e9, .integer_ops = 80e9, .bytes = 5e9};
  EXPECT_DOUBLE_EQ(reading.ShareOfLimit(peaks, 2), 0.25);
  EXPECT_DOUBLE_EQ(reading.MemorySeconds(peaks), 0.5);
}

}  // namespace
}  // namespace onepass
