#include "kernels/cpu/cpu_ops.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <string>

#include "kernels/cpu/quantised.h"
#include "kernels/cpu/rows.h"
#include "kernels/shape_checks.h"

namespace onepass {
namespace {

// Elements times cost (in quarters of a nanosecond or so) that are worth waking a thread for.
constexpr int64_t kWorthAThread = 20'000;

// The type of a weight in blocks; none: one of floats.
std::optional<BlockType> TypeOf(const PreparedWeight& w) {
  const auto* quantised = dynamic_cast<const QuantisedWeight*>(&w);
  return quantised == nullptr ? std::nullopt : std::optional(quantised->type());
}

}  // namespace

template <class Body>
void CpuOps::ForRows(int64_t rows, int64_t cols, int64_t cost_per_element, const Body& body) {
  if (rows == 0 || cols == 0) return;
  auto loop = [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) body(r);
  };
  pool_.ParallelFor(rows, CeilDiv(kWorthAThread, cols * cost_per_element), std::ref(loop));
}

Status CpuOps::Supports(const AttentionShape& shape) const {
  if (shape.head_dim > kMaxHeadDim) {
    return Unsupported("backend cpu: want head size at most " + std::to_string(kMaxHeadDim) +
                       ", found " + std::to_string(shape.head_dim));
  }
  if (shape.heads / shape.kv_heads > kMaxGroup) {
    return Unsupported("backend cpu: want at most " + std::to_string(kMaxGroup) +
                       " query heads a KV head, found " +
                       std::to_string(shape.heads / shape.kv_heads));
  }
  return Status::Ok();
}

Result<std::unique_ptr<const PreparedWeight>> CpuOps::Prepare(const RawTensor& weight) {
  if (weight.dtype != DType::kF32 && weight.dtype != DType::kF16 && weight.dtype != DType::kBF16) {
    return Unsupported("weight: want dtype F32, F16 or BF16, found " +
                       std::string(NameOf(weight.dtype)));
  }
  if (weight.shape.size() != 2) {
    return InvalidArgument("weight: want shape [N, K], found " + ShapeToString(weight.shape));
  }
  CheckWeight(weight);
  std::unique_ptr<const PreparedWeight> prepared =
      std::make_unique<PackedWeight>(weight, weight_memory_, pool_);
  return prepared;
}

Result<std::unique_ptr<const PreparedWeight>> CpuOps::Prepare(const BlockTensor& weight) {
  RETURN_IF_ERROR(CheckBlocks(weight));
  if (const std::optional<DType> dense = DenseDType(weight.type)) {
    return Prepare(RawTensor{*dense, weight.shape, weight.bytes});
  }
  std::unique_ptr<const PreparedWeight> prepared =
      std::make_unique<QuantisedWeight>(weight, weight_memory_, pool_);
  return prepared;
}

void CpuOps::MatMuls(const MatMulInput<float>& input,
                     std::span<const MatMulOutput<float>> outputs) {
  CheckMatMuls<float>(input, outputs);
  // Neighbours whose weights are stored alike read the same packed rows.
  while (!outputs.empty()) {
    const std::optional<BlockType> type = TypeOf(*outputs.front().w);
    size_t count = 1;
    while (count < outputs.size() && TypeOf(*outputs[count].w) == type) ++count;
    if (type) {
      QuantisedGemm(input, outputs.first(count), gemm_, pool_);
    } else {
      Gemm(input, outputs.first(count), gemm_, pool_);
    }
    outputs = outputs.subspan(count);
  }
}

void CpuOps::MatMulBackward(View<const float> dy, const PreparedWeight& w, View<float> dx,
                            bool accumulate) {
  CheckMatMulBackward<float>(dy, w, dx);
  if (const auto* quantised = dynamic_cast<const QuantisedWeight*>(&w)) {
    QuantisedGemmBackward(dy, *quantised, dx, accumulate, gemm_, pool_);
  } else {
    GemmBackward(dy, static_cast<const PackedWeight&>(w), dx, accumulate, gemm_, pool_);
  }
}

void CpuOps::RmsNorm(View<const float> x, std::span<const float> weight, double eps, View<float> y,
                     std::span<float> inv_rms) {
  CheckSameShape(x, y, "RmsNorm: x and y are [T, C]");
  const RowOps& ops = BestRowOps();
  ForRows(x.rows(), x.cols(), 2, [&](int64_t t) {
    inv_rms[t] = ops.rms_norm(x.row(t), weight.data(), eps, y.row(t), x.cols());
  });
}

void CpuOps::RmsNormBackward(View<const float> x, std::span<const float> weight,
                             std::span<const float> inv_rms, View<const float> dy, View<float> dx) {
  CheckSameShape(x, dy, "RmsNormBackward: x and dy are [T, C]");
  CheckSameShape(x, dx, "RmsNormBackward: x and dx are [T, C]");
  const RowOps& ops = BestRowOps();
  ForRows(x.rows(), x.cols(), 3, [&](int64_t t) {
    ops.rms_norm_backward(x.row(t), weight.data(), inv_rms[t], dy.row(t), dx.row(t), x.cols());
  });
}

