// Soft prompts and PEFT, both ways. What PEFT wrote (tools/make_goldens_peft.py) gives PEFT's
// logits here. What we write is, byte for byte, the folder tests/golden/peft/ours that
// tools/check_peft_roundtrip.py loads into PEFT.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "kernels/registry.h"
#include "model/transformer.h"
#include "prompt/soft_prompt.h"

namespace onepass {
namespace {

using nlohmann::json;

constexpr char kGoldens[] = ONEPASS_SOURCE_DIR "/tests/golden/peft/";

class PeftPrompt : public testing::TestWithParam<const char*> {};

TEST_P(PeftPrompt, GivesTheLogitsOfPeft) {
  const std::string goldens = kGoldens;
  const json expected = json::parse(ReadFile(goldens + "expected.json").value());
  const auto base = Checkpoint::Open(goldens + "base");
  ASSERT_TRUE(base.ok()) << base.status().message();
  const auto prompt = LoadSoftPrompt(goldens + "f32");
  ASSERT_TRUE(prompt.ok()) << prompt.status().message();
  const auto ops = MakeOps(GetParam(), {.thread_count = 2});
  ASSERT_TRUE(ops.ok()) << ops.status().message();
  const auto model = Transformer<float>::Create(*base, **ops);
  ASSERT_TRUE(model.ok()) << model.status().message();
  PagePool pool((*base)->config().Layout(4, DType::kF32), 16);

  auto front = std::make_unique<Segment>(pool, 0, Provenance{.kind = SegmentKind::kPrompt});
  ASSERT_TRUE(front->ExtendWithVectors(prompt->length()).ok());
  const KvView empty;
  const ForwardItem<float> prompt_item{.view = &empty,
                                       .tail = front.get(),
                                       .new_count = prompt->length(),
                                       .vectors = prompt->vectors.view()};
  (*model)->Forward({&prompt_item, 1}, nullptr);

  const KvView view({SegmentRef(std::move(front))});
  const std::vector<int32_t> ids = expected.at("ids");
  Segment text(pool, prompt->length(), Provenance{.kind = SegmentKind::kOwnInput});
  ASSERT_TRUE(text.Extend(ids).ok());
  const ForwardItem<float> text_item{
      .view = &view, .tail = &text, .new_count = std::ssize(ids), .vectors = {}};
  const View<const float> hidden = (*model)->Forward({&text_item, 1}, nullptr);
  Buffer<float> logits(hidden.rows(), (*base)->config().vocab_size);
  (*model)->Logits(hidden, logits.view());

  // PEFT's rows count the prompt's positions first.
  const json& want = expected.at("logits");
  ASSERT_EQ(std::ssize(want), prompt->length() + std::ssize(ids));
  double largest = 0, error = 0;
  for (int64_t t = 0; t < logits.rows(); ++t) {
    for (int64_t v = 0; v < logits.cols(); ++v) {
      const double wanted = want[static_cast<size_t>(prompt->length() + t)][static_cast<size_t>(v)];
      largest = std::max(largest, std::abs(wanted));
      error = std::max(error, std::abs(wanted - logits.view()(t, v)));
    }
  }
  EXPECT_LE(error, 1e-5 * largest);
}

INSTANTIATE_TEST_SUITE_P(Backends, PeftPrompt, testing::Values("ref", "cpu"));

TEST(PeftPrompt, WhatIsSavedIsWhatWasCheckedAgainstPeft) {
  const std::string goldens = kGoldens;
  auto prompt = LoadSoftPrompt(goldens + "f32");
  ASSERT_TRUE(prompt.ok()) << prompt.status().message();
  prompt->facts = PromptFacts{.placement = Placement::kFront,
                              .stage = "answer",
                              .trained_as = "standard",
                              .base_fingerprint = "0123456789abcdef",
                              .recipe_json = R"({"steps": 10})"};
  const std::string dir = testing::TempDir() + "onepass-peft-ours";
  std::filesystem::remove_all(dir);
  const Status saved = SaveSoftPrompt(*prompt, dir);
  ASSERT_TRUE(saved.ok()) << saved.message();
  for (const char* file : {"adapter_config.json", "adapter_model.safetensors", "onepass.json"}) {
    const auto want = ReadFile(goldens + "ours/" + file);
    ASSERT_TRUE(want.ok()) << want.status().message();
    EXPECT_EQ(ReadFile(dir + "/" + file).value(), *want) << file;
  }
}

}  // namespace
}  // namespace onepass
