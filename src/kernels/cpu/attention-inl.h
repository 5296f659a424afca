// What attention and its backward share: loading queries and keys into packed operands.
#if defined(ONEPASS_KERNELS_CPU_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ONEPASS_KERNELS_CPU_ATTENTION_INL_H_
#undef ONEPASS_KERNELS_CPU_ATTENTION_INL_H_
#else
#define ONEPASS_KERNELS_CPU_ATTENTION_INL_H_
#endif

#include <cstring>
#include <limits>

#include "hwy/highway.h"
#include "kernels/cpu/attention_memory.h"
#include "kernels/cpu/tile-inl.h"
#include "kernels/cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace onepass {
namespace HWY_NAMESPACE {

// Queries [begin, begin + count) of a sequence with all heads of one KV head. Row i * group + m is
// query i's head m, so that rows are sorted by what they see.
struct QueryBlock {
  int64_t begin = 0;  // within the sequence
  int64_t count = 0;
  int64_t group = 0;      // H / G
  int64_t before = 0;     // keys before the sequence's own tokens
  int64_t first_row = 0;  // of the ragged batch
  int64_t column = 0;     // of the group's heads in q

  int64_t rows() const { return count * group; }
  int64_t padded_rows() const { return RoundUp(rows(), 16); }
  // Keys that the block's last query sees.
  int64_t key_count() const { return before + begin + count; }
  // The first row that sees key `key`, rounded down to whole vectors of 16.
  int64_t FirstRow(int64_t key) const {
    const int64_t query = std::max<int64_t>(0, key - before - begin);
    return query * group / 16 * 16;
  }
};

inline QueryBlock MakeQueryBlock(const AttentionShape& shape,
                                 const AttentionSequence<float>& sequence, int64_t keys,
                                 int64_t kv_head, int64_t begin, int64_t count) {
  QueryBlock block;
  block.begin = begin;
  block.count = count;
  block.group = shape.heads / shape.kv_heads;
  block.before = keys - sequence.query_count;
  block.first_row = sequence.query_begin + begin;
  block.column = kv_head * block.group * shape.head_dim;
  return block;
}

// to[row][width] = the block's heads of x, times `scale`; to_t[e][kStride] its transpose, with
// zeros in the padding rows.
inline void LoadRows(View<const float> x, const QueryBlock& block, int64_t head_dim, float scale,
                     int64_t width, float* HWY_RESTRICT to, float* HWY_RESTRICT to_t) {
  const int64_t rows = block.rows();
  for (int64_t i = 0; i < block.count; ++i) {
    const float* HWY_RESTRICT from = x.row(block.first_row + i) + block.column;
    for (int64_t m = 0; m < block.group; ++m) {
      float* HWY_RESTRICT row = to + (i * block.group + m) * width;
      for (int64_t e = 0; e < head_dim; ++e) row[e] = from[m * head_dim + e] * scale;
    }
  }
  Transpose(to, width, rows, head_dim, to_t, kStride);
  const int64_t padding = block.padded_rows() - rows;
  if (padding > 0) {
    for (int64_t e = 0; e < head_dim; ++e) std::fill_n(to_t + e * kStride + rows, padding, 0.0f);
  }
}

inline void LoadVisible(const QueryBlock& block, float* visible) {
  for (int64_t r = 0; r < block.padded_rows(); ++r) {
    const int64_t query = std::min(r / block.group, block.count - 1);
    visible[r] = static_cast<float>(block.before + block.begin + query + 1);
  }
}

// Rows of BF16 or I8 (tensor/narrow_row.h) become rows of f32, kStride apart.
inline void WidenRows(DType dtype, const std::byte* from, int64_t rows, int64_t head_dim,
                      float* HWY_RESTRICT to) {
  const DF d;
  const int64_t whole = head_dim / kLanes * kLanes;
  const int64_t row_bytes = StoredElements(dtype, head_dim) * SizeOf(dtype);
  if (dtype == DType::kBF16) {
    const hn::Rebind<uint16_t, DF> d16;
    for (int64_t r = 0; r < rows; ++r, from += row_bytes, to += kStride) {
      const auto* HWY_RESTRICT row = reinterpret_cast<const uint16_t*>(from);
      for (int64_t e = 0; e < whole; e += kLanes) {
        const auto bits = hn::PromoteTo(DU(), hn::LoadU(d16, row + e));
        hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(bits)), d, to + e);
      }
      for (int64_t e = whole; e < head_dim; ++e) to[e] = ToFloat(BF16{row[e]});
    }
    return;
  }
  const hn::RebindToSigned<DF> d32;
  const hn::Rebind<int8_t, DF> d8;
  for (int64_t r = 0; r < rows; ++r, from += row_bytes, to += kStride) {
    const auto* HWY_RESTRICT row = reinterpret_cast<const int8_t*>(from);
    float scale;
    std::memcpy(&scale, row + head_dim, sizeof(scale));
    const VF scales = hn::Set(d, scale);
    for (int64_t e = 0; e < whole; e += kLanes) {
      const VF quants = hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(d8, row + e)));
      hn::StoreU(hn::Mul(quants, scales), d, to + e);
    }
    for (int64_t e = whole; e < head_dim; ++e) to[e] = static_cast<float>(row[e]) * scale;
  }
}

// Rows of K or V of any type become rows of f32, kStride apart.
inline void LoadRowsOfKv(DType dtype, const std::byte* from, int64_t rows, int64_t head_dim,
                         float* HWY_RESTRICT to) {
  if (dtype != DType::kF32) {
    WidenRows(dtype, from, rows, head_dim, to);
    return;
  }
  const size_t row_bytes = static_cast<size_t>(head_dim) * sizeof(float);
  for (int64_t r = 0; r < rows; ++r) std::memcpy(to + r * kStride, from + r * row_bytes, row_bytes);
}

// The next `count` keys of a head and their values, as [count][kStride].
inline void LoadKeys(RunCursor& cursor, int64_t kv_head, int64_t head_dim, int64_t count,
                     float* HWY_RESTRICT keys, float* HWY_RESTRICT values) {
  cursor.Next(count, [&](const KvRun<float>& run, int64_t from, int64_t at, int64_t rows) HWY_ATTR {
    LoadRowsOfKv(run.dtype, run.k_row(kv_head, from, head_dim), rows, head_dim,
                 keys + at * kStride);
    LoadRowsOfKv(run.dtype, run.v_row(kv_head, from, head_dim), rows, head_dim,
                 values + at * kStride);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace onepass
HWY_AFTER_NAMESPACE();

#endif
