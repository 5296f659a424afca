// The forward product with a quantised weight: rows are quantised, then multiplied panel by panel.
// Here are the kernels that Highway has the operations for; dot_vnni.cc has another.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "kernels/cpu/dot.h"
#include "kernels/cpu/product_items.h"
#include "kernels/cpu/quantised.h"
#include "kernels/cpu/share_items.h"
#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/quantised_gemm.cc"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/half-inl.h"
#include "kernels/cpu/unpack-inl.h"
#include "kernels/cpu/write_out-inl.h"

HWY_BEFORE_NAMESPACE();
namespace onepass {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<DF>;
using D16 = hn::Repartition<int16_t, DI>;
using D8 = hn::Repartition<uint8_t, DI>;
using VI = hn::Vec<DI>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(DF()));

// Rows of the largest tile, two vectors wide.
constexpr int64_t kTileRows = 4;

// Whether weights of these bits are multiplied as bytes by x86's vpmaddubsw, which adds two
// neighbouring products in 16 bits and saturates. With weights below 64 such a sum is at most 16002
// in size (2 * 63 * 127), with weights below 16 at most 3810: two and eight of them stay below
// 2^15. Weights of 8 bits are widened to 16 first.
constexpr bool InBytes(int bits) { return HWY_ARCH_X86 && bits < 8; }

// A group whose values are all smaller than this counts as zeros: 127 / amax must stay finite.
constexpr float kSmallest = 1e-35f;

// Quantises x[count] group by group: q = round(x * (127 / amax)), scale = amax / 127, where amax is
// the group's largest |x|. An infinity or NaN makes the scale NaN.
// corrections = -offset * sum of the q of each of the group's parts.
void QuantiseRow(const float* HWY_RESTRICT x, int64_t count, DotLayout layout,
                 const PanelFormat& format, std::byte* HWY_RESTRICT values,
                 float* HWY_RESTRICT scales, int32_t* HWY_RESTRICT corrections) {
  const DF d;
  const DI di;
  const hn::Rebind<int8_t, DI> d8;
  const auto magnitude = hn::Set(di, 0x7FFFFFFF);
  for (int64_t g = 0; g < count / kGroup; ++g, x += kGroup) {
    // Of floats without their signs the bits are in the order of the values, and infinity and NaN
    // are the largest: one maximum finds both.
    auto most = hn::Zero(di);
#pragma GCC unroll 8
    for (int i = 0; i < kGroup; i += kLanes) {
      most = hn::Max(most, hn::And(hn::BitCast(di, hn::LoadU(d, x + i)), magnitude));
    }
    const float amax = std::bit_cast<float>(hn::GetLane(hn::MaxOfLanes(di, most)));
    const bool is_zero = amax < kSmallest;
    const bool is_finite = std::isfinite(amax);
    scales[g] = is_zero     ? 0.0f
                : is_finite ? amax / 127.0f
                            : std::numeric_limits<float>::quiet_NaN();
    const auto inverse = hn::Set(d, is_zero ? 0.0f : 127.0f / amax);
    HWY_ALIGN int8_t bytes[kGroup];
    VI sums[2] = {hn::Zero(di), hn::Zero(di)};  // of the group's halves
#pragma GCC unroll 8
    for (int i = 0; i < kGroup; i += kLanes) {
      const auto q = hn::NearestInt(hn::Mul(hn::LoadU(d, x + i), inverse));
      sums[2 * i / kGroup] = hn::Add(sums[2 * i / kGroup], q);
      hn::StoreU(hn::DemoteTo(d8, q), d8, bytes + i);
    }
    const auto correction = [&](VI sum) HWY_ATTR {
      return is_finite ? -format.offset * hn::GetLane(hn::SumOfLanes(di, sum)) : 0;
    };
    if (format.parts == 1) {
      corrections[g] = correction(hn::Add(sums[0], sums[1]));
    } else {
      corrections[2 * g] = correction(sums[0]);
      corrections[2 * g + 1] = correction(sums[1]);
    }
    if (layout == DotLayout::kBytes) {
      std::memcpy(values + g * kGroup, bytes, kGroup);
      continue;
    }
    HWY_ALIGN int16_t pairs[kGroup];
    for (int q = 0; q < kGroup; q += 4) {
      pairs[q] = bytes[q];
      pairs[q + 1] = bytes[q + 2];
      pairs[q + 2] = bytes[q + 1];
      pairs[q + 3] = bytes[q + 3];
    }
    std::memcpy(values + g * kGroup * 2, pairs, sizeof(pairs));
  }
}

