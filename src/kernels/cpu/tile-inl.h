// The register tile under every product of the CPU backend: C[rows, 32] (+)= A[rows, depth]
// B[depth, 32]. Each element of C is one chain of multiply-adds over the depth in order, whatever
// the tile, the batch around it, the vector width or the split of the depth into blocks: this is
// what makes a row's result independent of its neighbours.
//
// A is packed with a constant stride: a(i, k) = a[i * kStride + k], or with kTransposedA
// a[k * kStride + i]. B rows are `ldb` apart. Included once for each target (no include guard but
// Highway's).
#if defined(ONEPASS_KERNELS_CPU_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ONEPASS_KERNELS_CPU_TILE_INL_H_
#undef ONEPASS_KERNELS_CPU_TILE_INL_H_
#else
#define ONEPASS_KERNELS_CPU_TILE_INL_H_
#endif

#include <cstdint>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/cpu/blocking.h"
#include "kernels/cpu/half-inl.h"
#include "tensor/dtype.h"

HWY_BEFORE_NAMESPACE();
namespace onepass {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, 16>;
using DU = hn::RebindToUnsigned<DF>;
using VF = hn::Vec<DF>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(DF()));

// Rows of the largest tile that is two vectors wide: its sums fill the registers.
#if HWY_TARGET == HWY_AVX3
constexpr int kTileRows = 12;
#else
constexpr int kTileRows = 6;
#endif

// How far ahead a panel that is read once is fetched: 4 kB of bf16 or f16, 8 kB of f32.
constexpr int kPrefetchRows = 64;

// Where vector v of a tile that begins at column (f32, f16) or word (bf16) 0 lies in the panel.
template <class B>
constexpr int ColumnOf(int v) {
  return v * kLanes;
}
template <>
constexpr int ColumnOf<BF16Pair>(int v) {
  return (v / 2) * kLanes + (v % 2) * kPanel / 2;
}

// Loads the kVectors vectors of a row of B. A BF16Pair holds columns j and j + 16 of a panel, so
// one load and two cheap operations make two vectors.
template <int kVectors>
HWY_INLINE void LoadRow(const float* HWY_RESTRICT b, VF* HWY_RESTRICT row) {
  const DF d;
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) row[v] = hn::LoadU(d, b + v * kLanes);
}
template <int kVectors>
HWY_INLINE void LoadRow(const F16* HWY_RESTRICT b, VF* HWY_RESTRICT row) {
  const DF d;
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) row[v] = LoadHalves(d, b + v * kLanes);
}
template <int kVectors>
HWY_INLINE void LoadRow(const BF16Pair* HWY_RESTRICT b, VF* HWY_RESTRICT row) {
  static_assert(kVectors % 2 == 0);
  const DF d;
  const DU du;
  const auto upper = hn::Set(du, 0xFFFF0000u);
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; v += 2) {
    const auto pair = hn::LoadU(du, reinterpret_cast<const uint32_t*>(b) + v / 2 * kLanes);
    row[v] = hn::BitCast(d, hn::ShiftLeft<16>(pair));
    row[v + 1] = hn::BitCast(d, hn::And(pair, upper));
  }
}

// C (+)= A B for kRows rows and kVectors vectors of columns. c rows are ldc apart; load_c: C += .
// kFromMemory: B lies in no cache.
template <int kRows, int kVectors, bool kTransposedA, bool kFromMemory, class B>
HWY_INLINE void Tile(const float* HWY_RESTRICT a, const B* HWY_RESTRICT b, int64_t ldb,
                     int64_t depth, float* HWY_RESTRICT c, int64_t ldc, bool load_c) {
  const DF d;
  VF sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      sums[i][v] = load_c ? hn::LoadU(d, c + i * ldc + ColumnOf<B>(v)) : hn::Zero(d);
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    // The processor's own prefetch ends at each page.
    if constexpr (kFromMemory) hwy::Prefetch(b + kPrefetchRows * ldb);
    VF row[kVectors];
    LoadRow<kVectors>(b, row);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const VF x = hn::Set(d, kTransposedA ? a[i] : a[i * kStride]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[i][v] = hn::MulAdd(x, row[v], sums[i][v]);
    }
    a += kTransposedA ? kStride : 1;
    b += ldb;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      hn::StoreU(sums[i][v], d, c + i * ldc + ColumnOf<B>(v));
    }
  }
}

