#include "kernels/cpu/gemm.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>

#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gemm.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/tile-inl.h"
#include "kernels/cpu/transpose-inl.h"

#ifndef ONEPASS_KERNELS_CPU_GEMM_TASK_
#define ONEPASS_KERNELS_CPU_GEMM_TASK_
namespace onepass {

// A product over packed rows, in parts that threads take: (row block, panel of 32 outputs).
struct GemmTask {
  const float* packed = nullptr;  // [depth blocks][rows][kStride]
  int64_t rows = 0;
  int64_t depth = 0;
  int64_t depth_block = 0;
  int64_t row_blocks = 0;
  const PackedWeight* weight = nullptr;
  View<float> y;
  const float* bias = nullptr;
  bool accumulate = false;
};

}  // namespace onepass
#endif

HWY_BEFORE_NAMESPACE();
namespace onepass {
namespace HWY_NAMESPACE {

// Below this many rows a bf16 panel is widened in registers, above it once into a buffer.
constexpr int64_t kWidenRows = 2 * kTileRows + 1;

// y rows += or = sums + bias, for the columns of a panel that exist.
void WriteOut(const GemmTask& task, int64_t row_begin, int64_t rows, int64_t panel,
              const float* HWY_RESTRICT sums) {
  const DF d;
  const int64_t column = panel * kPanel;
  const int64_t columns = std::min<int64_t>(kPanel, task.y.cols() - column);
  const float* bias = task.bias == nullptr ? nullptr : task.bias + column;
  for (int64_t r = 0; r < rows; ++r) {
    float* HWY_RESTRICT y = task.y.row(row_begin + r) + column;
    const float* HWY_RESTRICT from = sums + r * kPanel;
    if (columns == kPanel) {
#pragma GCC unroll 8
      for (int c = 0; c < kPanel; c += kLanes) {
        VF v = hn::LoadU(d, from + c);
        if (bias != nullptr) v = hn::Add(v, hn::LoadU(d, bias + c));
        if (task.accumulate) v = hn::Add(v, hn::LoadU(d, y + c));
        hn::StoreU(v, d, y + c);
      }
      continue;
    }
    for (int64_t c = 0; c < columns; ++c) {
      float v = from[c];
      if (bias != nullptr) v += bias[c];
      y[c] = task.accumulate ? y[c] + v : v;
    }
  }
}

// Widens `depth` rows of pairs to [depth][32] floats.
void Widen(const BF16Pair* HWY_RESTRICT from, int64_t depth, float* HWY_RESTRICT to) {
  const DF d;
  for (int64_t k = 0; k < depth; ++k) {
    VF row[kPanel / kLanes];
    LoadRow<kPanel / kLanes>(from + k * (kPanel / 2), row);
#pragma GCC unroll 8
    for (int v = 0; v < kPanel / kLanes; ++v) {
      hn::StoreU(row[v], d, to + k * kPanel + ColumnOf<BF16Pair>(v));
    }
  }
}

// Columns [column, column + 32) of W for outputs [begin, begin + count), as [count][32] floats;
// begin is a multiple of 32. Columns past K are zero.
void TransposeBlock(const PackedWeight& w, int64_t begin, int64_t count, int64_t column,
                    float* HWY_RESTRICT to) {
  const int64_t columns = std::min<int64_t>(kPanel, w.cols() - column);
  if (columns < kPanel) std::fill_n(to, RoundUp(count, kPanel) * kPanel, 0.0f);
  for (int64_t n = 0; n < count; n += kPanel) {
    const int64_t panel = (begin + n) / kPanel;
    float* HWY_RESTRICT block = to + n * kPanel;
    if (w.is_bf16()) {
      TransposePairs(w.bf16_panel(panel) + column * (kPanel / 2), columns, block);
    } else {
      TransposeFloats(w.f32_panel(panel) + column * kPanel, columns, block);
    }
  }
}

template <bool kBackward>
void Part(const GemmTask& task, int64_t item, float* sums, float* block) {
  const PackedWeight& w = *task.weight;
  const int64_t panels = CeilDiv(task.y.cols(), kPanel);
  const int64_t row_block = item / panels;
  const int64_t panel = item % panels;
  const int64_t row_begin = row_block * task.rows / task.row_blocks;
  const int64_t rows = (row_block + 1) * task.rows / task.row_blocks - row_begin;
  int64_t index = 0;
  if (task.depth == 0) std::fill_n(sums, rows * kPanel, 0.0f);
  for (int64_t k = 0; k < task.depth; k += task.depth_block, ++index) {
    const int64_t depth = std::min(task.depth_block, task.depth - k);
    const float* a = task.packed + (index * task.rows + row_begin) * kStride;
    const bool load = k > 0;
    if constexpr (kBackward) {
      TransposeBlock(w, k, depth, panel * kPanel, block);
      PanelProduct<false>(rows, a, block, kPanel, depth, sums, kPanel, load);
    } else if (!w.is_bf16()) {
      PanelProduct<false>(rows, a, w.f32_panel(panel) + k * kPanel, kPanel, depth, sums, kPanel,
                          load);
    } else if (rows < kWidenRows) {
      PanelProduct<false>(rows, a, w.bf16_panel(panel) + k * (kPanel / 2), kPanel / 2, depth, sums,
                          kPanel, load);
    } else {
      Widen(w.bf16_panel(panel) + k * (kPanel / 2), depth, block);
      PanelProduct<false>(rows, a, block, kPanel, depth, sums, kPanel, load);
    }
  }
  WriteOut(task, row_begin, rows, panel, sums);
}

void GemmParts(const GemmTask& task, int64_t begin, int64_t end, float* sums, float* block) {
  for (int64_t i = begin; i < end; ++i) Part<false>(task, i, sums, block);
}

void GemmBackwardParts(const GemmTask& task, int64_t begin, int64_t end, float* sums,
                       float* block) {
  for (int64_t i = begin; i < end; ++i) Part<true>(task, i, sums, block);
}

}  // namespace HWY_NAMESPACE
}  // namespace onepass
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace onepass {

HWY_EXPORT(GemmParts);
HWY_EXPORT(GemmBackwardParts);

namespace {

// Multiply-adds that are worth waking a thread for.
constexpr int64_t kWorthAThread = 50'000;

// Copies rows into blocks of the depth, [depth blocks][rows][kStride].
void Pack(View<const float> x, int64_t depth_block, float* packed, ThreadPool& pool) {
  auto pack = [&](int64_t begin, int64_t end, int) {
    int64_t index = 0;
    for (int64_t k = 0; k < x.cols(); k += depth_block, ++index) {
      const int64_t depth = std::min(depth_block, x.cols() - k);
      for (int64_t r = begin; r < end; ++r) {
        std::memcpy(packed + (index * x.rows() + r) * kStride, x.row(r) + k,
                    static_cast<size_t>(depth) * sizeof(float));
      }
    }
  };
  pool.ParallelFor(x.rows(), CeilDiv(kWorthAThread, x.cols()), std::ref(pack));
}

using PartsFunction = void (*)(const GemmTask&, int64_t, int64_t, float*, float*);

// Threads take a few items at a time: one that the system delays holds up the others less, and who
// computes an item changes nothing.
void RunItems(const GemmTask& task, int64_t items, GemmScratch& scratch, ThreadPool& pool,
              PartsFunction parts) {
  const int64_t item_work = CeilDiv(task.rows, task.row_blocks) * task.depth * kPanel + 1;
  const int64_t step = std::max(CeilDiv(items, 8 * pool.thread_count()), kWorthAThread / item_work);
  std::atomic<int64_t> next{0};
  auto work = [&](int64_t, int64_t, int thread) {
    for (int64_t i = next.fetch_add(step); i < items; i = next.fetch_add(step)) {
      parts(task, i, std::min(i + step, items), scratch.Sums(thread), scratch.Block(thread));
    }
  };
  pool.ParallelFor(std::min<int64_t>(pool.thread_count(), CeilDiv(items, step)), 1, std::ref(work));
}

void Run(View<const float> x, GemmTask task, int64_t depth_multiple, GemmScratch& scratch,
         ThreadPool& pool, PartsFunction parts) {
  task.depth = x.cols();
  const int64_t blocks = std::max<int64_t>(1, CeilDiv(task.depth, kDepthBlock));
  task.depth_block = std::max<int64_t>(1, RoundUp(CeilDiv(task.depth, blocks), depth_multiple));
  const View<float> y = task.y;
  const int64_t panels = CeilDiv(y.cols(), kPanel);
  const int64_t turns = CeilDiv(x.rows(), kRowBlock);
  scratch.Reserve(pool.thread_count());
  for (int64_t turn = 0; turn < turns; ++turn) {
    const int64_t begin = turn * x.rows() / turns;
    task.rows = (turn + 1) * x.rows() / turns - begin;
    float* packed = scratch.Packed(CeilDiv(task.depth, task.depth_block) * task.rows * kStride);
    if (task.depth > 0) Pack(x.Rows(begin, task.rows), task.depth_block, packed, pool);
    task.packed = packed;
    task.y = y.Rows(begin, task.rows);
    // Few panels for the threads: cut the rows too, down to a few tiles.
    task.row_blocks = 1;
    while (task.row_blocks * panels < 4 * pool.thread_count() && task.rows / task.row_blocks > 96) {
      ++task.row_blocks;
    }
    RunItems(task, task.row_blocks * panels, scratch, pool, parts);
  }
}

}  // namespace

void Gemm(View<const float> x, const PackedWeight& w, std::span<const float> bias, View<float> y,
          bool accumulate, GemmScratch& scratch, ThreadPool& pool) {
  if (y.empty()) return;
  GemmTask task;
  task.weight = &w;
  task.y = y;
  task.bias = bias.empty() ? nullptr : bias.data();
  task.accumulate = accumulate;
  Run(x, task, 1, scratch, pool, HWY_DYNAMIC_DISPATCH(GemmParts));
}

void GemmBackward(View<const float> dy, const PackedWeight& w, View<float> dx, GemmScratch& scratch,
                  ThreadPool& pool) {
  if (dx.empty() || dy.empty()) return;
  GemmTask task;
  task.weight = &w;
  task.y = dx;
  task.accumulate = true;
  Run(dy, task, kPanel, scratch, pool, HWY_DYNAMIC_DISPATCH(GemmBackwardParts));
}

}  // namespace onepass
#endif
