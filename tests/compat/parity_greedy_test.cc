// Real small models continue a prompt greedily with the 64 tokens that Hugging Face transformers
// gives. The models lie outside the project; the goldens hold text and token ids only.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/file.h"
#include "engine/engine.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace onepass {
namespace {

class GreedyTest : public testing::TestWithParam<std::tuple<std::string, std::string>> {};

TEST_P(GreedyTest, SixtyFourTokensEqualTransformers) {
  const auto& [name, backend] = GetParam();
  const std::string folder = std::string(ONEPASS_SOURCE_DIR) + "/../shared/models/" + name;
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no real models here: " << folder;
  auto golden_text = ReadFile(std::string(ONEPASS_SOURCE_DIR) + "/tests/golden/parity/greedy.json");
  ASSERT_TRUE(golden_text.ok()) << golden_text.status().message();
  const auto goldens = nlohmann::json::parse(*golden_text, nullptr, false);
  ASSERT_TRUE(goldens.contains(name));

  auto base = LoadBase(folder, {.backend = backend, .thread_count = 2});
  ASSERT_TRUE(base.ok()) << base.status().message();
  PagePool pool((*base)->config().Layout(32, DType::kF32), 64);
  Engine engine(**base, pool);

  // All prompts of the model at once: the batch must not change what any of them gets.
  std::vector<PrefillRequest> prefills;
  for (const auto& golden : goldens[name]) {
    PrefillRequest request;
    request.tokens = golden["ids"].get<std::vector<TokenId>>();
    request.want_logits = true;
    EXPECT_EQ(
        (*base)->tokenizer->Encode(golden["text"].get<std::string>(), {.add_special_tokens = true}),
        request.tokens);
    prefills.push_back(std::move(request));
  }
  ASSERT_TRUE(engine.Prefill(prefills).ok());

  std::vector<DecodeRequest> decodes;
  for (const PrefillRequest& prefill : prefills) {
    DecodeRequest request;
    request.view.Append(prefill.segment);
    request.first_logits = prefill.logits;
    request.start_position = prefill.segment->end_position();
    request.stop.max_tokens = 64;
    decodes.push_back(std::move(request));
  }
  ASSERT_TRUE(engine.Decode(decodes).ok());
  for (size_t i = 0; i < decodes.size(); ++i) {
    EXPECT_EQ(decodes[i].tokens, goldens[name][i]["greedy"].get<std::vector<TokenId>>())
        << goldens[name][i]["text"];
  }
}

INSTANTIATE_TEST_SUITE_P(RealModels, GreedyTest,
                         testing::Combine(testing::Values("tinystories-656k", "stories260k"),
                                          testing::Values("ref", "cpu")),
                         [](const auto& param_info) {
                           std::string name =
                               std::get<0>(param_info.param) + "_" + std::get<1>(param_info.param);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace onepass
