#include "kernels/cpu/attention.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>

#include "kernels/cpu/share_items.h"
#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/attention-inl.h"
#include "kernels/cpu/exp-inl.h"
#include "kernels/shape_checks.h"

HWY_BEFORE_NAMESPACE();
namespace onepass {
namespace HWY_NAMESPACE {

// Scores [count][kStride] of the keys [base, base + count) become probabilities relative to each
// row's running maximum; the row's total and earlier sums are to be scaled by its correction.
void OnlineSoftmax(int64_t base, int64_t count, int64_t first_row, int64_t rows,
                   const AttentionMemory& memory) {
  const DF d;
  const VF hidden = hn::Set(d, -std::numeric_limits<float>::infinity());
  for (int64_t c = first_row; c < rows; c += kLanes) {
    float* HWY_RESTRICT scores = memory.scores + c;
    const VF visible = hn::LoadU(d, memory.visible + c);
    const VF old_max = hn::LoadU(d, memory.max + c);
    VF max = old_max;
    if (memory.visible[c] < static_cast<float>(base + count)) {
      for (int64_t j = 0; j < count; ++j) {
        const auto seen = hn::Lt(hn::Set(d, static_cast<float>(base + j)), visible);
        const VF s = hn::IfThenElse(seen, hn::LoadU(d, scores + j * kStride), hidden);
        hn::StoreU(s, d, scores + j * kStride);
        max = hn::Max(max, s);
      }
    } else {
      for (int64_t j = 0; j < count; ++j) max = hn::Max(max, hn::LoadU(d, scores + j * kStride));
    }
    const VF correction = Exp(d, hn::Sub(old_max, max));
    VF total = hn::Mul(hn::LoadU(d, memory.total + c), correction);
    for (int64_t j = 0; j < count; ++j) {
      const VF p = Exp(d, hn::Sub(hn::LoadU(d, scores + j * kStride), max));
      hn::StoreU(p, d, scores + j * kStride);
      total = hn::Add(total, p);
    }
    hn::StoreU(max, d, memory.max + c);
    hn::StoreU(total, d, memory.total + c);
    hn::StoreU(correction, d, memory.correction + c);
  }
}

// The same of one row whose scores [64] are neighbours, with the same sums in the same order.
void OnlineSoftmaxOfRow(int64_t base, int64_t count, int64_t row, const AttentionMemory& memory) {
  const DF d;
  const VF hidden = hn::Set(d, -std::numeric_limits<float>::infinity());
  const VF visible = hn::Set(d, memory.visible[row]);
  const VF old_max = hn::Set(d, memory.max[row]);
  float* HWY_RESTRICT scores = memory.scores + row * kStride;
  VF max = old_max;
  for (int64_t j = 0; j < kKeyBlock; j += kLanes) {
    const auto seen = hn::Lt(hn::Iota(d, static_cast<float>(base + j)), visible);
    const VF s = hn::IfThenElse(seen, hn::LoadU(d, scores + j), hidden);
    hn::StoreU(s, d, scores + j);
    max = hn::Max(max, s);
  }
  max = hn::MaxOfLanes(d, max);
  const VF correction = Exp(d, hn::Sub(old_max, max));
  for (int64_t j = 0; j < kKeyBlock; j += kLanes) {
    hn::StoreU(Exp(d, hn::Sub(hn::LoadU(d, scores + j), max)), d, scores + j);
  }
  float total = hn::GetLane(hn::Mul(hn::Set(d, memory.total[row]), correction));
  for (int64_t j = 0; j < count; ++j) total += scores[j];
  memory.max[row] = hn::GetLane(max);
  memory.total[row] = total;
  memory.correction[row] = hn::GetLane(correction);
}

void ScaleRow(float factor, int64_t width, float* HWY_RESTRICT row) {
  const DF d;
  const VF f = hn::Set(d, factor);
  for (int64_t e = 0; e < width; e += kLanes) {
    hn::StoreU(hn::Mul(hn::LoadU(d, row + e), f), d, row + e);
  }
}

void ScaleSums(int64_t first, int64_t rows, const AttentionMemory& memory) {
  for (int64_t r = first; r < rows; ++r) {
    if (memory.correction[r] != 1) {
      ScaleRow(memory.correction[r], memory.width, memory.sums + r * memory.width);
    }
  }
}

// The keys [base, base + count) for all rows; lanes lie over rows. `begun`: the chunk has earlier
// keys.
void AttendMany(const QueryBlock& block, int64_t kv_head, int64_t head_dim, int64_t base,
                int64_t count, bool begun, RunCursor& cursor, const AttentionMemory& memory) {
  const int64_t rows = block.rows();
  const int64_t first = block.FirstRow(base);
  LoadKeys(cursor, kv_head, head_dim, count, memory.keys, memory.values);
  Product<false>(count, memory.keys, memory.queries_t + first, kStride, head_dim,
                 memory.scores + first, kStride, block.padded_rows() - first, false);
  OnlineSoftmax(base, count, first, block.padded_rows(), memory);
  if (begun) ScaleSums(first, rows, memory);
  Product<true>(rows - first, memory.scores + first, memory.values, kStride, count,
                memory.sums + first * memory.width, memory.width, memory.width, begun);
}

// Up to this many rows, as decoding has, lanes lie over keys.
constexpr int64_t kFewRows = 8;

// Asks for a block's keys and values before they are read, a part after each step of the block
// before: a processor has a few lines on their way at once, and waits if it is asked for more. Its
// own guesses end at each page.
class BlockFetch {
 public:
  // The next `count` keys from `cursor` on, in `parts` parts; All() ends them.
  BlockFetch(RunCursor cursor, int64_t kv_head, int64_t head_dim, int64_t count, int64_t parts) {
    int64_t lines = 0;
    cursor.Next(count, [&](const KvRun<float>& run, int64_t from, int64_t, int64_t n) {
      const int64_t bytes = n * StoredElements(run.dtype, head_dim) * SizeOf(run.dtype);
      for (const std::byte* at :
           {run.k_row(kv_head, from, head_dim), run.v_row(kv_head, from, head_dim)}) {
        spans_[span_count_++] = {at, at + bytes};
        lines += CeilDiv(bytes, kLine);
      }
    });
    part_ = CeilDiv(lines, parts);
  }