// A block as one of the same format in 8 bits.
void UnpackBlock(const PanelFormat& format, const std::byte* HWY_RESTRICT from,
                 std::byte* HWY_RESTRICT to) {
  std::memcpy(to, from, static_cast<size_t>(format.header_bytes));
  from += format.header_bytes;
  to += format.header_bytes;
  for (int64_t g = 0; g < format.groups; ++g) {
    std::memcpy(to, from, kScaleBytes);
    UnpackWeights(format.bits, from + kScaleBytes, to + kScaleBytes);
    from += format.GroupBytes();
    to += format.InBits(8).GroupBytes();
  }
}

// What a row adds to the sums of two vectors of outputs in one step of four depths. Where the
// processor does not add neighbouring products by itself, sums1 takes one of each two.
struct Sums {
  HWY_INLINE Sums() {}  // written out: GCC's own would not be for the target
  VI sums0[2];
  VI sums1[2];
};
HWY_INLINE void AddProducts(const hn::Vec<D16>* even, const hn::Vec<D16>* odd,
                            const std::byte* HWY_RESTRICT pairs, Sums& sums) {
  const DI di;
  const D16 d16;
  int32_t words[2];
  std::memcpy(words, pairs, sizeof(words));
  const auto x_even = hn::BitCast(d16, hn::Set(di, words[0]));
  const auto x_odd = hn::BitCast(d16, hn::Set(di, words[1]));
#pragma GCC unroll 2
  for (int v = 0; v < 2; ++v) {
    sums.sums0[v] =
        hn::ReorderWidenMulAccumulate(di, even[v], x_even, sums.sums0[v], sums.sums1[v]);
    sums.sums0[v] = hn::ReorderWidenMulAccumulate(di, odd[v], x_odd, sums.sums0[v], sums.sums1[v]);
  }
}

// Products of unsigned and signed bytes, two neighbours added. REQUIRES: x86 (InBytes).
HWY_INLINE hn::Vec<D16> MultiplyBytes([[maybe_unused]] hn::Vec<D8> w,
                                      [[maybe_unused]] hn::Vec<D8> x) {
#if !HWY_ARCH_X86
  return hn::Zero(D16());
#elif HWY_TARGET == HWY_AVX3
  return hn::Vec<D16>{_mm512_maddubs_epi16(w.raw, x.raw)};
#elif HWY_TARGET == HWY_AVX2
  return hn::Vec<D16>{_mm256_maddubs_epi16(w.raw, x.raw)};
#else
  return hn::Vec<D16>{_mm_maddubs_epi16(w.raw, x.raw)};
#endif
}

// Adds to each row's sums of a step's four depths, in 16 bits. bytes: the first row's.
template <int kRows, int kBits>
HWY_INLINE void AddByteProducts(const std::byte* HWY_RESTRICT weights, int turn, int step,
                                int column, const std::byte* HWY_RESTRICT bytes, int64_t stride,
                                hn::Vec<D16> (*sums)[2]) {
  const D8 d8;
  hn::Vec<D8> w[2];
#pragma GCC unroll 2
  for (int v = 0; v < 2; ++v) {
    w[v] = LoadStep<kBits>(d8, weights, turn, step, (column + v * kLanes) * 4);
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    int32_t word;
    std::memcpy(&word, bytes + r * stride + step * 4, sizeof(word));
    const auto x = hn::BitCast(d8, hn::Set(DI(), word));
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) sums[r][v] = hn::Add(sums[r][v], MultiplyBytes(w[v], x));
  }
}

