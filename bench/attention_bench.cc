// Attention at the shapes of a 135M model (and of a small one): prefill, decode, backward with and
// without gradients to the keys.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

#include "core/rng.h"
#include "kernels/registry.h"
#include "peak.h"
#include "tensor/tensor.h"

namespace onepass {
namespace {

constexpr int64_t kPage = 32;

// KV of one sequence in pages, as the engine keeps it.
struct PagedKeys {
  PagedKeys(int64_t kv_heads, int64_t head_dim, int64_t count, bool gradients, DType dtype)
      : pages(4 * ((count + kPage - 1) / kPage), kv_heads * kPage * head_dim) {
    Rng rng(2);
    for (float& v : pages.span()) v = static_cast<float>(rng.UniformDouble() - 0.5);
    for (int64_t done = 0; done < count; done += kPage) {
      const int64_t at = done / kPage * 4;
      KvRun<float> run;
      run.k = pages.view().row(at);
      run.v = pages.view().row(at + 1);
      if (gradients) {
        run.dk = pages.view().row(at + 2);
        run.dv = pages.view().row(at + 3);
      }
      run.head_stride = kPage * head_dim;
      run.count = std::min(kPage, count - done);
      if (dtype != DType::kF32) Narrow(kv_heads, head_dim, dtype, &run);
      runs.push_back(run);
    }
  }

  void Narrow(int64_t kv_heads, int64_t head_dim, DType dtype, KvRun<float>* run) {
    KvRun<float> narrow = *run;
    narrow.dtype = dtype;
    narrow.head_stride = kPage * StoredElements(dtype, head_dim);
    std::byte* planes[2];
    for (std::byte*& plane : planes) {
      narrow_pages.emplace_back(kv_heads, narrow.head_stride * SizeOf(dtype));
      plane = narrow_pages.back().data();
    }
    for (int64_t g = 0; g < kv_heads; ++g) {
      for (int64_t r = 0; r < kPage; ++r) {
        const int64_t to = narrow.RowOffset(g, r, head_dim);
        StoreRow(dtype, reinterpret_cast<const float*>(run->k_row(g, r, head_dim)), head_dim,
                 planes[0] + to);
        StoreRow(dtype, reinterpret_cast<const float*>(run->v_row(g, r, head_dim)), head_dim,
                 planes[1] + to);
      }
    }
    narrow.k = planes[0];
    narrow.v = planes[1];
    *run = narrow;
  }

  Buffer<float> pages;
  std::vector<Buffer<std::byte>> narrow_pages;
  std::vector<KvRun<float>> runs;
};

// Scores that are computed: causal among the queries' own keys.
double Scores(int64_t queries, int64_t keys) {
  const double before = static_cast<double>(keys - queries);
  const double q = static_cast<double>(queries);
  return q * before + q * (q + 1) / 2;
}

constexpr DType kTypes[] = {DType::kF32, DType::kBF16, DType::kI8};

// Arguments: what (0 forward, 1 backward, 2 backward with constant keys), H, G, D, queries, keys,
// and what the keys are stored in (0 f32, 1 bf16, 2 int8).
void Attention(benchmark::State& state) {
  auto ops = std::move(MakeOps("cpu", {})).value();
  AttentionShape shape;
  shape.heads = state.range(1);
  shape.kv_heads = state.range(2);
  shape.head_dim = state.range(3);
  shape.scale = 1 / std::sqrt(static_cast<double>(shape.head_dim));
  const int64_t queries = state.range(4);
  const int64_t width = shape.heads * shape.head_dim;
  PagedKeys keys(shape.kv_heads, shape.head_dim, state.range(5), state.range(0) == 1,
                 kTypes[state.range(6)]);
  const AttentionSequence<float> sequence{0, queries, keys.runs};
  Buffer<float> q(queries, width);
  Buffer<float> out(queries, width);
  Buffer<float> lse(queries, shape.heads);
  Buffer<float> dq(queries, width);
  Rng rng(3);
  for (float& v : q.span()) v = static_cast<float>(rng.UniformDouble() - 0.5);
  ops->Attention(std::as_const(q).view(), shape, {&sequence, 1}, out.view(), lse.view());
  double best = 1e9;
  for (auto _ : state) {
    const auto begin = std::chrono::steady_clock::now();
    if (state.range(0) == 0) {
      ops->Attention(std::as_const(q).view(), shape, {&sequence, 1}, out.view(), lse.view());
    } else {
      ops->AttentionBackward(std::as_const(q).view(), shape, {&sequence, 1},
                             std::as_const(out).view(), std::as_const(lse).view(),
                             std::as_const(q).view(), dq.view());
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    best = std::min(best, took.count());
  }
  constexpr double kProducts[] = {2, 5, 3};
  ReportShare(
      state, ops->pool(),
      2 * kProducts[state.range(0)] * Scores(queries, state.range(5)) * static_cast<double>(width),
      best);
  const DType dtype = kTypes[state.range(6)];
  const int64_t row_bytes = StoredElements(dtype, shape.head_dim) * SizeOf(dtype);
  state.counters["kv_GB/s"] =
      static_cast<double>(state.range(5) * shape.kv_heads * row_bytes) * 2 / best * 1e-9;
}

BENCHMARK(Attention)
    ->ArgNames({"what", "H", "G", "D", "queries", "keys", "kv"})
    ->Args({0, 9, 3, 64, 512, 512, 0})
    ->Args({0, 9, 3, 64, 3000, 3000, 0})
    ->Args({0, 9, 3, 64, 1, 512, 0})
    ->Args({0, 9, 3, 64, 1, 3000, 0})
    ->Args({0, 9, 3, 64, 1, 3000, 1})
    ->Args({0, 9, 3, 64, 1, 3000, 2})
    ->Args({0, 9, 3, 64, 16, 3000, 0})
    ->Args({0, 8, 8, 32, 300, 300, 0})
    ->Args({0, 8, 4, 32, 1, 300, 0})
    ->Args({1, 9, 3, 64, 512, 512, 0})
    ->Args({2, 9, 3, 64, 512, 1200, 0})
    ->Args({1, 8, 8, 32, 300, 300, 0})
    ->MinTime(0.1)
    ->UseRealTime();

}  // namespace
}  // namespace onepass

BENCHMARK_MAIN();
