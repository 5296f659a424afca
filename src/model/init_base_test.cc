// What InitBase leaves behind when it does not come to its end.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <random>

#include "core/kill_for_test.h"
#include "model/checkpoint.h"

namespace onepass {
namespace {

namespace fs = std::filesystem;

class InitBaseTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "onepass-init-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
    config_.architecture = "llama";
    config_.vocab_size = 50;
    config_.width = 16;
    config_.layers = 2;
    config_.heads = 2;
    config_.kv_heads = 1;
    config_.head_dim = 8;
    config_.feed_forward = 24;
    config_.max_positions = 64;
    config_.tied_head = true;
  }
  void TearDown() override { fs::remove_all(dir_); }

  ModelConfig config_;
  std::string dir_;
};

TEST_F(InitBaseTest, AFullDiskKeepsTheOldBase) {
  ASSERT_TRUE(InitBase(config_, DType::kF32, 5, dir_).ok());
  const auto before = Checkpoint::Open(dir_);
  ASSERT_TRUE(before.ok()) << before.status().message();
  const std::string fingerprint = (*before)->Fingerprint();
  rlimit limit;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {10000, limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  config_.max_positions = 32;
  const Status status = InitBase(config_, DType::kF32, 6, dir_);
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  const auto after = Checkpoint::Open(dir_);
  ASSERT_TRUE(after.ok()) << after.status().message();
  EXPECT_EQ((*after)->Fingerprint(), fingerprint);
}

// The writer of a second base of the same shape is killed at some moment.
TEST_F(InitBaseTest, AKilledProcessLeavesNoMixture) {
  std::array<ModelConfig, 2> configs = {config_, config_};
  configs[1].max_positions = 32;
  std::array<std::string, 2> fingerprints;
  for (size_t i = 0; i < 2; ++i) {
    ASSERT_TRUE(InitBase(configs[i], DType::kF32, i, dir_).ok());
    const auto base = Checkpoint::Open(dir_);
    ASSERT_TRUE(base.ok()) << base.status().message();
    fingerprints[i] = (*base)->Fingerprint();
  }
  std::mt19937 random(1);
  for (int kill_count = 0; kill_count < 40; ++kill_count) {
    ASSERT_TRUE(InitBase(configs[0], DType::kF32, 0, dir_).ok());
    ASSERT_NO_FATAL_FAILURE(
        KillAfter(random() % 20000, [&] { return InitBase(configs[1], DType::kF32, 1, dir_); }));
    const auto base = Checkpoint::Open(dir_);
    if (!base.ok()) {
      EXPECT_FALSE(fs::exists(dir_ + "/config.json")) << base.status().message();
      continue;
    }
    EXPECT_EQ((*base)->Fingerprint(), fingerprints[(*base)->config().max_positions == 32]);
  }
}

}  // namespace
}  // namespace onepass