// Adds 16-bit sums, two neighbours each, to those in 32 bits, and clears them.
template <int kRows>
HWY_INLINE void WidenSums(hn::Vec<D16> (*pairs)[2], Sums* sums) {
  const D16 d16;
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      sums[r].sums0[v] = hn::ReorderWidenMulAccumulate(DI(), pairs[r][v], hn::Set(d16, int16_t{1}),
                                                       sums[r].sums0[v], sums[r].sums1[v]);
      pairs[r][v] = hn::Zero(d16);
    }
  }
}

// Weights of two vectors of outputs from `column` on at a step of a turn, widened: the first and
// third of its depths, and the second and fourth.
template <int kBits>
HWY_INLINE void LoadWeights(const std::byte* HWY_RESTRICT weights, int turn, int step, int column,
                            hn::Vec<D16>* even, hn::Vec<D16>* odd) {
  const D16 d16;
  const hn::RebindToUnsigned<D16> du16;
  const hn::Repartition<uint8_t, D16> d8;
#pragma GCC unroll 2
  for (int v = 0; v < 2; ++v) {
    const auto bytes = LoadStep<kBits>(d8, weights, turn, step, (column + v * kLanes) * 4);
    const auto w = hn::BitCast(du16, bytes);
    even[v] = hn::BitCast(d16, hn::And(w, hn::Set(du16, uint16_t{0xFF})));
    odd[v] = hn::BitCast(d16, hn::ShiftRight<8>(w));
  }
}

// Lanes(DF) integers of a byte each, times as many halves: scales (or minima) of Q4_K and Q6_K.
template <class Byte>
HWY_INLINE hn::Vec<DF> ScaledBytes(const std::byte* HWY_RESTRICT bytes,
                                   const std::byte* HWY_RESTRICT halves) {
  const DF d;
  const DI di;
  const hn::Rebind<Byte, DI> d8;
  const auto integers = hn::PromoteTo(di, hn::LoadU(d8, reinterpret_cast<const Byte*>(bytes)));
  return hn::Mul(LoadHalves(d, reinterpret_cast<const F16*>(halves)), hn::ConvertTo(d, integers));
}

// Scales of a group's part for a vector of outputs from `column` on; header and scales as
// PanelFormat says.
template <BlockType kType>
HWY_INLINE hn::Vec<DF> LoadScales(const std::byte* HWY_RESTRICT header,
                                  const std::byte* HWY_RESTRICT scales, int part, int column) {
  if constexpr (kType == BlockType::kQ4_K) {
    return ScaledBytes<uint8_t>(scales + column, header + column * 2);
  } else if constexpr (kType == BlockType::kQ6_K) {
    return ScaledBytes<int8_t>(scales + part * kPanel + column, header + column * 2);
  } else {
    return LoadHalves(DF(), reinterpret_cast<const F16*>(scales) + column);
  }
}

