#include "train/progress.h"

#include <gtest/gtest.h>

namespace onepass {
namespace {

const TrainProgress kProgress{.step = 50,
                              .total_steps = 200,
                              .epoch = 0.75,
                              .loss = 1.23456,
                              .learning_rate = 2e-4,
                              .gradient_norm = 1,
                              .tokens_per_second = 5120.4,
                              .seconds_left = 3725};

TEST(Progress, DurationsReadLikeClocks) {
  EXPECT_EQ(FormatDuration(0), "0:00");
  EXPECT_EQ(FormatDuration(42.4), "0:42");
  EXPECT_EQ(FormatDuration(725), "12:05");
  EXPECT_EQ(FormatDuration(3 * 3600 + 69), "3:01:09");
  EXPECT_EQ(FormatDuration(-1), "0:00");
}

TEST(Progress, TheBarShowsTheShareDoneAndFitsTheTerminal) {
  const std::string bar = FormatProgressBar(kProgress, 200);
  EXPECT_EQ(bar, "step 50/200 [" + std::string(10, '=') + ">" + std::string(29, ' ') +
                     "] loss 1.2346  5120 tokens/s  1:02:05 left");
  for (int columns = 0; columns < 120; ++columns) {
    EXPECT_LE(std::ssize(FormatProgressBar(kProgress, columns)), columns);
  }
}

TEST(Progress, AFinishedBarIsFull) {
  TrainProgress done = kProgress;
  done.step = 200;
  EXPECT_NE(FormatProgressBar(done, 200).find("[" + std::string(40, '=') + "]"), std::string::npos);
}

TEST(Progress, ThePlainLineHoldsStepLossRateAndTime) {
  EXPECT_EQ(FormatProgressLine(kProgress),
            "step 50/200  epoch 0.75  loss 1.2346  learning rate 0.0002  5120 tokens/s  "
            "1:02:05 left");
}

}  // namespace
}  // namespace onepass