void CpuOps::PrepareRope(std::span<const int64_t> positions, const RopeTable& table) {
  if (std::ranges::equal(positions, rope_positions_) &&
      std::ranges::equal(table.inv_freq, rope_frequencies_)) {
    return;
  }
  rope_positions_.assign(positions.begin(), positions.end());
  rope_frequencies_.assign(table.inv_freq.begin(), table.inv_freq.end());
  const int64_t half = static_cast<int64_t>(table.inv_freq.size());
  rope_.resize(positions.size() * 2 * half);
  ForRows(static_cast<int64_t>(positions.size()), half, 100, [&](int64_t t) {
    float* cosine = rope_.data() + t * 2 * half;
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(positions[t]) * table.inv_freq[i];
      cosine[i] = static_cast<float>(std::cos(angle));
      cosine[half + i] = static_cast<float>(std::sin(angle));
    }
  });
}

void CpuOps::Rope(View<float> x, std::span<const int64_t> positions, const RopeTable& table,
                  bool inverse) {
  const int64_t half = static_cast<int64_t>(table.inv_freq.size());
  ONEPASS_CHECK(half > 0 && x.cols() % (2 * half) == 0, "Rope: x is [T, heads * D]");
  ONEPASS_CHECK(static_cast<int64_t>(positions.size()) == x.rows(), "Rope: positions is [T]");
  PrepareRope(positions, table);
  const RowOps& ops = BestRowOps();
  ForRows(x.rows(), x.cols(), 1, [&](int64_t t) {
    const float* cosine = rope_.data() + t * 2 * half;
    for (int64_t begin = 0; begin < x.cols(); begin += 2 * half) {
      ops.rope(x.row(t) + begin, cosine, cosine + half, inverse ? -1.0f : 1.0f, half);
    }
  });
}

void CpuOps::Attention(View<const float> q, const AttentionShape& shape,
                       std::span<const AttentionSequence<float>> sequences, View<float> out,
                       View<float> lse) {
  CheckAttention<float>(q, shape, sequences);
  ONEPASS_CHECK(Supports(shape).ok(), "Attention: a supported shape");
  onepass::Attention(q, shape, sequences, out, lse, attention_, pool_);
}

void CpuOps::AttentionBackward(View<const float> q, const AttentionShape& shape,
                               std::span<const AttentionSequence<float>> sequences,
                               View<const float> out, View<const float> lse, View<const float> dout,
                               View<float> dq) {
  CheckAttention<float>(q, shape, sequences);
  ONEPASS_CHECK(Supports(shape).ok(), "Attention: a supported shape");
  onepass::AttentionBackward(q, shape, sequences, out, lse, dout, dq, attention_, pool_);
}

void CpuOps::SwiGlu(View<const float> gate, View<const float> up, View<float> y) {
  CheckSameShape(gate, up, "SwiGlu: gate and up are [T, F]");
  CheckSameShape(gate, y, "SwiGlu: gate and y are [T, F]");
  const RowOps& ops = BestRowOps();
  ForRows(gate.rows(), gate.cols(), 4,
          [&](int64_t t) { ops.swiglu(gate.row(t), up.row(t), y.row(t), gate.cols()); });
}

void CpuOps::SwiGluBackward(View<const float> gate, View<const float> up, View<const float> dy,
                            View<float> dgate, View<float> dup) {
  CheckSameShape(gate, up, "SwiGluBackward: gate and up are [T, F]");
  CheckSameShape(gate, dy, "SwiGluBackward: gate and dy are [T, F]");
  CheckSameShape(gate, dgate, "SwiGluBackward: gate and dgate are [T, F]");
  CheckSameShape(gate, dup, "SwiGluBackward: gate and dup are [T, F]");
  const RowOps& ops = BestRowOps();
  ForRows(gate.rows(), gate.cols(), 5, [&](int64_t t) {
    ops.swiglu_backward(gate.row(t), up.row(t), dy.row(t), dgate.row(t), dup.row(t), gate.cols());
  });
}

void CpuOps::SoftmaxCrossEntropy(View<float> logits, std::span<const int32_t> targets,
                                 std::span<const float> scale, std::span<float> loss) {
  const RowOps& ops = BestRowOps();
  ForRows(logits.rows(), logits.cols(), 4, [&](int64_t t) {
    ONEPASS_CHECK(targets[t] >= 0 && targets[t] < logits.cols(),
                  "SoftmaxCrossEntropy: 0 <= target < V");
    loss[t] = ops.cross_entropy(logits.row(t), logits.cols(), targets[t], scale[t]);
  });
}

}  // namespace onepass
