#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace onepass {
namespace {

// The definition: sign * mantissa * 2^exponent, field by field.
double HalfByDefinition(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  double value;
  if (exponent == 31) {
    value = mantissa != 0 ? std::nan("") : INFINITY;
  } else if (exponent == 0) {
    value = std::ldexp(mantissa, -24);
  } else {
    value = std::ldexp(1024 + mantissa, exponent - 25);
  }
  return (bits & 0x8000) != 0 ? -value : value;
}

TEST(DType, EveryHalfWidensToItsDefinition) {
  for (int bits = 0; bits < 65536; ++bits) {
    const F16 half{static_cast<uint16_t>(bits)};
    const double want = HalfByDefinition(half.bits);
    const float got = ToFloat(half);
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(got)) << bits;
    } else {
      ASSERT_EQ(got, want) << bits;
      ASSERT_EQ(std::signbit(got), std::signbit(want)) << bits;
    }
  }
}

TEST(DType, EveryHalfSurvivesTheRoundTrip) {
  for (int bits = 0; bits < 65536; ++bits) {
    const F16 half{static_cast<uint16_t>(bits)};
    const F16 back = ToF16(ToFloat(half));
    if (std::isnan(ToFloat(half))) {
      ASSERT_TRUE(std::isnan(ToFloat(back))) << bits;
    } else {
      ASSERT_EQ(back.bits, half.bits);
    }
  }
}

TEST(DType, EveryBFloatSurvivesTheRoundTrip) {
  for (int bits = 0; bits < 65536; ++bits) {
    const BF16 value{static_cast<uint16_t>(bits)};
    const BF16 back = ToBF16(ToFloat(value));
    if (std::isnan(ToFloat(value))) {
      ASSERT_TRUE(std::isnan(ToFloat(back))) << bits;
    } else {
      ASSERT_EQ(back.bits, value.bits);
    }
  }
}

// Between every two finite neighbours: a point just below the middle goes down, just above goes up,
// the middle goes to the even one.
template <class Small>
void CheckRoundingBetweenNeighbours(Small (*narrow)(float), uint16_t infinity_bits) {
  for (int bits = 0; bits + 1 < infinity_bits; ++bits) {
    const Small low{static_cast<uint16_t>(bits)};
    const Small high{static_cast<uint16_t>(bits + 1)};
    const float middle =
        static_cast<float>((static_cast<double>(ToFloat(low)) + ToFloat(high)) / 2);
    if (middle == ToFloat(low) || middle == ToFloat(high)) continue;  // below a float's resolution
    const uint16_t even = static_cast<uint16_t>(bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(narrow(middle).bits, even) << bits;
    ASSERT_EQ(narrow(std::nextafter(middle, 0.0f)).bits, low.bits) << bits;
    ASSERT_EQ(narrow(std::nextafter(middle, INFINITY)).bits, high.bits) << bits;
    ASSERT_EQ(narrow(-middle).bits, even | 0x8000) << bits;
  }
}

TEST(DType, HalfRoundsToNearestEven) { CheckRoundingBetweenNeighbours<F16>(ToF16, 0x7c00); }

TEST(DType, BFloatRoundsToNearestEven) { CheckRoundingBetweenNeighbours<BF16>(ToBF16, 0x7f80); }

TEST(DType, TooLargeBecomesInfinity) {
  EXPECT_EQ(ToF16(65504.0f).bits, 0x7bff);
  EXPECT_EQ(ToF16(65519.996f).bits, 0x7bff);
  EXPECT_EQ(ToF16(65520.0f).bits, 0x7c00);
  EXPECT_EQ(ToF16(-1e30f).bits, 0xfc00);
  EXPECT_EQ(ToBF16(std::numeric_limits<float>::max()).bits, 0x7f80);
  EXPECT_EQ(ToBF16(-INFINITY).bits, 0xff80);
}

TEST(DType, NanNeverBecomesInfinity) {
  const float narrow_nan = std::bit_cast<float>(0x7f800001u);
  EXPECT_TRUE(std::isnan(ToFloat(ToF16(narrow_nan))));
  EXPECT_TRUE(std::isnan(ToFloat(ToBF16(narrow_nan))));
}

}  // namespace
}  // namespace onepass
