#include "kernels/cpu/gemm.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <type_traits>

#include "kernels/cpu/product_items.h"
#include "kernels/cpu/quantised.h"
#include "kernels/cpu/share_items.h"
#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gemm.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/tile-inl.h"
#include "kernels/cpu/transpose-inl.h"
#include "kernels/cpu/unpack-inl.h"
#include "kernels/cpu/write_out-inl.h"

#ifndef ONEPASS_KERNELS_CPU_GEMM_TASK_
#define ONEPASS_KERNELS_CPU_GEMM_TASK_
namespace onepass {

// What all items of one product share: a run of rows, packed in blocks of the depth.
struct GemmTask {
  const float* packed = nullptr;  // [depth blocks][rows][kStride]
  int64_t row_begin = 0;          // of the packed rows in y
  int64_t rows = 0;
  int64_t depth = 0;
  int64_t depth_block = 0;
  bool is_quantised = false;  // the backward's weight; its only output is dx
};

}  // namespace onepass
#endif

HWY_BEFORE_NAMESPACE();
namespace onepass {
namespace HWY_NAMESPACE {

// Below this many rows a panel of 16-bit weights is widened in registers, above it once into a
// buffer.
constexpr int64_t kWidenRows = 2 * kTileRows + 1;

// Widens `depth` rows of a panel to [depth][32] floats.
template <class Stored>
void Widen(const Stored* HWY_RESTRICT from, int64_t depth, float* HWY_RESTRICT to) {
  const DF d;
  for (int64_t k = 0; k < depth; ++k) {
    VF row[kPanel / kLanes];
    LoadRow<kPanel / kLanes>(from + k * kRowElements<Stored>, row);
#pragma GCC unroll 8
    for (int v = 0; v < kPanel / kLanes; ++v) {
      hn::StoreU(row[v], d, to + k * kPanel + ColumnOf<Stored>(v));
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
    w.VisitPanel((begin + n) / kPanel, column, [&]<class Stored>(const Stored* from) HWY_ATTR {
      if constexpr (std::is_same_v<Stored, float>) {
        TransposeFloats(from, columns, to + n * kPanel);
      } else {
        HWY_ALIGN float wide[kPanel * kPanel];
        Widen(from, columns, wide);
        TransposeFloats(wide, columns, to + n * kPanel);
      }
    });
  }
}

// The 32 outputs of `panel` times the 32 columns of `group`, dequantised, as [32][32] floats. Each
// product is exact: stored weights and scales have 8 and 11, 4 and 17, or 6 and 18 bits.
void DequantiseBlock(const QuantisedWeight& w, int64_t panel, int64_t group,
                     float* HWY_RESTRICT to) {
  const D4 d;
  const hn::Rebind<int32_t, D4> di;
  const hn::Rebind<uint8_t, D4> d8;
  const std::byte* weights = w.group(panel, group) + kScaleBytes;
  HWY_ALIGN std::byte unpacked[kPanel * kGroup];
  if (w.format().bits < 8) {
    UnpackWeights(w.format().bits, weights, unpacked);
    weights = unpacked;
  }
  const uint8_t* HWY_RESTRICT words = reinterpret_cast<const uint8_t*>(weights);
  for (int64_t n = 0; n < kPanel; ++n) {
    const QuantisedWeight::Affine affine = w.AffineOf(panel, group, n);
    for (int64_t step = 0; step < kSteps; ++step) {
      const auto scale = hn::Set(d, affine.scale[2 * step / kSteps]);
      const auto zero = hn::Set(d, affine.zero[2 * step / kSteps]);
      const auto stored = hn::PromoteTo(di, hn::LoadU(d8, words + (step * kPanel + n) * 4));
      hn::StoreU(hn::MulSub(hn::ConvertTo(d, stored), scale, zero), d, to + n * kGroup + 4 * step);
    }
  }
}

// A block of the depth of the backward: rows [begin, begin + count) of W, 32 columns from `column`.
void BackwardBlock(const PreparedWeight& w, bool is_quantised, int64_t begin, int64_t count,
                   int64_t column, float* HWY_RESTRICT to) {
  if (!is_quantised) {
    return TransposeBlock(static_cast<const PackedWeight&>(w), begin, count, column, to);
  }
  const auto& quantised = static_cast<const QuantisedWeight&>(w);
  for (int64_t n = 0; n < count; n += kPanel) {
    DequantiseBlock(quantised, (begin + n) / kPanel, column / kGroup, to + n * kPanel);
  }
}

// Rows times `depth` rows of a panel from depth k on.
void ForwardBlock(const PackedWeight& w, int64_t panel, int64_t k, int64_t depth, int64_t rows,
                  const float* a, float* sums, float* block, bool load) {
  w.VisitPanel(panel, k, [&]<class Stored>(const Stored* from) HWY_ATTR {
    if constexpr (!std::is_same_v<Stored, float>) {
      if (rows >= kWidenRows) {
        Widen(from, depth, block);
        PanelProduct<false>(rows, a, block, kPanel, depth, sums, kPanel, load);
        return;
      }
    }
    PanelProduct<false>(rows, a, from, kRowElements<Stored>, depth, sums, kPanel, load);
  });
}

template <bool kBackward>
void Part(const GemmTask& task, const ProductItems::Item& item, float* sums, float* block) {
  const MatMulOutput<float>& output = *item.output;
  int64_t index = 0;
  if (task.depth == 0) std::fill_n(sums, item.rows * kPanel, 0.0f);
  for (int64_t k = 0; k < task.depth; k += task.depth_block, ++index) {
    const int64_t depth = std::min(task.depth_block, task.depth - k);
    const float* a = task.packed + (index * task.rows + item.row) * kStride;
    if constexpr (kBackward) {
      BackwardBlock(*output.w, task.is_quantised, k, depth, item.panel * kPanel, block);
      PanelProduct<false>(item.rows, a, block, kPanel, depth, sums, kPanel, k > 0);
    } else {
      ForwardBlock(static_cast<const PackedWeight&>(*output.w), item.panel, k, depth, item.rows, a,
                   sums, block, k > 0);
    }
  }
  WriteOut(output, task.row_begin + item.row, item.rows, item.panel, sums);
}

void GemmParts(const GemmTask& task, const ProductItems& items, int64_t begin, int64_t end,
               float* sums, float* block) {
  for (int64_t i = begin; i < end; ++i) Part<false>(task, items[i], sums, block);
}

void GemmBackwardParts(const GemmTask& task, const ProductItems& items, int64_t begin, int64_t end,
                       float* sums, float* block) {
  for (int64_t i = begin; i < end; ++i) Part<true>(task, items[i], sums, block);
}

}  // namespace HWY_NAMESPACE
}  // namespace onepass
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace onepass {

HWY_EXPORT(GemmParts);
HWY_EXPORT(GemmBackwardParts);

namespace {

// Multiply-adds that are worth waking a thread for, and elements to read that are.
constexpr int64_t kWorthAThread = 50'000;
constexpr int64_t kElementsWorthAThread = 20'000;

// Rows [row_begin, row_begin + rows) in blocks of the depth, [depth blocks][rows][kStride].
void Pack(const InputRows& input, int64_t row_begin, int64_t rows, int64_t depth_block,
          float* packed, GemmScratch& scratch, ThreadPool& pool) {
  auto pack = [&](int64_t begin, int64_t end, int thread) {
    for (int64_t r = begin; r < end; ++r) {
      const float* row = input.Row(row_begin + r, scratch.Row(thread));
      int64_t index = 0;
      for (int64_t k = 0; k < input.cols(); k += depth_block, ++index) {
        const int64_t depth = std::min(depth_block, input.cols() - k);
        std::memcpy(packed + (index * rows + r) * kStride, row + k,
                    static_cast<size_t>(depth) * sizeof(float));
      }
    }
  };
  pool.ParallelFor(rows, CeilDiv(kElementsWorthAThread, input.cols()), std::ref(pack));
}

using PartsFunction = void (*)(const GemmTask&, const ProductItems&, int64_t, int64_t, float*,
                               float*);

void Run(const MatMulInput<float>& input, std::span<const MatMulOutput<float>> outputs,
         GemmTask task, int64_t depth_multiple, GemmScratch& scratch, ThreadPool& pool,
         PartsFunction parts) {
  const InputRows rows(input);
  task.depth = rows.cols();
  const int64_t blocks = std::max<int64_t>(1, CeilDiv(task.depth, kDepthBlock));
  task.depth_block = std::max<int64_t>(1, RoundUp(CeilDiv(task.depth, blocks), depth_multiple));
  scratch.Reserve(pool.thread_count(), rows.made_cols());
  const Parts turns(rows.rows(), kRowBlock);
  for (int64_t turn = 0; turn < turns.count(); ++turn) {
    task.row_begin = turns.begin(turn);
    task.rows = turns.size(turn);
    float* packed = scratch.Packed(CeilDiv(task.depth, task.depth_block) * task.rows * kStride);
    if (task.depth > 0) {
      Pack(rows, task.row_begin, task.rows, task.depth_block, packed, scratch, pool);
    }
    task.packed = packed;
    const ProductItems items(outputs, task.rows, pool.thread_count());
    const int64_t item_work = items.rows_at_most() * task.depth * kPanel + 1;
    ShareItems(items.count(), kWorthAThread / item_work, pool,
               [&](int64_t begin, int64_t end, int thread) {
                 parts(task, items, begin, end, scratch.Sums(thread), scratch.Block(thread));
               });
  }
}

void RunBackward(View<const float> dy, const PreparedWeight& w, bool is_quantised, View<float> dx,
                 bool accumulate, GemmScratch& scratch, ThreadPool& pool) {
  if (dx.empty()) return;
  const MatMulOutput<float> output{.w = &w, .bias = {}, .y = dx, .accumulate = accumulate};
  GemmTask task;
  task.is_quantised = is_quantised;
  Run({.x = dy}, {&output, 1}, task, kPanel, scratch, pool,
      HWY_DYNAMIC_DISPATCH(GemmBackwardParts));
}

}  // namespace

const float* InputRows::Row(int64_t r, float* memory) const {
  const float* x = input_.x.row(r);
  if (!input_.norm_weight.empty()) {
    input_.inv_rms[r] =
        ops_.rms_norm(x, input_.norm_weight.data(), input_.norm_eps, memory, cols());
    return memory;
  }
  if (input_.up.empty()) return x;
  ops_.swiglu(x, input_.up.row(r), memory, cols());
  return memory;
}

void Gemm(const MatMulInput<float>& input, std::span<const MatMulOutput<float>> outputs,
          GemmScratch& scratch, ThreadPool& pool) {
  Run(input, outputs, GemmTask(), 1, scratch, pool, HWY_DYNAMIC_DISPATCH(GemmParts));
}

void GemmBackward(View<const float> dy, const PackedWeight& w, View<float> dx, bool accumulate,
                  GemmScratch& scratch, ThreadPool& pool) {
  RunBackward(dy, w, false, dx, accumulate, scratch, pool);
}

void QuantisedGemmBackward(View<const float> dy, const QuantisedWeight& w, View<float> dx,
                           bool accumulate, GemmScratch& scratch, ThreadPool& pool) {
  RunBackward(dy, w, true, dx, accumulate, scratch, pool);
}

}  // namespace onepass
#endif
