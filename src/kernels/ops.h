// The ops a transformer is made of, each whole, each with its backward to inputs beside it.
// A backend is one Ops<Real>: `ref` (scalar, double accumulation; float and double; the oracle) and
// `cpu` (SIMD, all cores; float). No op has a weight gradient: the base is frozen.
//
// Shapes: T tokens (rows of a ragged batch: tokens of many sequences one after the other), H query
// heads, G KV heads (H is a multiple of G), D head size, C width, F feed-forward, V vocabulary.
// Gradient policy: every Backward ADDS to its d(input) arguments unless its comment says otherwise.
// Kernels never fail and never allocate per token; wrong shapes are our own bugs (CHECK).
// Thread-compatible: an Ops owns scratch memory and a thread pool, one call at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "core/status.h"
#include "core/thread_pool.h"
#include "tensor/blocks.h"
#include "tensor/narrow_row.h"
#include "tensor/tensor.h"

namespace onepass {

// A weight matrix [N, K] laid out as its backend likes it (y = x W^T). Immutable.
class PreparedWeight {
 public:
  virtual ~PreparedWeight() = default;
  virtual int64_t rows() const = 0;   // N
  virtual int64_t cols() const = 0;   // K
  virtual int64_t bytes() const = 0;  // memory it holds beside the file's mapping
};

// `count` consecutive tokens of visible KV, all heads, one layer. In elements of dtype, head g's
// rows start at k + g * head_stride; row r of a head at + r * StoredElements(dtype, D), stored as
// tensor/narrow_row.h says. Same for v.
template <class Real>
struct KvRun {
  const void* k = nullptr;
  const void* v = nullptr;
  int64_t head_stride = 0;
  int64_t count = 0;
  // Where the backward adds gradients, in the same layout; null where the KV is a constant, which
  // that of another type than Real always is.
  Real* dk = nullptr;
  Real* dv = nullptr;
  DType dtype = DTypeOf<Real>::kValue;  // or BF16, or I8

  // Row r of head g.
  const std::byte* k_row(int64_t g, int64_t r, int64_t head_dim) const {
    return static_cast<const std::byte*>(k) + RowOffset(g, r, head_dim);
  }
  const std::byte* v_row(int64_t g, int64_t r, int64_t head_dim) const {
    return static_cast<const std::byte*>(v) + RowOffset(g, r, head_dim);
  }
  int64_t RowOffset(int64_t g, int64_t r, int64_t head_dim) const {
    return (g * head_stride + r * StoredElements(dtype, head_dim)) * SizeOf(dtype);
  }
};

// One sequence of a ragged attention call. Its queries are rows [query_begin, query_begin +
// query_count) of q. Its visible keys are the runs in order, N in all; the LAST query_count of them
// are the queries' own tokens, among which query i sees those up to itself: query i attends to the
// first N - query_count + i + 1 keys.
template <class Real>
struct AttentionSequence {
  int64_t query_begin = 0;
  int64_t query_count = 0;
  std::span<const KvRun<Real>> runs;
};

struct AttentionShape {
  int64_t heads = 0;     // H
  int64_t kv_heads = 0;  // G
  int64_t head_dim = 0;  // D
  double scale = 0;      // 1 / sqrt(D)
};

// The rows [T, K] that products read: x as it is, or made of x while it is read, row by row, which
// saves a pass over memory and a turn of the threads.
template <class Real>
struct MatMulInput {
  View<const Real> x;
  // Not empty: RmsNorm(x, norm_weight, norm_eps), whose inv_rms[T] it saves.
  std::span<const Real> norm_weight = {};
  double norm_eps = 0;
  std::span<Real> inv_rms = {};
  // Not empty: SwiGlu(x, up).
  View<const Real> up = {};
};

// One product: y[T, N] = x W^T (+ bias[N] where not empty); accumulate: y += instead.
template <class Real>
struct MatMulOutput {
  const PreparedWeight* w = nullptr;
  std::span<const Real> bias = {};
  View<Real> y;
  bool accumulate = false;
};

// Where and how RoPE turns: pairs (i, i + D/2) of each head by position * inv_freq[i] (the
// "rotate half" form of Hugging Face's Llama).
struct RopeTable {
  std::span<const double> inv_freq;  // [D / 2]
};

template <class Real>
class Ops {
 public:
  virtual ~Ops() = default;
  virtual const char* name() const = 0;
  virtual ThreadPool& pool() = 0;

