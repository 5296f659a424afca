#include "kernels/ref/ref_ops.h"

#include <cmath>
#include <string>
#include <utility>

#include "kernels/shape_checks.h"

namespace onepass {
namespace {

// The whole weight as Real, row-major [N, K].
template <class Real>
class RefWeight final : public PreparedWeight {
 public:
  RefWeight(int64_t rows, int64_t cols, const RawTensor& tensor) : values_(rows, cols) {
    ConvertTo<Real>(tensor, 0, rows * cols, values_.data());
  }
  explicit RefWeight(const BlockTensor& tensor) : values_(tensor.shape[0], tensor.shape[1]) {
    std::vector<float> floats(static_cast<size_t>(values_.size()));
    Dequantise(tensor.type, tensor.bytes, floats);
    std::copy(floats.begin(), floats.end(), values_.data());
  }
  int64_t rows() const override { return values_.rows(); }
  int64_t cols() const override { return values_.cols(); }
  int64_t bytes() const override { return values_.bytes(); }
  const Real* row(int64_t n) const { return values_.data() + n * values_.cols(); }

 private:
  Buffer<Real> values_;
};

template <class Real>
double Sigmoid(Real x) {
  return 1 / (1 + std::exp(-static_cast<double>(x)));
}

}  // namespace

template <class Real>
Result<std::unique_ptr<const PreparedWeight>> RefOps<Real>::Prepare(const RawTensor& weight) {
  const bool known = weight.dtype == DType::kF32 || weight.dtype == DType::kF16 ||
                     weight.dtype == DType::kBF16 ||
                     (weight.dtype == DType::kF64 && DTypeOf<Real>::kValue == DType::kF64);
  if (!known) {
    return Unsupported("weight: want dtype F32, F16 or BF16, found " +
                       std::string(NameOf(weight.dtype)));
  }
  if (weight.shape.size() != 2) {
    return InvalidArgument("weight: want shape [N, K], found " + ShapeToString(weight.shape));
  }
  CheckWeight(weight);
  std::unique_ptr<const PreparedWeight> prepared =
      std::make_unique<RefWeight<Real>>(weight.shape[0], weight.shape[1], weight);
  return prepared;
}

template <class Real>
Result<std::unique_ptr<const PreparedWeight>> RefOps<Real>::Prepare(const BlockTensor& weight) {
  RETURN_IF_ERROR(CheckBlocks(weight));
  std::unique_ptr<const PreparedWeight> prepared = std::make_unique<RefWeight<Real>>(weight);
  return prepared;
}

template <class Real>
void RefOps<Real>::MatMuls(const MatMulInput<Real>& input,
                           std::span<const MatMulOutput<Real>> outputs) {
  CheckMatMuls<Real>(input, outputs);
  View<const Real> x = input.x;
  Buffer<Real> made;
  if (!input.norm_weight.empty() || !input.up.empty()) {
    made = Buffer<Real>(x.rows(), x.cols());
    if (input.up.empty()) {
      RmsNorm(x, input.norm_weight, input.norm_eps, made.view(), input.inv_rms);
    } else {
      SwiGlu(x, input.up, made.view());
    }
    x = made.view();
  }
  for (const MatMulOutput<Real>& output : outputs) Multiply(x, output);
}

template <class Real>
void RefOps<Real>::Multiply(View<const Real> x, const MatMulOutput<Real>& output) {
  const auto& weight = static_cast<const RefWeight<Real>&>(*output.w);
  const View<Real> y = output.y;
  for (int64_t t = 0; t < x.rows(); ++t) {
    const Real* xt = x.row(t);
    for (int64_t n = 0; n < weight.rows(); ++n) {
      const Real* wn = weight.row(n);
      double sum = output.bias.empty() ? 0 : output.bias[n];
      for (int64_t k = 0; k < weight.cols(); ++k) sum += static_cast<double>(xt[k]) * wn[k];
      y(t, n) = static_cast<Real>(output.accumulate ? y(t, n) + sum : sum);
    }
  }
}

template <class Real>
void RefOps<Real>::MatMulBackward(View<const Real> dy, const PreparedWeight& w, View<Real> dx,
                                  bool accumulate) {
  CheckMatMulBackward<Real>(dy, w, dx);
  const auto& weight = static_cast<const RefWeight<Real>&>(w);
  scratch_.resize(w.cols());
  for (int64_t t = 0; t < dy.rows(); ++t) {
    std::fill(scratch_.begin(), scratch_.end(), 0.0);
    for (int64_t n = 0; n < w.rows(); ++n) {
      const double d = dy(t, n);
      const Real* wn = weight.row(n);
      for (int64_t k = 0; k < w.cols(); ++k) scratch_[k] += d * wn[k];
    }
    for (int64_t k = 0; k < w.cols(); ++k) {
      dx(t, k) = static_cast<Real>((accumulate ? dx(t, k) : 0) + scratch_[k]);
    }
  }
}

template <class Real>
void RefOps<Real>::RmsNorm(View<const Real> x, std::span<const Real> weight, double eps,
                           View<Real> y, std::span<Real> inv_rms) {
  CheckSameShape(x, y, "RmsNorm: x and y are [T, C]");
  const int64_t c = x.cols();
  for (int64_t t = 0; t < x.rows(); ++t) {
    double squares = 0;
    for (int64_t i = 0; i < c; ++i) squares += static_cast<double>(x(t, i)) * x(t, i);
    const double inverse = 1 / std::sqrt(squares / static_cast<double>(c) + eps);
    inv_rms[t] = static_cast<Real>(inverse);
    for (int64_t i = 0; i < c; ++i) y(t, i) = static_cast<Real>(x(t, i) * inverse * weight[i]);
  }
}

// y_i = x_i r w_i with r = (mean(x^2) + eps)^(-1/2), hence dr/dx_j = -r^3 x_j / C and
// dx_j = r w_j dy_j - x_j r^3 / C * sum_i(dy_i w_i x_i).
template <class Real>
void RefOps<Real>::RmsNormBackward(View<const Real> x, std::span<const Real> weight,
                                   std::span<const Real> inv_rms, View<const Real> dy,
                                   View<Real> dx) {
  CheckSameShape(x, dy, "RmsNormBackward: x and dy are [T, C]");
  CheckSameShape(x, dx, "RmsNormBackward: x and dx are [T, C]");
  const int64_t c = x.cols();
  for (int64_t t = 0; t < x.rows(); ++t) {
    const double r = inv_rms[t];
    double dot = 0;
    for (int64_t i = 0; i < c; ++i) dot += static_cast<double>(dy(t, i)) * weight[i] * x(t, i);
    const double factor = r * r * r * dot / static_cast<double>(c);
    for (int64_t i = 0; i < c; ++i) {
      dx(t, i) = static_cast<Real>(dx(t, i) + r * weight[i] * dy(t, i) - factor * x(t, i));
    }
  }
}

template <class Real>
void RefOps<Real>::Rope(View<Real> x, std::span<const int64_t> positions, const RopeTable& table,
                        bool inverse) {
  const int64_t half = static_cast<int64_t>(table.inv_freq.size());
  ONEPASS_CHECK(half > 0 && x.cols() % (2 * half) == 0, "Rope: x is [T, heads * D]");
  ONEPASS_CHECK(static_cast<int64_t>(positions.size()) == x.rows(), "Rope: positions is [T]");
  for (int64_t t = 0; t < x.rows(); ++t) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(positions[t]) * table.inv_freq[i];
      const double cosine = std::cos(angle);
      const double sine = inverse ? -std::sin(angle) : std::sin(angle);
      for (int64_t begin = 0; begin < x.cols(); begin += 2 * half) {
        const double a = x(t, begin + i);
        const double b = x(t, begin + half + i);
        x(t, begin + i) = static_cast<Real>(a * cosine - b * sine);
        x(t, begin + half + i) = static_cast<Real>(b * cosine + a * sine);
      }
    }
  }
}

