// What a product with a weight in 8 or 4 bits means, written plainly: the oracle of the integer
// kernels. (RefOps multiplies with the dequantised weight and leaves x as it is: the difference to
// this is what quantising x costs.)
#pragma once

#include <span>

#include "tensor/blocks.h"
#include "tensor/tensor.h"

namespace onepass {

// y[T, N] = x[T, K] W^T, of a weight in blocks of 32 (Q8_0, Q4_0), w = q_w * scale_w. Of each group
// of 32 neighbours of a row of x, in f32:
//   amax = max |x|, q_x = round(x * (127 / amax)), ties to even, scale_x = amax / 127
//   y += (sum of q_w * q_x) * scale_w * scale_x
// A group whose amax is below 1e-35 counts as zeros; one with an infinity or a NaN makes y NaN.
// Sums over groups in double.
void QuantisedProduct(View<const float> x, const BlockTensor& w, View<float> y);

}  // namespace onepass
