// What the kernel tests share: ops, seeded random blocks with odd strides and addresses,
// comparisons, and attention problems with their KV cut into runs. For tests only.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/rng.h"
#include "kernels/ops.h"
#include "kernels/registry.h"
#include "tensor/blocks.h"
#include "tensor/tensor.h"

namespace onepass::testing {

inline std::unique_ptr<Ops<float>> CpuOps(int threads) {
  return std::move(MakeOps("cpu", {.thread_count = threads})).value();
}

// Sizes of an attention problem: `queries` queries at the end of keys that lie in runs.
struct AttentionCase {
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
  int64_t queries;
  std::vector<int64_t> runs;
};

inline AttentionShape ShapeOf(int64_t heads, int64_t kv_heads, int64_t head_dim) {
  return {.heads = heads,
          .kv_heads = kv_heads,
          .head_dim = head_dim,
          .scale = 1 / std::sqrt(static_cast<double>(head_dim))};
}

// Owns a [rows, cols] block whose rows are cols + padding apart and begin `offset` elements after
// an aligned address.
template <class Real>
class Block {
 public:
  Block() = default;
  Block(int64_t rows, int64_t cols, int64_t padding = 0, int64_t offset = 0)
      : rows_(rows),
        cols_(cols),
        stride_(cols + padding),
        offset_(offset),
        values_(static_cast<size_t>(rows * (cols + padding) + offset)) {}

  View<Real> view() { return {values_.data() + offset_, rows_, cols_, stride_}; }
  View<const Real> view() const { return {values_.data() + offset_, rows_, cols_, stride_}; }
  std::span<Real> span() { return std::span<Real>(values_).subspan(offset_); }
  std::span<const Real> span() const { return std::span<const Real>(values_).subspan(offset_); }

  Block& Fill(Rng& rng, double deviation = 1) {
    for (Real& v : values_) v = static_cast<Real>(rng.Normal() * deviation);
    return *this;
  }
  template <class Other>
  Block<Other> As() const {
    Block<Other> other(rows_, cols_);
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = 0; c < cols_; ++c) other.view()(r, c) = static_cast<Other>(view()(r, c));
    }
    return other;
  }

 private:
  int64_t rows_ = 0;
  int64_t cols_ = 0;
  int64_t stride_ = 0;
  int64_t offset_ = 0;
  std::vector<Real> values_;
};

// The largest |a - b|, over the largest |b| (or 1). NaN if any is.
template <class A, class B>
double RelativeError(View<A> a, View<B> b) {
  double error = 0;
  double size = 1;
  for (int64_t r = 0; r < a.rows(); ++r) {
    for (int64_t c = 0; c < a.cols(); ++c) {
      const double difference =
          std::abs(static_cast<double>(a(r, c)) - static_cast<double>(b(r, c)));
      if (std::isnan(difference)) return difference;
      error = std::max(error, difference);
      size = std::max(size, std::abs(static_cast<double>(b(r, c))));
    }
  }
  return error / size;
}

template <class A, class B>
bool SameBits(View<A> a, View<B> b) {
  if (a.rows() != b.rows() || a.cols() != b.cols()) return false;
  for (int64_t r = 0; r < a.rows(); ++r) {
    if (std::memcmp(a.row(r), b.row(r), static_cast<size_t>(a.cols()) * sizeof(A)) != 0) {
      return false;
    }
  }
  return true;
}

// A random weight [rows, cols] stored in `dtype`.
class StoredWeight {
 public:
  StoredWeight(int64_t rows, int64_t cols, DType dtype, Rng& rng, double deviation = 0.3) {
    tensor_.dtype = dtype;
    tensor_.shape = {rows, cols};
    bytes_.resize(static_cast<size_t>(rows * cols * SizeOf(dtype)) + 1);
    std::byte* at = bytes_.data() + 1;  // files align nothing
    for (int64_t i = 0; i < rows * cols; ++i) {
      const double v = rng.Normal() * deviation;
      switch (dtype) {
        case DType::kF64:
          at = Put(at, v);
          break;
        case DType::kF16:
          at = Put(at, ToF16(static_cast<float>(v)));
          break;
        case DType::kBF16:
          at = Put(at, ToBF16(static_cast<float>(v)));
          break;
        default:
          at = Put(at, static_cast<float>(v));
          break;
      }
    }
    tensor_.bytes = std::span<const std::byte>(bytes_).subspan(1);
  }
  StoredWeight(const StoredWeight&) = delete;
  StoredWeight& operator=(const StoredWeight&) = delete;
  const RawTensor& tensor() const { return tensor_; }

 private:
  template <class T>
  static std::byte* Put(std::byte* at, T v) {
    std::memcpy(at, &v, sizeof(v));
    return at + sizeof(v);
  }
  RawTensor tensor_;
  std::vector<std::byte> bytes_;
};

// Where a block has an f16 scale, and the largest integer that the scale is a factor of.
struct ScalePlace {
  size_t at;
  double largest;
};
inline std::vector<ScalePlace> ScalePlaces(BlockType type) {
  switch (type) {
    case BlockType::kQ8_0:
      return {{0, 128}};
    case BlockType::kQ4_0:
      return {{0, 8}};
    case BlockType::kQ4_K:
      return {{0, 63 * 15}, {2, 63}};
    default:  // Q6_K
      return {{208, 128 * 32}};
  }
}

