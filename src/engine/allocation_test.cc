// A step of Engine::Decode takes no memory inside a page: outputs of more steps take none more. Nor
// does it take a page, whose list is memory too.
#include <gtest/gtest.h>

#include "core/count_memory_for_test.h"
#include "engine/real_base_for_test.h"

namespace onepass {
namespace {

constexpr int64_t kPageTokens = 64;

class DecodeMemory : public ::testing::TestWithParam<SamplingOptions> {
 protected:
  void SetUp() override {
    base_ = LoadRealBase("cpu", 2);
    pool_ = std::make_unique<PagePool>(base_->config().Layout(kPageTokens, DType::kF32), 16);
    engine_ = std::make_unique<Engine>(*base_, *pool_);
    PrefillRequest prefill;
    prefill.tokens = base_->tokenizer->Encode("Bert is in the kitchen.", {});
    ASSERT_TRUE(engine_->Prefill({&prefill, 1}).ok());
    view_ = KvView({prefill.segment});
  }

  // Of two outputs of so many tokens, one behind a view.
  int64_t AllocationsOf(int64_t max_tokens) {
    std::vector<DecodeRequest> requests(2);
    for (DecodeRequest& request : requests) {
      request.start_tokens = {3, 5};
      request.stop = {.tokens = {}, .strings = {"never written"}, .max_tokens = max_tokens};
      request.sampling = GetParam();
    }
    requests[1].view = view_;
    requests[1].start_position = view_.token_count();
    const int64_t before = allocations;
    const Status status = engine_->Decode(requests);
    const int64_t taken = allocations - before;
    EXPECT_TRUE(status.ok()) << status.message();
    for (const DecodeRequest& request : requests) {
      EXPECT_EQ(std::ssize(request.tokens), max_tokens);
    }
    return taken;
  }

  std::unique_ptr<Base> base_;
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<Engine> engine_;
  KvView view_;
};

TEST_P(DecodeMemory, OutputsOfMoreStepsTakeNoMoreUntilAPageBegins) {
  AllocationsOf(2 * kPageTokens);  // scratch grows
  const int64_t of_few_steps = AllocationsOf(20);
  EXPECT_EQ(AllocationsOf(21), of_few_steps);
  EXPECT_EQ(AllocationsOf(kPageTokens - 2), of_few_steps);
  EXPECT_GT(AllocationsOf(kPageTokens + 2), of_few_steps);
}

INSTANTIATE_TEST_SUITE_P(
    Samplings, DecodeMemory,
    ::testing::Values(SamplingOptions{}, SamplingOptions{.temperature = 0.8, .seed = 4},
                      SamplingOptions{.temperature = 1, .top_k = 40, .top_p = 0.9, .seed = 5}),
    [](const auto& sampling) {
      return sampling.param.temperature == 0 ? "Greedy"
             : sampling.param.top_k == 0     ? "OfAll"
                                             : "OfTheLikeliest";
    });

}  // namespace
}  // namespace onepass