  void Next() { Take(part_); }
  void All() { Take(std::numeric_limits<int64_t>::max()); }

 private:
  void Take(int64_t left) {
    while (left > 0 && span_ < span_count_) {
      auto& [at, end] = spans_[span_];
      for (; left > 0 && at < end; --left, at += kLine) hwy::Prefetch(at);
      if (at >= end) ++span_;
    }
  }

  static constexpr int64_t kLine = 64;
  struct Span {
    const std::byte* at;
    const std::byte* end;
  };
  std::array<Span, 2 * kKeyBlock> spans_;
  size_t span_count_ = 0;
  size_t span_ = 0;
  int64_t part_ = 0;
};

// The same for a few rows, bit for bit: every sum goes over depth and keys in the same order. What
// lies ready is read where it lies. `behind`: keys of the next block.
void AttendFew(const QueryBlock& block, int64_t kv_head, int64_t head_dim, int64_t base,
               int64_t count, int64_t behind, bool begun, RunCursor& cursor,
               const AttentionMemory& memory) {
  const int64_t rows = block.rows();
  RunCursor next = cursor;
  next.Skip(count);
  // Steps of a block that lies in two runs.
  BlockFetch fetch(next, kv_head, head_dim, behind, rows + 4);
  struct Piece {
    const float* values;
    int64_t stride;
    int64_t at;
    int64_t count;
  };
  std::array<Piece, kKeyBlock> pieces;
  size_t piece_count = 0;
  cursor.Next(count, [&](const KvRun<float>& run, int64_t from, int64_t at, int64_t n) HWY_ATTR {
    const std::byte* k = run.k_row(kv_head, from, head_dim);
    const std::byte* v = run.v_row(kv_head, from, head_dim);
    const bool is_f32 = run.dtype == DType::kF32;
    Piece piece{reinterpret_cast<const float*>(v), head_dim, at, n};
    if (!is_f32) WidenRows(run.dtype, k, n, head_dim, memory.keys);
    Transpose(is_f32 ? reinterpret_cast<const float*>(k) : memory.keys, is_f32 ? head_dim : kStride,
              n, head_dim, memory.keys_t + at, kKeyBlock);
    if (!is_f32 || memory.width != head_dim) {
      float* to = memory.values + at * kStride;
      LoadRowsOfKv(run.dtype, v, n, head_dim, to);
      piece.values = to;
      piece.stride = kStride;
    }
    pieces[piece_count++] = piece;
    fetch.Next();
  });
  Product<true>(rows, memory.queries_t, memory.keys_t, kKeyBlock, head_dim, memory.scores, kStride,
                kKeyBlock, false);
  for (int64_t r = 0; r < rows; ++r) {
    OnlineSoftmaxOfRow(base, count, r, memory);
    fetch.Next();
  }
  if (begun) ScaleSums(0, rows, memory);
  for (const Piece& piece : std::span(pieces).first(piece_count)) {
    Product<false>(rows, memory.scores + piece.at, piece.values, piece.stride, piece.count,
                   memory.sums, memory.width, memory.width, begun || piece.at > 0);
    fetch.Next();
  }
  fetch.All();
}

// The chunk of keys from `begin` on: memory.max, .total and .sums of the rows that see any of them.
void AttendChunk(const QueryBlock& block, int64_t kv_head, int64_t head_dim, int64_t begin,
                 RunCursor& cursor, const AttentionMemory& memory) {
  const int64_t end = std::min(begin + kKeyChunk, block.key_count());
  std::fill_n(memory.max, block.padded_rows(), std::numeric_limits<float>::lowest());
  std::fill_n(memory.total, block.padded_rows(), 0.0f);
  const bool few = block.rows() <= kFewRows;
  if (few) BlockFetch(cursor, kv_head, head_dim, std::min(kKeyBlock, end - begin), 1).All();
  for (int64_t base = begin; base < end; base += kKeyBlock) {
    const int64_t count = std::min(kKeyBlock, end - base);
    if (few) {
      const int64_t behind = std::min(kKeyBlock, end - base - count);
      AttendFew(block, kv_head, head_dim, base, count, behind, base > begin, cursor, memory);
    } else {
      AttendMany(block, kv_head, head_dim, base, count, base > begin, cursor, memory);
    }
  }
}

float ExpOf(float x) { return hn::GetLane(Exp(DF(), hn::Set(DF(), x))); }

// Adds the sums of the chunk that begins at key `begin`, which not all rows see.
void MergeChunk(int64_t rows, int64_t begin, const float* max, const float* total,
                const float* sums, const AttentionMemory& memory) {
  const DF d;
  for (int64_t r = 0; r < rows; ++r) {
    if (memory.visible[r] <= static_cast<float>(begin)) continue;
    const float larger = std::max(memory.merged_max[r], max[r]);
    const float keep = ExpOf(memory.merged_max[r] - larger);
    const float add = ExpOf(max[r] - larger);
    memory.merged_max[r] = larger;
    // Rounded in one way, whatever the compiler would fuse.
    memory.merged_total[r] = hn::GetLane(hn::MulAdd(hn::Set(d, total[r]), hn::Set(d, add),
                                                    hn::Set(d, memory.merged_total[r] * keep)));
    const float* HWY_RESTRICT from = sums + r * memory.width;
    float* HWY_RESTRICT to = memory.merged + r * memory.width;
    for (int64_t e = 0; e < memory.width; e += kLanes) {
      const VF kept = hn::Mul(hn::LoadU(d, to + e), hn::Set(d, keep));
      hn::StoreU(hn::MulAdd(hn::LoadU(d, from + e), hn::Set(d, add), kept), d, to + e);
    }
  }
}

// Publishes the chunk's sums. True for the thread that ends the split's last chunk, after it has
// merged them all in their order.
bool EndChunk(const QueryBlock& block, const AttentionItem& item, const AttentionMemory& memory,
              AttentionScratch& scratch) {
  AttentionSplit& split = scratch.splits[item.split];
  const int64_t rows = block.rows();
  float* const all = scratch.chunk_sums.data() + split.sums_at;
  float* const own = all + item.chunk * split.chunk_floats;
  std::copy_n(memory.sums, rows * memory.width, own);
  std::copy_n(memory.max, rows, own + rows * memory.width);
  std::copy_n(memory.total, rows, own + rows * memory.width + rows);
  if (std::atomic_ref(split.chunks_left).fetch_sub(1, std::memory_order_acq_rel) > 1) return false;
  for (int64_t chunk = 0; chunk < split.chunk_count; ++chunk) {
    const float* sums = all + chunk * split.chunk_floats;
    const float* max = sums + rows * memory.width;
    MergeChunk(rows, chunk * kKeyChunk, max, max + rows, sums, memory);
  }
  return true;
}

void AttentionPart(View<const float> q, const AttentionShape& shape,
                   const AttentionSequence<float>& sequence, const AttentionItem& item,
                   View<float> out, View<float> lse, AttentionScratch& scratch, int thread) {
  const int64_t d = shape.head_dim;
  const AttentionMemory memory(scratch.threads[thread].data(), d);
  const QueryBlock block = MakeQueryBlock(shape, sequence, KeyCount(sequence), item.kv_head,
                                          item.query_begin, item.query_count);
  const int64_t rows = block.rows();
  LoadRows(q, block, d, static_cast<float>(shape.scale), memory.width, memory.queries,
           memory.queries_t);
  LoadVisible(block, memory.visible);
  std::fill_n(memory.merged_max, rows, std::numeric_limits<float>::lowest());
  std::fill_n(memory.merged_total, rows, 0.0f);
  std::fill_n(memory.merged, rows * memory.width, 0.0f);
  RunCursor cursor(sequence.runs);
  if (item.split >= 0) {
    const int64_t begin = item.chunk * kKeyChunk;
    cursor.Skip(begin);
    AttendChunk(block, item.kv_head, d, begin, cursor, memory);
    if (!EndChunk(block, item, memory, scratch)) return;
  } else {
    for (int64_t begin = 0; begin < block.key_count(); begin += kKeyChunk) {
      AttendChunk(block, item.kv_head, d, begin, cursor, memory);
      MergeChunk(rows, begin, memory.max, memory.total, memory.sums, memory);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t t = block.first_row + r / block.group;
    const int64_t m = r % block.group;
    const float* HWY_RESTRICT sums = memory.merged + r * memory.width;
    float* HWY_RESTRICT to = out.row(t) + block.column + m * d;
    const float inverse = 1 / memory.merged_total[r];
    for (int64_t e = 0; e < d; ++e) to[e] = sums[e] * inverse;
    lse(t, item.kv_head * block.group + m) =
        memory.merged_max[r] + std::log(memory.merged_total[r]);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace onepass
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace onepass {

HWY_EXPORT(AttentionPart);

namespace {

// Cost below which no other thread is woken: rows times keys times D.
constexpr int64_t kWorthAThread = 50'000;

}  // namespace

void Attention(View<const float> q, const AttentionShape& shape,
               std::span<const AttentionSequence<float>> sequences, View<float> out,
               View<float> lse, AttentionScratch& scratch, ThreadPool& pool) {
  const int64_t cost = scratch.PlanItems(shape, sequences, pool.thread_count());
  scratch.Reserve(pool.thread_count(), shape.head_dim);
  ShareOneByOne(std::ssize(scratch.items), cost / kWorthAThread + 1, pool,
                [&](int64_t i, int thread) {
                  const AttentionItem& item = scratch.items[i];
                  HWY_DYNAMIC_DISPATCH(AttentionPart)
                  (q, shape, sequences[item.sequence], item, out, lse, scratch, thread);
                });
}

}  // namespace onepass
#endif
