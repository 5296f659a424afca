// For tests: the keys of an attention problem stored in BF16 or I8.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/testing.h"
#include "tensor/narrow_row.h"

namespace onepass::testing {

// Other keys in a narrow type, cut into runs of given lengths. Each run lies in memory of its own,
// at an address of the least alignment, with a head stride of its own.
class NarrowKeys {
 public:
  NarrowKeys(const Keys<float>& keys, DType dtype, int64_t kv_heads, int64_t head_dim,
             std::span<const int64_t> run_lengths)
      : dtype_(dtype), kv_heads_(kv_heads), head_dim_(head_dim) {
    const int64_t row = StoredElements(dtype, head_dim);
    int64_t first = 0;
    for (const int64_t length : run_lengths) {
      Stored& stored = stored_.emplace_back();
      stored.count = length;
      stored.head_stride = (length + 2) * row + 1;
      for (std::vector<std::byte>& values : stored.values) {
        values.resize(static_cast<size_t>((kv_heads * stored.head_stride + 1) * SizeOf(dtype)));
      }
      for (int64_t g = 0; g < kv_heads; ++g) {
        for (int64_t j = 0; j < length; ++j) {
          for (int what = 0; what < 2; ++what) {
            StoreRow(
                dtype, keys.At(what, g, first + j, 0), head_dim,
                stored.first(what, dtype) + (g * stored.head_stride + j * row) * SizeOf(dtype));
          }
        }
      }
      first += length;
    }
    count_ = first;
  }

  // What attention of Real reads: constants.
  template <class Real>
  std::vector<KvRun<Real>> runs() const {
    std::vector<KvRun<Real>> runs;
    for (const Stored& stored : stored_) {
      runs.push_back({.k = stored.first(0, dtype_),
                      .v = stored.first(1, dtype_),
                      .head_stride = stored.head_stride,
                      .count = stored.count,
                      .dtype = dtype_});
    }
    return runs;
  }

  // The values that they stand for, in one run.
  Keys<float> Dequantised() const {
    Rng unused(0);
    Keys<float> keys(kv_heads_, head_dim_, std::vector<int64_t>{count_}, unused);
    int64_t first = 0;
    for (const KvRun<float>& run : runs<float>()) {
      for (int64_t g = 0; g < kv_heads_; ++g) {
        for (int64_t j = 0; j < run.count; ++j) {
          LoadRow(dtype_, run.k_row(g, j, head_dim_), head_dim_, keys.At(0, g, first + j, 0));
          LoadRow(dtype_, run.v_row(g, j, head_dim_), head_dim_, keys.At(1, g, first + j, 0));
        }
      }
      first += run.count;
    }
    return keys;
  }

 private:
  struct Stored {
    int64_t count = 0;
    int64_t head_stride = 0;
    std::vector<std::byte> values[2];

    std::byte* first(int what, DType dtype) { return values[what].data() + SizeOf(dtype); }
    const std::byte* first(int what, DType dtype) const {
      return values[what].data() + SizeOf(dtype);
    }
  };
  DType dtype_;
  int64_t kv_heads_;
  int64_t head_dim_;
  int64_t count_ = 0;
  std::vector<Stored> stored_;
};

}  // namespace onepass::testing
