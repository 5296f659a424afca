// What every backend requires of its arguments, in one place. A wrong shape is our own bug: CHECK.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/check.h"
#include "kernels/ops.h"
#include "tensor/blocks.h"
#include "tensor/tensor.h"

namespace onepass {

template <class A, class B>
void CheckSameShape(const View<A>& a, const View<B>& b, const char* what) {
  ONEPASS_CHECK(a.rows() == b.rows() && a.cols() == b.cols(), what);
}

// A weight [N, K] whose bytes are all there. REQUIRES: two dimensions.
inline void CheckWeight(const RawTensor& weight) {
  ONEPASS_CHECK(
      static_cast<int64_t>(weight.bytes.size()) == weight.element_count() * SizeOf(weight.dtype),
      "Prepare: a weight has the bytes that its shape promises");
}

// A weight in blocks: a matrix, of a type that Dequantise knows, in whole blocks that are all
// there.
inline Status CheckBlocks(const BlockTensor& weight) {
  const BlockFormat& format = FormatOf(weight.type);
  if (!CanDequantise(weight.type)) {
    return Unsupported("weight: want F32, F16, BF16, Q8_0, Q4_0, Q4_K or Q6_K, found " +
                       std::string(format.name));
  }
  if (weight.shape.size() != 2 || weight.shape[1] % format.elements != 0) {
    return InvalidArgument("weight: want shape [N, K], K a multiple of " +
                           std::to_string(format.elements) + ", found " +
                           ShapeToString(weight.shape));
  }
  ONEPASS_CHECK(std::ssize(weight.bytes) == weight.shape[0] * weight.row_bytes(),
                "Prepare: a weight has the bytes that its shape promises");
  return Status::Ok();
}

template <class Real>
void CheckMatMuls(const MatMulInput<Real>& input, std::span<const MatMulOutput<Real>> outputs) {
  const View<const Real>& x = input.x;
  ONEPASS_CHECK(input.norm_weight.empty() || input.up.empty(), "MatMuls: a norm or a gate");
  ONEPASS_CHECK(input.norm_weight.empty() || (std::ssize(input.norm_weight) == x.cols() &&
                                              std::ssize(input.inv_rms) == x.rows()),
                "MatMuls: norm_weight is [K], inv_rms is [T]");
  if (!input.up.empty()) CheckSameShape(x, input.up, "MatMuls: x and up are [T, K]");
  for (const MatMulOutput<Real>& output : outputs) {
    ONEPASS_CHECK(x.cols() == output.w->cols(), "MatMuls: x is [T, K]");
    ONEPASS_CHECK(output.y.rows() == x.rows() && output.y.cols() == output.w->rows(),
                  "MatMuls: y is [T, N]");
    ONEPASS_CHECK(output.bias.empty() || std::ssize(output.bias) == output.w->rows(),
                  "MatMuls: bias is [N]");
  }
}

template <class Real>
void CheckMatMulBackward(const View<const Real>& dy, const PreparedWeight& w,
                         const View<Real>& dx) {
  ONEPASS_CHECK(dy.cols() == w.rows(), "MatMulBackward: dy is [T, N]");
  ONEPASS_CHECK(dx.rows() == dy.rows() && dx.cols() == w.cols(), "MatMulBackward: dx is [T, K]");
}

// Number of keys a sequence sees.
template <class Real>
int64_t KeyCount(const AttentionSequence<Real>& sequence) {
  int64_t count = 0;
  for (const KvRun<Real>& run : sequence.runs) count += run.count;
  return count;
}

template <class Real>
void CheckAttention(const View<const Real>& q, const AttentionShape& shape,
                    std::span<const AttentionSequence<Real>> sequences) {
  ONEPASS_CHECK(shape.kv_heads > 0 && shape.heads > 0 && shape.heads % shape.kv_heads == 0,
                "Attention: H is a multiple of G");
  ONEPASS_CHECK(q.cols() == shape.heads * shape.head_dim, "Attention: q is [T, H * D]");
  for (const AttentionSequence<Real>& sequence : sequences) {
    ONEPASS_CHECK(sequence.query_begin >= 0 && sequence.query_count >= 0 &&
                      sequence.query_begin + sequence.query_count <= q.rows(),
                  "Attention: a sequence's queries are rows of q");
    ONEPASS_CHECK(sequence.query_count <= KeyCount(sequence),
                  "Attention: a sequence's own tokens are among its keys");
    for (const KvRun<Real>& run : sequence.runs) {
      const bool is_own = run.dtype == DTypeOf<Real>::kValue;
      const bool is_narrow = run.dtype == DType::kBF16 || run.dtype == DType::kI8;
      ONEPASS_CHECK(is_own || (is_narrow && run.dk == nullptr && run.dv == nullptr),
                    "Attention: KV is of the op's own type or, without gradients, BF16 or I8");
    }
  }
}

}  // namespace onepass
