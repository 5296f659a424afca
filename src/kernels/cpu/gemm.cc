#include "kernels/cpu/gemm.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "kernels/cpu/quantised.h"
#include "kernels/cpu/share_items.h"
#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gemm.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/tile-inl.h"
#include "kernels/cpu/transpose-inl.h"
#include "kernels/cpu/write_out-inl.h"

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
  const QuantisedWeight* quantised = nullptr;  // instead of `weight`; backward only
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

// The 32 outputs of `panel` times the 32 columns of `group`, dequantised, as [32][32] floats. Exact:
// stored weights and scales have 8 and 11 bits.
void DequantiseBlock(const QuantisedWeight& w, int64_t panel, int64_t group,
                     float* HWY_RESTRICT to) {
  const D4 d;
  const hn::Rebind<int32_t, D4> di;
  const hn::Rebind<uint8_t, D4> d8;
  const std::byte* HWY_RESTRICT block = w.block(panel, group);
  const uint8_t* HWY_RESTRICT words =
      reinterpret_cast<const uint8_t*>(block) + QuantisedWeight::kScaleBytes;
  for (int64_t n = 0; n < kPanel; ++n) {
    F16 half;
    std::memcpy(&half, block + n * 2, sizeof(half));
    const float scale_of_n = ToFloat(half);
    const auto scale = hn::Set(d, scale_of_n);
    const auto zero = hn::Set(d, scale_of_n * static_cast<float>(w.offset()));
    const auto store = [&](auto stored, int64_t column) HWY_ATTR {
      hn::StoreU(hn::MulSub(hn::ConvertTo(d, stored), scale, zero), d, to + n * kGroup + column);
    };
    for (int64_t q = 0; q < w.bits(); ++q) {
      const auto word = hn::PromoteTo(di, hn::LoadU(d8, words + (q * kPanel + n) * 4));
      if (w.bits() == 8) {
        store(word, 4 * q);
      } else {
        store(hn::And(word, hn::Set(di, 15)), 4 * q);
        store(hn::ShiftRight<4>(word), kGroup / 2 + 4 * q);
      }
    }
  }
}

// A block of the depth of the backward: rows [begin, begin + count) of W, 32 columns from `column`.
void BackwardBlock(const GemmTask& task, int64_t begin, int64_t count, int64_t column,
                   float* HWY_RESTRICT to) {
  if (task.quantised == nullptr) return TransposeBlock(*task.weight, begin, count, column, to);
  for (int64_t n = 0; n < count; n += kPanel) {
    DequantiseBlock(*task.quantised, (begin + n) / kPanel, column / kGroup, to + n * kPanel);
  }
}

template <bool kBackward>
void Part(const GemmTask& task, int64_t item, float* sums, float* block) {
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
      BackwardBlock(task, k, depth, panel * kPanel, block);
      PanelProduct<false>(rows, a, block, kPanel, depth, sums, kPanel, load);
      continue;
    }
    const PackedWeight& w = *task.weight;
    if (!w.is_bf16()) {
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
  WriteOut(task.y.Rows(row_begin, rows), panel, sums, task.bias, task.accumulate);
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

void RunItems(const GemmTask& task, int64_t items, GemmScratch& scratch, ThreadPool& pool,
              PartsFunction parts) {
  const int64_t item_work = CeilDiv(task.rows, task.row_blocks) * task.depth * kPanel + 1;
  ShareItems(items, kWorthAThread / item_work, pool, [&](int64_t begin, int64_t end, int thread) {
    parts(task, begin, end, scratch.Sums(thread), scratch.Block(thread));
  });
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

void QuantisedGemmBackward(View<const float> dy, const QuantisedWeight& w, View<float> dx,
                           GemmScratch& scratch, ThreadPool& pool) {
  if (dx.empty() || dy.empty()) return;
  GemmTask task;
  task.quantised = &w;
  task.y = dx;
  task.accumulate = true;
  Run(dy, task, kPanel, scratch, pool, HWY_DYNAMIC_DISPATCH(GemmBackwardParts));
}

}  // namespace onepass
#endif