// kRows rows times the two vectors of outputs from `column` on.
template <int kRows, BlockType kType, int kBits>
HWY_NOINLINE void Tile(const DotTask& task, int64_t row, int column) {
  constexpr PanelFormat kFormat = PanelFormatOf(kType).InBits(kBits);
  constexpr int kParts = kFormat.parts;
  constexpr int kPartTurns = kFormat.turns() / kParts;
  constexpr int kTurnSteps = kFormat.turn_steps();
  constexpr bool kHasMinima = kType == BlockType::kQ4_K;
  constexpr int kTypeBits = PanelFormatOf(kType).bits;
  constexpr DotLayout kLayout = InBytes(kTypeBits) ? DotLayout::kBytes : DotLayout::kPairs;
  const DF d;
  const DI di;
  const std::byte* HWY_RESTRICT values = task.values + row * task.value_stride;
  const float* HWY_RESTRICT scales = task.scales + row * task.group_stride;
  const int32_t* HWY_RESTRICT corrections = task.corrections + row * task.group_stride * kParts;
  float* HWY_RESTRICT sums = task.sums + row * kPanel + column;
  hn::Vec<DF> total[kRows][2];
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      total[i][v] = task.load_sums ? hn::LoadU(d, sums + i * kPanel + v * kLanes) : hn::Zero(d);
    }
  }
  const std::byte* HWY_RESTRICT header = task.blocks;
  const std::byte* HWY_RESTRICT group = header + kFormat.header_bytes;
  for (int64_t g = 0; g < task.groups; ++g, group += kFormat.GroupBytes()) {
    const std::byte* HWY_RESTRICT weights = group + kScaleBytes;
#pragma GCC unroll 2
    for (int part = 0; part < kParts; ++part) {
      Sums dot[kRows];
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) {
        dot[i].sums0[0] = dot[i].sums0[1] = hn::Zero(di);
        dot[i].sums1[0] = dot[i].sums1[1] = hn::Zero(di);
      }
      [[maybe_unused]] hn::Vec<D16> pairs[kRows][2];
      if constexpr (kLayout == DotLayout::kBytes) {
#pragma GCC unroll 4
        for (int i = 0; i < kRows; ++i) pairs[i][0] = pairs[i][1] = hn::Zero(D16());
      }
#pragma GCC unroll 1
      for (int q = 0; q < kTurnSteps; ++q) {
        const std::byte* ahead = weights + column * 4 + kPrefetchBytes;
        hwy::Prefetch(ahead + (part * kTurnSteps + q) * kPanel * 4);
        if (kBits == 6 && part == 0) hwy::Prefetch(ahead + (4 + q) * kPanel * 4);
#pragma GCC unroll 2
        for (int i = 0; i < kPartTurns; ++i) {
          const int turn = part * kPartTurns + i;
          const int step = turn * kTurnSteps + q;
          if constexpr (kLayout == DotLayout::kBytes) {
            AddByteProducts<kRows, kBits>(weights, turn, step, column, values, task.value_stride,
                                          pairs);
            continue;
          }
          hn::Vec<D16> even[2];
          hn::Vec<D16> odd[2];
          LoadWeights<kBits>(weights, turn, step, column, even, odd);
#pragma GCC unroll 4
          for (int r = 0; r < kRows; ++r) {
            AddProducts(even, odd, values + r * task.value_stride + step * 8, dot[r]);
          }
        }
        // At most two steps of weights below 64.
        if constexpr (InBytes(kTypeBits) && kTypeBits == 6) WidenSums<kRows>(pairs, dot);
      }
      if constexpr (InBytes(kTypeBits) && kTypeBits == 4) WidenSums<kRows>(pairs, dot);
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const int at = column + v * kLanes;
        const auto weight_scale = LoadScales<kType>(header, group, part, at);
        const auto minima =
            kHasMinima ? ScaledBytes<uint8_t>(group + kPanel + at, header + (kPanel + at) * 2)
                       : hn::Zero(d);
#pragma GCC unroll 4
        for (int i = 0; i < kRows; ++i) {
          const int64_t index = i * task.group_stride + g;
          const auto correction = hn::Set(di, corrections[index * kParts + part]);
          const auto scale = hn::Set(d, scales[index]);
          const auto sum = hn::RearrangeToOddPlusEven(dot[i].sums0[v], dot[i].sums1[v]);
          if constexpr (kHasMinima) {
            const auto value = hn::MulAdd(hn::ConvertTo(d, sum), weight_scale,
                                          hn::Mul(minima, hn::ConvertTo(d, correction)));
            total[i][v] = hn::MulAdd(value, scale, total[i][v]);
          } else {
            const auto value = hn::ConvertTo(d, hn::Add(correction, sum));
            total[i][v] = hn::MulAdd(value, hn::Mul(weight_scale, scale), total[i][v]);
          }
        }
      }
    }
    values += DotRowBytes(kLayout, kGroup);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) hn::StoreU(total[i][v], d, sums + i * kPanel + v * kLanes);
  }
}

