#include <algorithm>
#include <cstring>
#include <functional>
#include <vector>

#include "kernels/cpu/gemm.h"

namespace onepass {
namespace {

template <class T>
T ElementAt(std::span<const std::byte> bytes, int64_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

}  // namespace

template <class Stored, class Fill>
void PackedWeight::PackPanels(WeightPiece<Stored>& panels, const Fill& fill, WeightMemory& memory,
                              ThreadPool& pool) {
  const int64_t panel_size = cols_ * kRowElements<Stored>;
  panels = memory.Take<Stored>(panel_count() * panel_size);
  auto pack = [&](int64_t begin, int64_t end, int) {
    for (int64_t p = begin; p < end; ++p) {
      fill(p * kPanel, std::min<int64_t>(kPanel, rows_ - p * kPanel),
           panels.data() + p * panel_size);
    }
  };
  pool.ParallelFor(panel_count(), 1, std::ref(pack));
}

PackedWeight::PackedWeight(const RawTensor& weight, WeightMemory& memory, ThreadPool& pool)
    : rows_(weight.shape[0]), cols_(weight.shape[1]) {
  if (weight.dtype == DType::kBF16) {
    const auto fill = [&](int64_t first, int64_t count, BF16Pair* panel) {
      const auto bits = [&](int64_t j, int64_t k) -> uint32_t {
        return j < count ? ElementAt<uint16_t>(weight.bytes, (first + j) * cols_ + k) : 0;
      };
      for (int64_t j = 0; j < kPanel / 2; ++j) {
        for (int64_t k = 0; k < cols_; ++k) {
          panel[k * (kPanel / 2) + j] = BF16Pair{bits(j, k) | bits(j + kPanel / 2, k) << 16};
        }
      }
    };
    PackPanels(bf16_, fill, memory, pool);
    return;
  }
  if (weight.dtype == DType::kF16) {
    const auto fill = [&](int64_t first, int64_t count, F16* panel) {
      for (int64_t j = 0; j < count; ++j) {
        for (int64_t k = 0; k < cols_; ++k) {
          panel[k * kPanel + j] = ElementAt<F16>(weight.bytes, (first + j) * cols_ + k);
        }
      }
    };
    PackPanels(f16_, fill, memory, pool);
    return;
  }
  const auto fill = [&](int64_t first, int64_t count, float* panel) {
    std::vector<float> row(static_cast<size_t>(cols_));
    for (int64_t j = 0; j < count; ++j) {
      ConvertTo<float>(weight, (first + j) * cols_, cols_, row.data());
      for (int64_t k = 0; k < cols_; ++k) panel[k * kPanel + j] = row[static_cast<size_t>(k)];
    }
  };
  PackPanels(f32_, fill, memory, pool);
}

float* GemmScratch::Packed(int64_t floats) {
  if (packed_.size() < floats) packed_ = Buffer<float>(1, floats);
  return packed_.data();
}

void GemmScratch::Reserve(int thread_count, int64_t made_cols) {
  const int64_t floats = (kRowBlock + kDepthBlock) * kPanel + made_cols;
  if (per_thread_.rows() < thread_count || per_thread_.cols() < floats) {
    // Rows a multiple of 16 floats long, so that each begins on a cache line.
    per_thread_ = Buffer<float>(thread_count, RoundUp(floats, 16));
  }
}

float* GemmScratch::Sums(int thread) { return per_thread_.data() + thread * per_thread_.cols(); }

float* GemmScratch::Block(int thread) { return Sums(thread) + kRowBlock * kPanel; }

float* GemmScratch::Row(int thread) { return Block(thread) + kDepthBlock * kPanel; }

}  // namespace onepass