// A random weight [rows, cols] in blocks of 8 to 4 bits: any bytes, small scales of either sign.
class StoredBlocks {
 public:
  StoredBlocks(int64_t rows, int64_t cols, BlockType type, Rng& rng, double deviation = 0.3) {
    tensor_.type = type;
    tensor_.shape = {rows, cols};
    const BlockFormat& format = FormatOf(type);
    bytes_.resize(static_cast<size_t>(rows * cols / format.elements * format.bytes) + 1);
    for (std::byte& b : bytes_) b = static_cast<std::byte>(rng.Uniform(256));
    for (size_t at = 1; at < bytes_.size(); at += static_cast<size_t>(format.bytes)) {
      for (const ScalePlace& place : ScalePlaces(type)) {
        const F16 scale = ToF16(static_cast<float>(rng.Normal() * deviation / place.largest));
        std::memcpy(&bytes_[at + place.at], &scale, sizeof(scale));
      }
    }
    tensor_.bytes = std::span<const std::byte>(bytes_).subspan(1);  // files align nothing
  }
  StoredBlocks(const StoredBlocks&) = delete;
  StoredBlocks& operator=(const StoredBlocks&) = delete;
  const BlockTensor& tensor() const { return tensor_; }

 private:
  BlockTensor tensor_;
  std::vector<std::byte> bytes_;
};

// The visible keys of one sequence for all heads, [G][N][D], cut into runs of given lengths, each
// in memory of its own with its own head stride.
template <class Real>
class Keys {
 public:
  Keys(int64_t kv_heads, int64_t head_dim, std::span<const int64_t> run_lengths, Rng& rng)
      : kv_heads_(kv_heads), head_dim_(head_dim) {
    for (int64_t length : run_lengths) {
      count_ += length;
      stored_.emplace_back(kv_heads, head_dim, length, rng);
    }
    MakeRuns();
  }

  // The same keys, in double or float, or cut otherwise. Gradients start at zero.
  template <class Other>
  Keys<Other> Recut(std::span<const int64_t> run_lengths) const {
    Rng unused(0);
    Keys<Other> other(kv_heads_, head_dim_, run_lengths, unused);
    for (int64_t g = 0; g < kv_heads_; ++g) {
      for (int64_t j = 0; j < count_; ++j) {
        for (int64_t e = 0; e < head_dim_; ++e) {
          *other.At(0, g, j, e) = static_cast<Other>(*At(0, g, j, e));
          *other.At(1, g, j, e) = static_cast<Other>(*At(1, g, j, e));
        }
      }
    }
    return other;
  }

  // Makes a run a constant: no gradients.
  void Freeze(size_t run) {
    runs_[run].dk = nullptr;
    runs_[run].dv = nullptr;
  }

  int64_t count() const { return count_; }
  std::span<const KvRun<Real>> runs() const { return runs_; }
  const KvRun<Real>& run(size_t i) const { return runs_[i]; }

  // Element e of key j of head g. what: 0 k, 1 v, 2 dk, 3 dv.
  Real* At(int what, int64_t g, int64_t j, int64_t e) {
    return const_cast<Real*>(std::as_const(*this).At(what, g, j, e));
  }
  const Real* At(int what, int64_t g, int64_t j, int64_t e) const {
    size_t run = 0;
    while (j >= runs_[run].count) j -= runs_[run++].count;
    return stored_[run].values[what].data() + g * stored_[run].head_stride + j * head_dim_ + e;
  }
  // All of one kind as a block [G * N, D].
  Block<Real> All(int what) const {
    Block<Real> all(kv_heads_ * count_, head_dim_);
    for (int64_t g = 0; g < kv_heads_; ++g) {
      for (int64_t j = 0; j < count_; ++j) {
        for (int64_t e = 0; e < head_dim_; ++e) all.view()(g * count_ + j, e) = *At(what, g, j, e);
      }
    }
    return all;
  }

 private:
  struct Stored {
    Stored(int64_t kv_heads, int64_t head_dim, int64_t length, Rng& rng) {
      count = length;
      head_stride = (length + 3) * head_dim + 1;
      for (int what = 0; what < 4; ++what) {
        values[what].resize(static_cast<size_t>(kv_heads * head_stride));
        if (what >= 2) continue;
        for (Real& v : values[what]) v = static_cast<Real>(rng.Normal());
      }
    }
    int64_t count = 0;
    int64_t head_stride = 0;
    std::vector<Real> values[4];
  };

  void MakeRuns() {
    for (Stored& stored : stored_) {
      runs_.push_back({.k = stored.values[0].data(),
                       .v = stored.values[1].data(),
                       .head_stride = stored.head_stride,
                       .count = stored.count,
                       .dk = stored.values[2].data(),
                       .dv = stored.values[3].data()});
    }
  }

  int64_t kv_heads_;
  int64_t head_dim_;
  int64_t count_ = 0;
  std::vector<Stored> stored_;
  std::vector<KvRun<Real>> runs_;
};

// How far dx += dy W and dx = dy W, which must not read dx, are from the oracle's, for random dy of
// so many rows and with odd strides.
inline std::array<double, 2> BackwardErrors(Ops<float>& ops, const PreparedWeight& w,
                                            Ops<float>& oracle, const PreparedWeight& w_oracle,
                                            int64_t rows, Rng& rng) {
  const auto dy = Block<float>(rows, w.rows(), 2, 1).Fill(rng);
  auto dx = Block<float>(rows, w.cols(), 1, 2).Fill(rng);
  auto want = dx.As<float>();
  const auto error = [&](bool accumulate) {
    ops.MatMulBackward(dy.view(), w, dx.view(), accumulate);
    oracle.MatMulBackward(dy.view(), w_oracle, want.view(), accumulate);
    return RelativeError(dx.view(), want.view());
  };
  const double added = error(true);
  if (rows > 0) dx.view()(0, 0) = std::numeric_limits<float>::quiet_NaN();
  return {added, error(false)};
}

}  // namespace onepass::testing
