#include "train/run_log.h"

#include <gtest/gtest.h>

#include <limits>

#include "core/file.h"

namespace onepass {
namespace {

std::string Fresh(const char* name) {
  const std::string path = ::testing::TempDir() + "/onepass_run_log_" + name;
  std::remove(path.c_str());
  return path;
}

TEST(RunLog, Crc32cOfTheStandardsExamples) {
  EXPECT_EQ(Crc32c(""), 0U);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283U);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aaU);
}

// tests/golden/train/events.bin: tools/make_goldens_events.py, by the tensorboard package.
TEST(RunLog, EventsAreTheBytesThatTensorBoardWrites) {
  const Result<std::string> want =
      ReadFile(std::string(ONEPASS_SOURCE_DIR) + "/tests/golden/train/events.bin");
  ASSERT_TRUE(want.ok()) << want.status().message();
  const std::string got =
      VersionRecord(1.5) +
      ScalarsRecord(2.25, 1, {{"train/loss", 3.5F}, {"train/learning_rate", 1e-4F}}) +
      ScalarsRecord(3, 300, {{"validation/loss", 0.1F}}) +
      ScalarsRecord(4, int64_t{1} << 40, {{"train/loss", std::numeric_limits<float>::infinity()}});
  EXPECT_EQ(got, *want);
}

TEST(AppendFile, CutsBackAndGoesOn) {
  const std::string path = Fresh("cut");
  {
    auto file = AppendFile::Open(path);
    ASSERT_TRUE(file.ok()) << file.status().message();
    ASSERT_TRUE((*file)->Append("one\ntwo\nthree\n").ok());
  }
  auto file = AppendFile::Open(path);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->size(), 14);
  ASSERT_TRUE((*file)->CutTo(4).ok());
  ASSERT_TRUE((*file)->Append("deux\n").ok());
  ASSERT_TRUE((*file)->Sync().ok());
  EXPECT_EQ(ReadFile(path).value(), "one\ndeux\n");
  EXPECT_FALSE((*file)->CutTo(100).ok());
}

TEST(AppendFile, IsOpenOnceAtATime) {
  const std::string path = Fresh("lock");
  auto file = AppendFile::Open(path);
  ASSERT_TRUE(file.ok());
  EXPECT_FALSE(AppendFile::Open(path).ok());
  *file = nullptr;
  EXPECT_TRUE(AppendFile::Open(path).ok());
}

TEST(AppendFile, AFullDiskIsAnErrorThatNamesTheFile) {
  if (std::FILE* full = std::fopen("/dev/full", "w"); full != nullptr) {
    std::fclose(full);
  } else {
    GTEST_SKIP() << "no /dev/full here";
  }
  auto file = AppendFile::Open("/dev/full");
  ASSERT_TRUE(file.ok()) << file.status().message();
  const Status status = (*file)->Append("x");
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.message().find("/dev/full: cannot write: No space"), std::string::npos)
      << status.message();
}

}  // namespace
}  // namespace onepass
