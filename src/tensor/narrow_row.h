// Rows of numbers kept in fewer bytes: bf16, or int8 with one scale. What KV pages hold, and what
// attention reads; docs/formats/kv.md says what it costs.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace onepass {

// Elements that a stored row of `count` values takes. kI8: the quants, and behind them the scale,
// an f32 in four bytes that nothing aligns. Other types: the values.
constexpr int64_t kScaleElements = 4;
constexpr int64_t StoredElements(DType dtype, int64_t count) {
  return dtype == DType::kI8 ? count + kScaleElements : count;
}

// Stores a row; what is stored depends on its values alone. The row's own type: a copy. From float
// also kBF16 (to nearest, ties to even) and kI8: with m the largest |value|, the scale is m / 127
// and a quant the value over it, to nearest, so that a value is off by at most m / 254. A row with
// a value that is no number, or with m of 2^127 or more, becomes all NaN; with m < 2^-100, zeros.
// REQUIRES: one of these types.
template <class Real>
void StoreRow(DType dtype, const Real* values, int64_t count, void* row);

// The values that a stored row stands for, in float: an element of kF32 or kBF16, or quant * scale.
// REQUIRES: kF32, kBF16 or kI8.
void LoadRow(DType dtype, const void* row, int64_t count, float* values);

}  // namespace onepass
