#include <cstring>
#include <functional>
#include <vector>

#include "kernels/cpu/gemm.h"

namespace onepass {
namespace {

uint32_t Bf16At(const std::byte* bytes, int64_t index) {
  uint16_t bits;
  std::memcpy(&bits, bytes + index * 2, sizeof(bits));
  return bits;
}

}  // namespace

PackedWeight::PackedWeight(const RawTensor& weight, WeightMemory& memory, ThreadPool& pool)
    : rows_(weight.shape[0]), cols_(weight.shape[1]) {
  if (weight.dtype == DType::kBF16) {
    bf16_ = memory.Take<BF16Pair>(panel_count() * cols_ * (kPanel / 2));
    auto pack = [&](int64_t begin, int64_t end, int) {
      for (int64_t p = begin; p < end; ++p) {
        BF16Pair* panel = bf16_.data() + p * cols_ * (kPanel / 2);
        for (int64_t j = 0; j < kPanel / 2; ++j) {
          const int64_t low = p * kPanel + j;
          const int64_t high = low + kPanel / 2;
          for (int64_t k = 0; k < cols_; ++k) {
            uint32_t word = 0;
            if (low < rows_) word = Bf16At(weight.bytes.data(), low * cols_ + k);
            if (high < rows_) word |= Bf16At(weight.bytes.data(), high * cols_ + k) << 16;
            panel[k * (kPanel / 2) + j] = BF16Pair{word};
          }
        }
      }
    };
    pool.ParallelFor(panel_count(), 1, std::ref(pack));
    return;
  }
  PackFloats([&](int64_t n,
                 std::span<float> row) { ConvertTo<float>(weight, n * cols_, cols_, row.data()); },
             memory, pool);
}

PackedWeight::PackedWeight(const BlockTensor& weight, WeightMemory& memory, ThreadPool& pool)
    : rows_(weight.shape[0]), cols_(weight.shape[1]) {
  const auto row_bytes = static_cast<size_t>(weight.row_bytes());
  PackFloats(
      [&](int64_t n, std::span<float> row) {
        Dequantise(weight.type, weight.bytes.subspan(static_cast<size_t>(n) * row_bytes, row_bytes),
                   row);
      },
      memory, pool);
}

void PackedWeight::PackFloats(const std::function<void(int64_t n, std::span<float> row)>& read_row,
                              WeightMemory& memory, ThreadPool& pool) {
  f32_ = memory.Take<float>(panel_count() * cols_ * kPanel);
  auto pack = [&](int64_t begin, int64_t end, int) {
    std::vector<float> row(cols_);
    for (int64_t p = begin; p < end; ++p) {
      float* panel = f32_.data() + p * cols_ * kPanel;
      for (int64_t j = 0; j < kPanel && p * kPanel + j < rows_; ++j) {
        read_row(p * kPanel + j, row);
        for (int64_t k = 0; k < cols_; ++k) panel[k * kPanel + j] = row[k];
      }
    }
  };
  pool.ParallelFor(panel_count(), 1, std::ref(pack));
}

float* GemmScratch::Packed(int64_t floats) {
  if (packed_.size() < floats) packed_ = Buffer<float>(1, floats);
  return packed_.data();
}

void GemmScratch::Reserve(int thread_count, int64_t cols) {
  const int64_t floats = (kRowBlock + kDepthBlock) * kPanel + cols;
  if (per_thread_.rows() < thread_count || per_thread_.cols() < floats) {
    // Rows a multiple of 16 floats long, so that each begins on a cache line.
    per_thread_ = Buffer<float>(thread_count, RoundUp(floats, 16));
  }
}

float* GemmScratch::Sums(int thread) { return per_thread_.data() + thread * per_thread_.cols(); }

float* GemmScratch::Block(int thread) { return Sums(thread) + kRowBlock * kPanel; }

float* GemmScratch::Row(int thread) { return Block(thread) + kDepthBlock * kPanel; }

}  // namespace onepass
