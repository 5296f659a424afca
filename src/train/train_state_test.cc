#include "train/train_state.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/file.h"
#include "format/safetensors.h"

namespace onepass {
namespace {

std::string FreshStateFolder(const char* name) {
  const std::string path = ::testing::TempDir() + "/onepass_train_state_" + name;
  std::remove(path.c_str());
  return path;
}

Buffer<float> Filled(int64_t rows, int64_t cols, float first) {
  Buffer<float> buffer(rows, cols);
  for (int64_t i = 0; i < buffer.size(); ++i) buffer.data()[i] = first + static_cast<float>(i) / 7;
  return buffer;
}

TrainState Example() {
  TrainState state;
  state.step = 41;
  state.prompt = Filled(3, 5, 1);
  state.first_moment = Filled(3, 5, -2);
  state.second_moment = Filled(3, 5, 3);
  state.best_prompt = Filled(3, 5, 4);
  state.best_step = 40;
  state.best_loss = 0.1 + 0.2;
  state.last_loss = std::sqrt(2.0);
  state.metrics_bytes = 12345;
  state.events_bytes = 678;
  state.seconds = 1.25;
  state.instruction_set = "AVX2";
  state.identity = R"({"epochs":3})";
  return state;
}

TEST(TrainState, ComesBackBitForBit) {
  const std::string path = FreshStateFolder("same.safetensors");
  const TrainState want = Example();
  ASSERT_TRUE(SaveTrainState(want, path).ok());
  const Result<TrainState> got = LoadTrainState(path);
  ASSERT_TRUE(got.ok()) << got.status().message();
  EXPECT_EQ(got->step, want.step);
  EXPECT_EQ(got->best_step, want.best_step);
  EXPECT_EQ(got->best_loss, want.best_loss);
  EXPECT_EQ(got->last_loss, want.last_loss);
  EXPECT_EQ(got->metrics_bytes, want.metrics_bytes);
  EXPECT_EQ(got->events_bytes, want.events_bytes);
  EXPECT_EQ(got->seconds, want.seconds);
  EXPECT_EQ(got->instruction_set, want.instruction_set);
  EXPECT_EQ(got->identity, want.identity);
  for (int64_t i = 0; i < want.prompt.size(); ++i) {
    EXPECT_EQ(got->prompt.data()[i], want.prompt.data()[i]);
    EXPECT_EQ(got->first_moment.data()[i], want.first_moment.data()[i]);
    EXPECT_EQ(got->second_moment.data()[i], want.second_moment.data()[i]);
    EXPECT_EQ(got->best_prompt.data()[i], want.best_prompt.data()[i]);
  }
}

TEST(TrainState, NoneIsNotFoundAndAnythingElseIsRefused) {
  const std::string path = FreshStateFolder("bad.safetensors");
  EXPECT_EQ(LoadTrainState(path).status().code(), StatusCode::kNotFound);
  ASSERT_TRUE(WriteFileAtomically(path, "not safetensors").ok());
  EXPECT_EQ(LoadTrainState(path).status().code(), StatusCode::kInvalidArgument);
  const Buffer<float> prompt = Filled(2, 2, 0);
  const NamedTensor tensor{
      "prompt", {.dtype = DType::kF32, .shape = {2, 2}, .bytes = std::as_bytes(prompt.span())}};
  ASSERT_TRUE(WriteSafetensors(path, {&tensor, 1}, {}).ok());
  EXPECT_NE(LoadTrainState(path).status().message().find("want a training checkpoint"),
            std::string::npos);
}

TEST(TrainState, ATornFileIsRefused) {
  const std::string path = FreshStateFolder("torn.safetensors");
  ASSERT_TRUE(SaveTrainState(Example(), path).ok());
  const std::string whole = ReadFile(path).value();
  for (size_t size : {size_t{0}, size_t{4}, size_t{100}, whole.size() / 2, whole.size() - 1}) {
    ASSERT_TRUE(WriteFileAtomically(path, whole.substr(0, size)).ok());
    EXPECT_FALSE(LoadTrainState(path).ok()) << size << " bytes";
  }
}

TEST(TrainState, AnotherRecipeIsNamedByItsKeyAndBothValues) {
  EXPECT_TRUE(CheckSameIdentity(R"({"a":1,"b":"x"})", R"({"b":"x","a":1})", "c").ok());
  const Status status = CheckSameIdentity(R"({"a":1,"b":"x"})", R"({"a":2,"b":"x"})", "c");
  EXPECT_EQ(status.message(),
            "c: it belongs to another recipe: a: checkpoint 1, recipe 2 (--restart begins anew)");
  EXPECT_FALSE(CheckSameIdentity("", R"({"a":2})", "c").ok());
  // A key that only one of them has.
  EXPECT_EQ(CheckSameIdentity(R"({"a":1,"b":"x"})", R"({"a":1})", "c").message(),
            "c: it belongs to another recipe: b: checkpoint \"x\", recipe null "
            "(--restart begins anew)");
  EXPECT_FALSE(CheckSameIdentity(R"({"a":1})", R"({"a":1,"b":"x"})", "c").ok());
  // The setting that made the samples others comes before their hash.
  EXPECT_EQ(
      CheckSameIdentity(R"({"data_hash":1,"max":3})", R"({"data_hash":2,"max":4})", "c").message(),
      "c: it belongs to another recipe: max: checkpoint 3, recipe 4 (--restart begins anew)");
  EXPECT_EQ(CheckSameIdentity(R"({"data_hash":1})", R"({"data_hash":2})", "c").message(),
            "c: data_hash: want what the checkpoint was trained with, found other content "
            "(--restart begins anew)");
}

TEST(TrainState, AnIdentityIsSpokenOfAsWhatKeepsIt) {
  const IdentityWords words{.noun = "KV", .made = "stored", .remedy = "store it again"};
  EXPECT_EQ(CheckSameIdentity(R"({"a":1})", R"({"a":2})", "k", words).message(),
            "k: it belongs to another recipe: a: KV 1, recipe 2 (store it again)");
  EXPECT_EQ(CheckSameIdentity(R"({"data_hash":1})", R"({"data_hash":2})", "k", words).message(),
            "k: data_hash: want what the KV was stored with, found other content (store it again)");
}

}  // namespace
}  // namespace onepass
