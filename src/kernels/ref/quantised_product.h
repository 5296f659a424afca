// What a product with a weight in 8 to 4 bits means, written plainly: the oracle of the integer
// kernels. (RefOps multiplies with the dequantised weight and leaves x as it is: the difference to
// this is what quantising x costs.)
#pragma once

#include <span>

#include "tensor/blocks.h"
#include "tensor/tensor.h"

namespace onepass {

// y[T, N] = x[T, K] W^T, of a weight in blocks that Dequantise knows, of whole groups of 32. Of
// each group of 32 neighbours of a row of x, in f32:
//   amax = max |x|, q = round(x * (127 / amax)), ties to even, scale = amax / 127
//   y += (sum of w * q) * scale
// A group whose amax is below 1e-35 counts as zeros; one with an infinity or a NaN makes y NaN.
// Sums in double.
void QuantisedProduct(View<const float> x, const BlockTensor& w, View<float> y);

}  // namespace onepass