template <int kVectors, bool kTransposedA, bool kFromMemory, class B>
HWY_NOINLINE void TileOfRows(int64_t rows, const float* a, const B* b, int64_t ldb, int64_t depth,
                             float* c, int64_t ldc, bool load_c) {
  switch (rows) {
#define ONEPASS_TILE(n) \
  case n:               \
    return Tile<n, kVectors, kTransposedA, kFromMemory, B>(a, b, ldb, depth, c, ldc, load_c);
    ONEPASS_TILE(1)
    ONEPASS_TILE(2)
    ONEPASS_TILE(3)
    ONEPASS_TILE(4)
    ONEPASS_TILE(5)
    ONEPASS_TILE(6)
#if HWY_TARGET == HWY_AVX3
    ONEPASS_TILE(7)
    ONEPASS_TILE(8)
    ONEPASS_TILE(9)
    ONEPASS_TILE(10)
    ONEPASS_TILE(11)
    ONEPASS_TILE(12)
#endif
#undef ONEPASS_TILE
    default:
      return;
  }
}

// Splits `rows` into tiles of nearly equal height and runs body(row, height) on each.
template <class Body>
HWY_INLINE void ForEachTile(int64_t rows, const Body& body) {
  const Parts tiles(rows, kTileRows);
  for (int64_t i = 0; i < tiles.count(); ++i) body(tiles.begin(i), tiles.size(i));
}

// C[rows, kPanel] (+)= A B over one panel of 32 columns.
template <bool kTransposedA, class B>
HWY_INLINE void PanelProduct(int64_t rows, const float* a, const B* b, int64_t ldb, int64_t depth,
                             float* c, int64_t ldc, bool load_c) {
  constexpr int kAStep = kTransposedA ? 1 : kStride;
  if constexpr (kLanes == 8) {
    if (rows <= 3) {  // four vectors wide: the panel streams through once
      TileOfRows<4, kTransposedA, true, B>(rows, a, b, ldb, depth, c, ldc, load_c);
      return;
    }
  }
  // A tile takes two vectors of columns, in pairs one vector of words.
  constexpr int kStep = 2 * kLanes * kRowElements<B> / kPanel;
  for (int at = 0; at < kRowElements<B>; at += kStep) {
    ForEachTile(rows, [&](int64_t row, int64_t height) HWY_ATTR {
      TileOfRows<2, kTransposedA, true, B>(height, a + row * kAStep, b + at, ldb, depth,
                                           c + row * ldc + at, ldc, load_c);
    });
  }
}

// The same over `columns` columns of f32, a multiple of 16 (a whole number of vectors).
template <bool kTransposedA>
HWY_INLINE void Product(int64_t rows, const float* a, const float* b, int64_t ldb, int64_t depth,
                        float* c, int64_t ldc, int64_t columns, bool load_c) {
  constexpr int kAStep = kTransposedA ? 1 : kStride;
  int64_t at = 0;
  for (; at + 2 * kLanes <= columns; at += 2 * kLanes) {
    ForEachTile(rows, [&](int64_t row, int64_t height) HWY_ATTR {
      TileOfRows<2, kTransposedA, false, float>(height, a + row * kAStep, b + at, ldb, depth,
                                                c + row * ldc + at, ldc, load_c);
    });
  }
  for (; at < columns; at += kLanes) {
    ForEachTile(rows, [&](int64_t row, int64_t height) HWY_ATTR {
      TileOfRows<1, kTransposedA, false, float>(height, a + row * kAStep, b + at, ldb, depth,
                                                c + row * ldc + at, ldc, load_c);
    });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace onepass
HWY_AFTER_NAMESPACE();

#endif