  // kUnsupported: a shape that Attention cannot run here.
  virtual Status Supports(const AttentionShape& shape) const = 0;

  // Lays out a weight [N, K] of dtype F32, F16 or BF16 (F64 on ref<double>). The bytes may
  // go afterwards. kUnsupported: another dtype.
  virtual Result<std::unique_ptr<const PreparedWeight>> Prepare(const RawTensor& weight) = 0;
  // Lays out a weight [N, K] in blocks of a type that Dequantise knows; the bytes may go
  // afterwards. A backend may then multiply quantised rows of x (the cpu does, unless they are
  // plain numbers); the backward is that of the dequantised weight. kUnsupported: another type.
  virtual Result<std::unique_ptr<const PreparedWeight>> Prepare(const BlockTensor& weight) = 0;

  // Several products of the same rows. No y overlaps what is read.
  virtual void MatMuls(const MatMulInput<Real>& input,
                       std::span<const MatMulOutput<Real>> outputs) = 0;
  void MatMul(View<const Real> x, const PreparedWeight& w, std::span<const Real> bias, View<Real> y,
              bool accumulate) {
    const MatMulOutput<Real> output{.w = &w, .bias = bias, .y = y, .accumulate = accumulate};
    MatMuls({.x = x}, {&output, 1});
  }
  // dx[T, K] = dy[T, N] W; accumulate: += instead of =.
  virtual void MatMulBackward(View<const Real> dy, const PreparedWeight& w, View<Real> dx,
                              bool accumulate) = 0;

  // y[T, C] = x * inv_rms * weight, inv_rms[T] = 1 / sqrt(mean(x^2) + eps), saved for the backward.
  virtual void RmsNorm(View<const Real> x, std::span<const Real> weight, double eps, View<Real> y,
                       std::span<Real> inv_rms) = 0;
  virtual void RmsNormBackward(View<const Real> x, std::span<const Real> weight,
                               std::span<const Real> inv_rms, View<const Real> dy,
                               View<Real> dx) = 0;

  // Turns every head of x[T, heads * D] in place by its row's position. inverse: by minus the
  // position, which is the backward.
  virtual void Rope(View<Real> x, std::span<const int64_t> positions, const RopeTable& table,
                    bool inverse) = 0;

  // out[T, H * D] = softmax(q k^T * scale) v over each sequence's visible keys; lse[T, H] = log of
  // the sum of exponentials of the scaled scores, saved for the backward. No [T, T] buffer.
  virtual void Attention(View<const Real> q, const AttentionShape& shape,
                         std::span<const AttentionSequence<Real>> sequences, View<Real> out,
                         View<Real> lse) = 0;
  // dq += ..., and each run's dk, dv += ... where they are not null. out and lse: as Attention left
  // them. Sequences of one call may share runs.
  virtual void AttentionBackward(View<const Real> q, const AttentionShape& shape,
                                 std::span<const AttentionSequence<Real>> sequences,
                                 View<const Real> out, View<const Real> lse, View<const Real> dout,
                                 View<Real> dq) = 0;

  // y[T, F] = silu(gate) * up. y may be gate or up.
  virtual void SwiGlu(View<const Real> gate, View<const Real> up, View<Real> y) = 0;
  // SETS dgate and dup.
  virtual void SwiGluBackward(View<const Real> gate, View<const Real> up, View<const Real> dy,
                              View<Real> dgate, View<Real> dup) = 0;

  // For each row of logits[T, V]: loss[t] = -log softmax(logits)[target[t]], and the logits are
  // REPLACED by scale[t] * d(loss[t])/d(logits). REQUIRES: 0 <= target < V.
  virtual void SoftmaxCrossEntropy(View<Real> logits, std::span<const int32_t> targets,
                                   std::span<const Real> scale, std::span<Real> loss) = 0;
};

}  // namespace onepass
