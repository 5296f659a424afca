// Products with packed weights at the shapes of a 135M model, for few and many rows. Weights are
// f32, bf16, or in blocks of 8 or 4 bits.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "core/rng.h"
#include "kernels/registry.h"
#include "peak.h"
#include "tensor/tensor.h"

namespace onepass {
namespace {

struct Weight {
  Weight(int64_t rows, int64_t cols, DType dtype) {
    Rng rng(1);
    tensor.dtype = dtype;
    tensor.shape = {rows, cols};
    bytes.resize(rows * cols * SizeOf(dtype));
    for (int64_t i = 0; i < rows * cols; ++i) {
      const float v = static_cast<float>(rng.UniformDouble() - 0.5);
      const BF16 b = ToBF16(v);
      if (dtype == DType::kF32) {
        std::memcpy(&bytes[i * 4], &v, 4);
      } else {
        std::memcpy(&bytes[i * 2], &b, 2);
      }
    }
    tensor.bytes = bytes;
  }
  std::vector<std::byte> bytes;
  RawTensor tensor;
};

struct Blocks {
  Blocks(int64_t rows, int64_t cols, int bits) {
    Rng rng(1);
    tensor.type = bits == 8 ? BlockType::kQ8_0 : BlockType::kQ4_0;
    tensor.shape = {rows, cols};
    bytes.resize(rows * tensor.row_bytes());
    for (std::byte& b : bytes) b = static_cast<std::byte>(rng.Uniform(256));
    const F16 scale = ToF16(0.01f);
    for (size_t at = 0; at < bytes.size(); at += FormatOf(tensor.type).bytes) {
      std::memcpy(&bytes[at], &scale, sizeof(scale));
    }
    tensor.bytes = bytes;
  }
  std::vector<std::byte> bytes;
  BlockTensor tensor;
};

std::unique_ptr<const PreparedWeight> Prepared(Ops<float>& ops, int64_t n, int64_t k,
                                               int64_t bits) {
  if (bits < 16) {
    const Blocks blocks(n, k, static_cast<int>(bits));
    return std::move(ops.Prepare(blocks.tensor)).value();
  }
  const Weight weight(n, k, bits == 16 ? DType::kBF16 : DType::kF32);
  return std::move(ops.Prepare(weight.tensor)).value();
}

enum Direction : int64_t { kForward, kBackward };

// Arguments: direction, bits of a weight, N, K, T.
void MatMul(benchmark::State& state) {
  auto ops = std::move(MakeOps("cpu", {})).value();
  const bool backward = state.range(0) == kBackward;
  const int64_t n = state.range(2);
  const int64_t k = state.range(3);
  const int64_t t = state.range(4);
  const auto w = Prepared(*ops, n, k, state.range(1));
  Buffer<float> x(t, k);
  Buffer<float> y(t, n);
  double best = 1e9;
  for (auto _ : state) {
    const auto begin = std::chrono::steady_clock::now();
    if (backward) {
      ops->MatMulBackward(std::as_const(y).view(), *w, x.view(), false);
    } else {
      ops->MatMul(std::as_const(x).view(), *w, {}, y.view(), false);
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    best = std::min(best, took.count());
  }
  ReportShare(state, ops->pool(), 2.0 * static_cast<double>(t * n * k), best);
  state.counters["weight_GB/s"] = static_cast<double>(w->bytes()) / best * 1e-9;
}

void Shapes(benchmark::internal::Benchmark* bench) {
  for (int64_t direction : {kForward, kBackward}) {
    for (int64_t bits : {32, 16, 8, 4}) {
      for (auto [n, k] : {std::pair<int64_t, int64_t>{576, 576},
                          {1536, 576},
                          {576, 1536},
                          {192, 576},
                          {49152, 576},
                          {256, 256},
                          {640, 256}}) {
        for (int64_t t : {1, 2, 3, 4, 8, 16, 32, 64, 128, 512, 2048}) {
          if (n == 49152 && t > 128) continue;
          bench->Args({direction, bits, n, k, t});
        }
      }
    }
  }
  bench->ArgNames({"backward", "bits", "N", "K", "T"})->MinTime(0.1)->UseRealTime();
}

BENCHMARK(MatMul)->Apply(Shapes);

}  // namespace
}  // namespace onepass

BENCHMARK_MAIN();
