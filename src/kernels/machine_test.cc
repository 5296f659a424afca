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
  const double integer_peak = MeasurePeakInt8Gops(pool);
  EXPECT_GT(integer_peak, 0.1);
  EXPECT_LT(integer_peak, 100'000);
  const double bandwidth = MeasureMemoryBandwidth(pool, int64_t{1} << 22);
  EXPECT_GT(bandwidth, 0.01);
  EXPECT_LT(bandwidth, 100'000);
}

// An emptied loop would be faster than any machine.
TEST(Machine, EveryInstructionSetHasAnIntegerPeak) {
  ThreadPool pool(1);
  for (const std::string& name : InstructionSetNames()) {
    ForceInstructionSet(name);
    const double peak = MeasurePeakInt8Gops(pool);
    EXPECT_GT(peak, 0.1) << name;
    EXPECT_LT(peak, 100'000) << name;
  }
  ForceInstructionSet("");
}

TEST(Machine, NamesItsInstructionSet) { EXPECT_FALSE(std::string(InstructionSetName()).empty()); }

}  // namespace
}  // namespace onepass
