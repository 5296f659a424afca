// For tests: each instruction set that this machine has, so that a machine with AVX-512 also tests
// what one without it would run.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "kernels/machine.h"

namespace onepass::testing {

// The kernels run on the instruction set that is the test's parameter.
class OnInstructionSet : public ::testing::TestWithParam<std::string> {
 protected:
  OnInstructionSet() { ForceInstructionSet(GetParam()); }
  ~OnInstructionSet() override { ForceInstructionSet(""); }
  void SetUp() override { ASSERT_EQ(InstructionSetName(), GetParam()); }
};

// For INSTANTIATE_TEST_SUITE_P: the parameters, and how they are named.
inline auto InstructionSets() { return ::testing::ValuesIn(InstructionSetNames()); }
inline std::string NameOfSet(const ::testing::TestParamInfo<std::string>& set) { return set.param; }

}  // namespace onepass::testing