template <class Real>
void RefOps<Real>::SwiGlu(View<const Real> gate, View<const Real> up, View<Real> y) {
  CheckSameShape(gate, up, "SwiGlu: gate and up are [T, F]");
  CheckSameShape(gate, y, "SwiGlu: gate and y are [T, F]");
  for (int64_t t = 0; t < gate.rows(); ++t) {
    for (int64_t f = 0; f < gate.cols(); ++f) {
      y(t, f) = static_cast<Real>(gate(t, f) * Sigmoid(gate(t, f)) * up(t, f));
    }
  }
}

template <class Real>
void RefOps<Real>::SwiGluBackward(View<const Real> gate, View<const Real> up, View<const Real> dy,
                                  View<Real> dgate, View<Real> dup) {
  CheckSameShape(gate, up, "SwiGluBackward: gate and up are [T, F]");
  CheckSameShape(gate, dy, "SwiGluBackward: gate and dy are [T, F]");
  CheckSameShape(gate, dgate, "SwiGluBackward: gate and dgate are [T, F]");
  CheckSameShape(gate, dup, "SwiGluBackward: gate and dup are [T, F]");
  for (int64_t t = 0; t < gate.rows(); ++t) {
    for (int64_t f = 0; f < gate.cols(); ++f) {
      const double g = gate(t, f);
      const double u = up(t, f);
      const double d = dy(t, f);
      const double s = Sigmoid(gate(t, f));
      dgate(t, f) = static_cast<Real>(d * u * s * (1 + g * (1 - s)));
      dup(t, f) = static_cast<Real>(d * g * s);
    }
  }
}

template <class Real>
void RefOps<Real>::SoftmaxCrossEntropy(View<Real> logits, std::span<const int32_t> targets,
                                       std::span<const Real> scale, std::span<Real> loss) {
  const int64_t v = logits.cols();
  for (int64_t t = 0; t < logits.rows(); ++t) {
    const int32_t target = targets[t];
    ONEPASS_CHECK(target >= 0 && target < v, "SoftmaxCrossEntropy: 0 <= target < V");
    Real* row = logits.row(t);
    const double max = *std::max_element(row, row + v);
    double sum = 0;
    for (int64_t i = 0; i < v; ++i) sum += std::exp(row[i] - max);
    loss[t] = static_cast<Real>(std::log(sum) + max - row[target]);
    for (int64_t i = 0; i < v; ++i) {
      const double p = std::exp(row[i] - max) / sum;
      row[i] = static_cast<Real>(scale[t] * (p - (i == target ? 1 : 0)));
    }
  }
}

template class RefOps<float>;
template class RefOps<double>;

}  // namespace onepass
