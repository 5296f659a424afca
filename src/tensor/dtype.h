// Element types of stored tensors and conversions between them.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <string_view>

namespace onepass {

// What files may hold. Weights are F64, F32, F16 or BF16 (IsFloat); the others only pass through.
enum class DType {
  kF64,
  kF32,
  kF16,
  kBF16,
  kI64,
  kI32,
  kU8,
  kI16,
  kI8,
  kU64,
  kU32,
  kU16,
  kBool,
  kF8E4M3,
  kF8E5M2
};

// Whether ConvertTo (tensor.h) reads it.
constexpr bool IsFloat(DType dtype) {
  return dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kF16 ||
         dtype == DType::kBF16;
}

// Bytes of one element.
int64_t SizeOf(DType dtype);
// "F32", as safetensors writes it.
std::string_view NameOf(DType dtype);
// The reverse of NameOf.
std::optional<DType> ParseDType(std::string_view name);

// bfloat16: the upper half of a float. Rounding is to nearest, ties to even.
struct BF16 {
  uint16_t bits;
};
// IEEE 754 half precision.
struct F16 {
  uint16_t bits;
};

inline float ToFloat(BF16 v) { return std::bit_cast<float>(static_cast<uint32_t>(v.bits) << 16); }
// Exact.
float ToFloat(F16 v);
// To nearest, ties to even; too large becomes infinity; NaN stays NaN.
BF16 ToBF16(float v);
F16 ToF16(float v);

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<double> {
  static constexpr DType kValue = DType::kF64;
};
template <>
struct DTypeOf<float> {
  static constexpr DType kValue = DType::kF32;
};
template <>
struct DTypeOf<BF16> {
  static constexpr DType kValue = DType::kBF16;
};
template <>
struct DTypeOf<F16> {
  static constexpr DType kValue = DType::kF16;
};
template <>
struct DTypeOf<int8_t> {
  static constexpr DType kValue = DType::kI8;
};

}  // namespace onepass
