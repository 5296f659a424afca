// A decode step takes no memory: every new and every Buffer of this program is counted.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <new>

#include "kernels/registry.h"
#include "model/transformer.h"

namespace {

std::atomic<int64_t> allocations{0};

void* Allocate(std::size_t alignment, std::size_t size) {
  ++allocations;
  void* memory = nullptr;
  const int fault = posix_memalign(&memory, std::max(alignment, sizeof(void*)), size);
  return fault == 0 ? memory : nullptr;
}

void* AllocateOrThrow(std::size_t alignment, std::size_t size) {
  if (void* memory = Allocate(alignment, size)) return memory;
  throw std::bad_alloc();
}

}  // namespace

extern "C" void* aligned_alloc(std::size_t alignment, std::size_t size) {
  return Allocate(alignment, size);
}
void* operator new(std::size_t size) { return AllocateOrThrow(alignof(std::max_align_t), size); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return AllocateOrThrow(static_cast<std::size_t>(alignment), size);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace onepass {
namespace {

class Allocations : public ::testing::TestWithParam<DType> {};

// Of two sequences at once, one behind a view, in the middle of a page, whose chunks of keys the
// threads share.
TEST_P(Allocations, ADecodeStepTakesNoMemoryOnceItsScratchHasGrown) {
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
  ASSERT_EQ(InitBase(config, DType::kBF16, 7, dir).message(), "");
  const std::shared_ptr<const Checkpoint> base = std::move(Checkpoint::Open(dir)).value();
  const auto ops = std::move(MakeOps("cpu", {.thread_count = 2})).value();
  const auto model = std::move(Transformer<float>::Create(base, *ops)).value();
  PagePool pool(config.Layout(32, GetParam()), 16);

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
  Buffer<float> logits(2, config.vocab_size);
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

INSTANTIATE_TEST_SUITE_P(KvTypes, Allocations,
                         ::testing::Values(DType::kF32, DType::kBF16, DType::kI8),
                         [](const auto& type) { return std::string(KvTypeName(type.param)); });

}  // namespace
}  // namespace onepass
