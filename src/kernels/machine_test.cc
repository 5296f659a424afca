#include "kernels/machine.h"

#include <gtest/gtest.h>

#include <string>

namespace onepass {
namespace {

TEST(Machine, PeaksArePositiveAndPlausible) {
  ThreadPool pool(1);
  const double peak = MeasurePeakGflops(pool);
  EXPECT_GT(peak, 0.1);
  EXPECT_LT(peak, 10'000);
  const double bandwidth = MeasureMemoryBandwidth(pool, int64_t{1} << 22);
  EXPECT_GT(bandwidth, 0.01);
  EXPECT_LT(bandwidth, 100'000);
}

TEST(Machine, NamesItsInstructionSet) { EXPECT_FALSE(std::string(InstructionSetName()).empty()); }

}  // namespace
}  // namespace onepass