template <BlockType kType, int kBits>
void Tiles(const DotTask& task) {
  const Parts tiles(task.rows, kTileRows);
  for (int column = 0; column < kPanel; column += 2 * kLanes) {
    for (int64_t i = 0; i < tiles.count(); ++i) {
      const int64_t row = tiles.begin(i);
      switch (tiles.size(i)) {
        case 1:
          Tile<1, kType, kBits>(task, row, column);
          break;
        case 2:
          Tile<2, kType, kBits>(task, row, column);
          break;
        case 3:
          Tile<3, kType, kBits>(task, row, column);
          break;
        default:
          Tile<4, kType, kBits>(task, row, column);
          break;
      }
    }
  }
}

void Multiply(const DotTask& task) {
  VisitKind(task, [&]<BlockType kType, int kBits>() { Tiles<kType, kBits>(task); });
}

DotKernel BestDotKernel(int bits) {
#if HWY_TARGET == HWY_AVX3
  if (HasVnni()) return {.layout = DotLayout::kBytes, .multiply = MultiplyVnni};
#endif
  return {.layout = InBytes(bits) ? DotLayout::kBytes : DotLayout::kPairs, .multiply = Multiply};
}

}  // namespace HWY_NAMESPACE
}  // namespace onepass
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace onepass {

HWY_EXPORT(QuantiseRow);
HWY_EXPORT(UnpackBlock);
HWY_EXPORT(BestDotKernel);
HWY_EXPORT(WriteOut);

namespace {

// Multiply-adds that are worth waking a thread for, and elements to quantise that are.
constexpr int64_t kWorthAThread = 100'000;
constexpr int64_t kElementsWorthAThread = 30'000;
// Groups of a run of the depth: its weights, in bytes, stay in the first-level cache. Of blocks
// with a header a run is one (DotTask).
constexpr int64_t kDepthGroups = 14;
constexpr int64_t RunGroups(const PanelFormat& format) {
  return format.groups > 1 ? format.groups : kDepthGroups;
}
// From this many rows on, weights of fewer bits are unpacked to bytes once for all rows.
constexpr int64_t kUnpackRows = 13;

// Rows of x in int8, in scratch memory.
struct QuantisedRows {
  std::byte* values = nullptr;
  float* scales = nullptr;
  int32_t* corrections = nullptr;
  int64_t stride = 0;  // bytes from row to row of values
  int64_t groups = 0;
};

QuantisedRows Reserve(int64_t rows, int64_t cols, DotLayout layout, int parts,
                      GemmScratch& scratch) {
  QuantisedRows result;
  // A line more than needed spreads rows over the cache's sets.
  result.stride = RoundUp(DotRowBytes(layout, cols), 64) + 64;
  result.groups = cols / kGroup;
  const int64_t value_floats = rows * result.stride / 4;
  float* memory = scratch.Packed(value_floats + (1 + parts) * rows * result.groups);
  result.values = reinterpret_cast<std::byte*>(memory);
  result.scales = memory + value_floats;
  result.corrections = reinterpret_cast<int32_t*>(memory + value_floats + rows * result.groups);
  return result;
}

// Rows [row_begin, ...) of x, quantised, and how to multiply them.
struct Operand {
  QuantisedRows x;
  int64_t row_begin = 0;
  DotKernel kernel;
};

// Scratch memory of a thread holds a run's weights as bytes, whatever their type.
constexpr int64_t UnpackedBytes(BlockType type) {
  const PanelFormat format = PanelFormatOf(type);
  return RunGroups(format) / format.groups * format.InBits(8).BlockBytes();
}
constexpr int64_t kBlockBytes = kDepthBlock * kPanel * 4;
static_assert(UnpackedBytes(BlockType::kQ4_0) <= kBlockBytes);
static_assert(UnpackedBytes(BlockType::kQ4_K) <= kBlockBytes);
static_assert(UnpackedBytes(BlockType::kQ6_K) <= kBlockBytes);

void Multiply(const Operand& operand, const ProductItems::Item& item, float* sums,
              std::byte* unpacked) {
  const MatMulOutput<float>& output = *item.output;
  const auto& weight = static_cast<const QuantisedWeight&>(*output.w);
  const PanelFormat& format = weight.format();
  const bool unpack = format.bits < 8 && item.rows >= kUnpackRows;
  const int64_t run = RunGroups(format);
  DotTask task;
  task.value_stride = operand.x.stride;
  task.group_stride = operand.x.groups;
  task.rows = item.rows;
  task.type = weight.type();
  task.bits = unpack ? 8 : format.bits;
  task.sums = sums;
  const int64_t group_bytes = DotRowBytes(operand.kernel.layout, kGroup);
  if (operand.x.groups == 0) std::fill_n(sums, item.rows * kPanel, 0.0f);
  for (int64_t g = 0; g < operand.x.groups; g += run) {
    task.groups = std::min(run, operand.x.groups - g);
    task.values = operand.x.values + item.row * operand.x.stride + g * group_bytes;
    task.scales = operand.x.scales + item.row * operand.x.groups + g;
    task.corrections = operand.x.corrections + (item.row * operand.x.groups + g) * format.parts;
    task.load_sums = g > 0;
    task.blocks = weight.block(item.panel, g);
    if (unpack) {
      for (int64_t i = 0; i < task.groups / format.groups; ++i) {
        HWY_DYNAMIC_DISPATCH(UnpackBlock)
        (format, task.blocks + i * format.BlockBytes(),
         unpacked + i * format.InBits(8).BlockBytes());
      }
      task.blocks = unpacked;
    }
    operand.kernel.multiply(task);
  }
  HWY_DYNAMIC_DISPATCH(WriteOut)
  (output, operand.row_begin + item.row, item.rows, item.panel, sums);
}

}  // namespace

void QuantisedGemm(const MatMulInput<float>& input, std::span<const MatMulOutput<float>> outputs,
                   GemmScratch& scratch, ThreadPool& pool) {
  const InputRows x(input);
  const int64_t cols = x.cols();
  const PanelFormat& format = static_cast<const QuantisedWeight&>(*outputs.front().w).format();
  Operand operand{.x = {}, .kernel = HWY_DYNAMIC_DISPATCH(BestDotKernel)(format.bits)};
  scratch.Reserve(pool.thread_count(), x.made_cols());
  const Parts turns(x.rows(), kRowBlock);
  for (int64_t turn = 0; turn < turns.count(); ++turn) {
    operand.row_begin = turns.begin(turn);
    const int64_t rows = turns.size(turn);
    operand.x = Reserve(rows, cols, operand.kernel.layout, format.parts, scratch);
    auto quantise = [&](int64_t from, int64_t to, int thread) {
      for (int64_t r = from; r < to; ++r) {
        HWY_DYNAMIC_DISPATCH(QuantiseRow)
        (x.Row(operand.row_begin + r, scratch.Row(thread)), cols, operand.kernel.layout, format,
         operand.x.values + r * operand.x.stride, operand.x.scales + r * operand.x.groups,
         operand.x.corrections + r * operand.x.groups * format.parts);
      }
    };
    pool.ParallelFor(rows, CeilDiv(kElementsWorthAThread, cols + 1), std::ref(quantise));
    const ProductItems items(outputs, rows, pool.thread_count());
    const int64_t item_work = items.rows_at_most() * cols * kPanel + 1;
    ShareItems(items.count(), kWorthAThread / item_work, pool,
               [&](int64_t from, int64_t to, int thread) {
                 for (int64_t i = from; i < to; ++i) {
                   Multiply(operand, items[i], scratch.Sums(thread),
                            reinterpret_cast<std::byte*>(scratch.Block(thread)));
                 }
               });
  }
}

}  // namespace onepass
#endif
