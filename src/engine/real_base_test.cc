// What the engine writes with the base that ships, whichever threads and whichever backend compute.
#include <gtest/gtest.h>

#include <cstring>

#include "engine/real_base_for_test.h"

namespace onepass {
namespace {

// Greedy outputs of prompts that are read and continued together, and the KV that they left.
struct Outputs {
  Outputs(const std::string& backend, int threads, const std::vector<std::string>& texts,
          int64_t max_tokens)
      : base(LoadRealBase(backend, threads)) {
    for (const std::string& text : texts) {
      prefills.push_back({.tokens = base->tokenizer->Encode(text, {}), .want_logits = true});
    }
    ONEPASS_CHECK(engine.Prefill(prefills).ok(), "pages");
    for (const PrefillRequest& prefill : prefills) {
      decodes.push_back({.view = KvView({prefill.segment}),
                         .first_logits = prefill.logits,
                         .start_position = prefill.segment->end_position(),
                         .stop = {.tokens = {}, .strings = {}, .max_tokens = max_tokens}});
    }
    ONEPASS_CHECK(engine.Decode(decodes).ok(), "pages");
  }

  std::unique_ptr<Base> base;
  PagePool pool{base->config().Layout(32, DType::kF32), 256};
  Engine engine{*base, pool};
  std::vector<PrefillRequest> prefills;
  std::vector<DecodeRequest> decodes;
};

bool SameKv(const Segment& a, const Segment& b) {
  if (a.token_count() != b.token_count()) return false;
  const KvLayout& layout = a.pool().layout();
  const int64_t head_bytes = layout.PlaneBytes() / layout.kv_heads;
  for (int64_t page = 0; page < a.page_count(); ++page) {
    const int64_t rows = std::min(layout.page_tokens, a.token_count() - page * layout.page_tokens);
    const auto written = static_cast<size_t>(rows * layout.RowBytes());
    // K and V of all layers lie head by head.
    for (int64_t head = 0; head < 2 * layout.layers * layout.kv_heads; ++head) {
      const int64_t at = head * head_bytes;
      if (std::memcmp(a.k_bytes(page, 0) + at, b.k_bytes(page, 0) + at, written) != 0) return false;
    }
  }
  return true;
}

const std::vector<std::string> kTexts = {"Where is", "A document about a",
                                         "Question: who is in the kitchen?\nAnswer:", "1, 2, 3,",
                                         "The"};

// One of the prompts is so long that threads share its keys.
TEST(RealBase, ThreadsChangeNoBit) {
  std::vector<std::string> texts = kTexts;
  while (texts[0].size() < 2000) texts[0] += " " + texts[0];
  const Outputs alone("cpu", 1, texts, 16);
  ASSERT_GE(alone.prefills[0].segment->token_count(), 512);
  for (const int threads : {2, 3}) {
    const Outputs together("cpu", threads, texts, 16);
    for (size_t i = 0; i < texts.size(); ++i) {
      SCOPED_TRACE(std::to_string(threads) + " threads: " + texts[i]);
      EXPECT_EQ(together.prefills[i].logits, alone.prefills[i].logits);
      EXPECT_EQ(together.decodes[i].tokens, alone.decodes[i].tokens);
      EXPECT_TRUE(SameKv(*together.prefills[i].segment, *alone.prefills[i].segment));
      EXPECT_TRUE(SameKv(*together.decodes[i].segment, *alone.decodes[i].segment));
    }
  }
}

TEST(RealBase, TheOracleAndTheCpuWriteTheSameGreedyTokens) {
  const Outputs oracle("ref", 1, kTexts, 32);
  const Outputs cpu("cpu", 2, kTexts, 32);
  for (size_t i = 0; i < kTexts.size(); ++i) {
    EXPECT_EQ(std::ssize(cpu.decodes[i].tokens), 32);
    EXPECT_EQ(cpu.decodes[i].tokens, oracle.decodes[i].tokens) << kTexts[i];
  }
}

}  // namespace
}  // namespace onepass
