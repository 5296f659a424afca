#include "serve/event_log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

namespace onepass {
namespace {

std::string ReadAll(int fd) {
  std::string text;
  char block[4096];
  for (ssize_t count = 0; (count = ::read(fd, block, sizeof(block))) > 0;) {
    text.append(block, count);
  }
  return text;
}

TEST(EventLog, APipeThatNobodyReadsHoldsNothingUp) {
  const std::string path = testing::TempDir() + "/event_log.fifo";
  std::filesystem::remove(path);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const int reader = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  ASSERT_GE(reader, 0);
  auto log = EventLog::Open(path);
  ASSERT_TRUE(log.ok()) << log.status().message();
  // A pipe takes 64 KiB.
  for (int i = 0; i < 2000; ++i) (*log)->Write("info", "request", {{"number", i}});
  EXPECT_GT((*log)->lost(), 0);
  EXPECT_LT((*log)->lost(), 2000);
  const int64_t lost = (*log)->lost();
  const std::string first = ReadAll(reader);
  EXPECT_TRUE(first.ends_with("}\n"));
  (*log)->Write("info", "request");
  EXPECT_EQ(nlohmann::json::parse(ReadAll(reader))["lines_lost"], lost);
  ::close(reader);
}

}  // namespace
}  // namespace onepass
