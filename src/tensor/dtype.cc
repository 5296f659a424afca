#include "tensor/dtype.h"

#include "core/check.h"

namespace onepass {

int64_t SizeOf(DType dtype) {
  switch (dtype) {
    case DType::kF64:
    case DType::kI64:
    case DType::kU64:
      return 8;
    case DType::kF32:
    case DType::kI32:
    case DType::kU32:
      return 4;
    case DType::kF16:
    case DType::kBF16:
    case DType::kI16:
    case DType::kU16:
      return 2;
    case DType::kI8:
    case DType::kU8:
    case DType::kBool:
    case DType::kF8E4M3:
    case DType::kF8E5M2:
      return 1;
  }
  ONEPASS_CHECK(false, "unknown dtype");
}

std::string_view NameOf(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return "F64";
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kI64:
      return "I64";
    case DType::kI32:
      return "I32";
    case DType::kI16:
      return "I16";
    case DType::kI8:
      return "I8";
    case DType::kU64:
      return "U64";
    case DType::kU32:
      return "U32";
    case DType::kU16:
      return "U16";
    case DType::kU8:
      return "U8";
    case DType::kBool:
      return "BOOL";
    case DType::kF8E4M3:
      return "F8_E4M3";
    case DType::kF8E5M2:
      return "F8_E5M2";
  }
  ONEPASS_CHECK(false, "unknown dtype");
}

std::optional<DType> ParseDType(std::string_view name) {
  for (DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBF16, DType::kI64, DType::kI32,
                      DType::kI16, DType::kI8, DType::kU64, DType::kU32, DType::kU16, DType::kU8,
                      DType::kBool, DType::kF8E4M3, DType::kF8E5M2}) {
    if (NameOf(dtype) == name) return dtype;
  }
  return std::nullopt;
}

float ToFloat(F16 v) {
  const uint32_t sign = (v.bits & 0x8000u) << 16;
  const uint32_t rest = v.bits & 0x7fffu;
  // Exponent and mantissa in a float's places; the factor 2^112 moves the bias from 15 to 127, and
  // makes subnormals normal on the way.
  const float scaled = std::bit_cast<float>(rest << 13) * 0x1p112f;
  const uint32_t magnitude = std::bit_cast<uint32_t>(scaled);
  // Infinity and NaN have all exponent bits set, which the factor cannot give; NaNs become quiet.
  const uint32_t special = 0x7f800000u | (rest << 13) | (rest > 0x7c00u ? 0x00400000u : 0u);
  return std::bit_cast<float>(sign | (rest >= 0x7c00u ? special : magnitude));
}

BF16 ToBF16(float v) {
  const uint32_t bits = std::bit_cast<uint32_t>(v);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

F16 ToF16(float v) {
  const uint32_t bits = std::bit_cast<uint32_t>(v);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {  // NaN, made quiet
    return {static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu))};
  }
  if (magnitude >= 0x477ff000u)
    return {static_cast<uint16_t>(sign | 0x7c00u)};  // rounds to infinity
  if (magnitude < 0x38800000u) {
    // Below 2^-14 the result is a multiple of 2^-24: adding 0.5 lets the float adder round to it.
    const uint32_t sum = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f);
    return {static_cast<uint16_t>(sign | (sum - 0x3f000000u))};
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u) - (112u << 23);
  return {static_cast<uint16_t>(sign | (rounded >> 13))};
}

}  // namespace onepass
