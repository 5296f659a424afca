// Element types of stored tensors and conversions between them.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

namespace onepass {

enum class DType { kF64, kF32, kF16, kBF16, kI64, kI32, kU8 };

// Bytes of one element.
int64_t SizeOf(DType dtype);
// "F32", as safetensors writes it.
std::string_view NameOf(DType dtype);

// bfloat16: the upper half of a float. Rounding is to nearest, ties to even.
struct BF16 {
  uint16_t bits;
};
// IEEE 754 half precision.
struct F16 {
  uint16_t bits;
};

inline float ToFloat(BF16 v) { return std::bit_cast<float>(static_cast<uint32_t>(v.bits) << 16); }
float ToFloat(F16 v);
BF16 ToBF16(float v);
F16 ToF16(float v);

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<double> { static constexpr DType kValue = DType::kF64; };
template <>
struct DTypeOf<float> { static constexpr DType kValue = DType::kF32; };
template <>
struct DTypeOf<BF16> { static constexpr DType kValue = DType::kBF16; };
template <>
struct DTypeOf<F16> { static constexpr DType kValue = DType::kF16; };

}  // namespace onepass
