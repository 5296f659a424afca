// Attention of the oracle: every score of a row at once, then softmax, as in a textbook.
#include <algorithm>
#include <cmath>
#include <deque>
#include <vector>

#include "kernels/ref/ref_ops.h"
#include "kernels/shape_checks.h"

namespace onepass {
namespace {

// One key of a head with its value and where their gradients go (null: nowhere).
template <class Real>
struct Key {
  const Real* k;
  const Real* v;
  Real* dk;
  Real* dv;
};

// The visible keys of a head, in order. Those of another type than Real are dequantised.
template <class Real>
class KeysOfHead {
 public:
  KeysOfHead(const AttentionSequence<Real>& sequence, int64_t kv_head, int64_t head_dim) {
    for (const KvRun<Real>& run : sequence.runs) {
      for (int64_t r = 0; r < run.count; ++r) {
        const int64_t at = kv_head * run.head_stride + r * head_dim;
        keys_.push_back({ValuesOf(run.dtype, run.k_row(kv_head, r, head_dim), head_dim),
                         ValuesOf(run.dtype, run.v_row(kv_head, r, head_dim), head_dim),
                         run.dk == nullptr ? nullptr : run.dk + at,
                         run.dv == nullptr ? nullptr : run.dv + at});
      }
    }
  }

  int64_t count() const { return static_cast<int64_t>(keys_.size()); }
  const Key<Real>& operator[](int64_t i) const { return keys_[i]; }

 private:
  const Real* ValuesOf(DType dtype, const void* row, int64_t count) {
    if (dtype == DTypeOf<Real>::kValue) return static_cast<const Real*>(row);
    std::vector<float> values(count);
    LoadRow(dtype, row, count, values.data());
    return dequantised_.emplace_back(values.begin(), values.end()).data();
  }

  std::vector<Key<Real>> keys_;
  std::deque<std::vector<Real>> dequantised_;
};

template <class Real>
double Dot(const Real* a, const Real* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

}  // namespace

template <class Real>
void RefOps<Real>::Attention(View<const Real> q, const AttentionShape& shape,
                             std::span<const AttentionSequence<Real>> sequences, View<Real> out,
                             View<Real> lse) {
  CheckAttention<Real>(q, shape, sequences);
  const int64_t d = shape.head_dim;
  const int64_t group = shape.heads / shape.kv_heads;
  for (const AttentionSequence<Real>& sequence : sequences) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      const KeysOfHead<Real> keys(sequence, h / group, d);
      const int64_t before = keys.count() - sequence.query_count;
      std::vector<double> scores(keys.count());
      std::vector<double> sums(d);
      for (int64_t i = 0; i < sequence.query_count; ++i) {
        const int64_t t = sequence.query_begin + i;
        const int64_t visible = before + i + 1;
        for (int64_t j = 0; j < visible; ++j) {
          scores[j] = Dot(q.row(t) + h * d, keys[j].k, d) * shape.scale;
        }
        const double max = *std::max_element(scores.begin(), scores.begin() + visible);
        double total = 0;
        std::fill(sums.begin(), sums.end(), 0.0);
        for (int64_t j = 0; j < visible; ++j) {
          const double weight = std::exp(scores[j] - max);
          total += weight;
          for (int64_t e = 0; e < d; ++e) sums[e] += weight * keys[j].v[e];
        }
        for (int64_t e = 0; e < d; ++e) out(t, h * d + e) = static_cast<Real>(sums[e] / total);
        lse(t, h) = static_cast<Real>(max + std::log(total));
      }
    }
  }
}

// With p = exp(s - lse), dp = dout . v and delta = dout . out: ds = p (dp - delta),
// dq += ds k scale, dk += ds q scale, dv += p dout.
template <class Real>
void RefOps<Real>::AttentionBackward(View<const Real> q, const AttentionShape& shape,
                                     std::span<const AttentionSequence<Real>> sequences,
                                     View<const Real> out, View<const Real> lse,
                                     View<const Real> dout, View<Real> dq) {
  CheckAttention<Real>(q, shape, sequences);
  const int64_t d = shape.head_dim;
  const int64_t group = shape.heads / shape.kv_heads;
  std::vector<double> dk(d);
  std::vector<double> dv(d);
  for (const AttentionSequence<Real>& sequence : sequences) {
    const int64_t queries = sequence.query_count;
    std::vector<double> dq_sums(queries * group * d);
    for (int64_t g = 0; g < shape.kv_heads; ++g) {
      const KeysOfHead<Real> keys(sequence, g, d);
      const int64_t before = keys.count() - queries;
      std::fill(dq_sums.begin(), dq_sums.end(), 0.0);
      for (int64_t j = 0; j < keys.count(); ++j) {
        const Key<Real>& key = keys[j];
        std::fill(dk.begin(), dk.end(), 0.0);
        std::fill(dv.begin(), dv.end(), 0.0);
        for (int64_t i = std::max<int64_t>(0, j - before); i < queries; ++i) {
          const int64_t t = sequence.query_begin + i;
          for (int64_t m = 0; m < group; ++m) {
            const int64_t h = g * group + m;
            const Real* q_row = q.row(t) + h * d;
            const Real* dout_row = dout.row(t) + h * d;
            const double p = std::exp(Dot(q_row, key.k, d) * shape.scale - lse(t, h));
            const double delta = Dot(dout_row, out.row(t) + h * d, d);
            const double ds = p * (Dot(dout_row, key.v, d) - delta) * shape.scale;
            double* dq_row = dq_sums.data() + (i * group + m) * d;
            for (int64_t e = 0; e < d; ++e) {
              dq_row[e] += ds * key.k[e];
              dk[e] += ds * q_row[e];
              dv[e] += p * dout_row[e];
            }
          }
        }
        for (int64_t e = 0; e < d; ++e) {
          if (key.dk != nullptr) key.dk[e] = static_cast<Real>(key.dk[e] + dk[e]);
          if (key.dv != nullptr) key.dv[e] = static_cast<Real>(key.dv[e] + dv[e]);
        }
      }
      for (int64_t i = 0; i < queries; ++i) {
        const int64_t t = sequence.query_begin + i;
        for (int64_t e = 0; e < group * d; ++e) {
          Real& at = dq(t, g * group * d + e);
          at = static_cast<Real>(at + dq_sums[i * group * d + e]);
        }
      }
    }
  }
}

template void RefOps<float>::Attention(View<const float>, const AttentionShape&,
                                       std::span<const AttentionSequence<float>>, View<float>,
                                       View<float>);
template void RefOps<double>::Attention(View<const double>, const AttentionShape&,
                                        std::span<const AttentionSequence<double>>, View<double>,
                                        View<double>);
template void RefOps<float>::AttentionBackward(View<const float>, const AttentionShape&,
                                               std::span<const AttentionSequence<float>>,
                                               View<const float>, View<const float>,
                                               View<const float>, View<float>);
template void RefOps<double>::AttentionBackward(View<const double>, const AttentionShape&,
                                                std::span<const AttentionSequence<double>>,
                                                View<const double>, View<const double>,
                                                View<const double>, View<double>);

}  // namespace onepass
