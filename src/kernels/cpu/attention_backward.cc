#include <algorithm>
#include <cmath>
#include <functional>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/share_items.h"
#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_backward.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/attention-inl.h"
#include "kernels/cpu/exp-inl.h"
#include "kernels/shape_checks.h"

#ifndef ONEPASS_KERNELS_CPU_ATTENTION_BACKWARD_CALL_
#define ONEPASS_KERNELS_CPU_ATTENTION_BACKWARD_CALL_
namespace onepass {

struct AttentionBackwardCall {
  View<const float> q;
  AttentionShape shape;
  std::span<const AttentionSequence<float>> sequences;
  View<const float> out;
  View<const float> lse;
  View<const float> dout;
  View<float> dq;
  float* key_sums;  // AttentionScratch::key_sums
};

}  // namespace onepass
#endif

HWY_BEFORE_NAMESPACE();
namespace onepass {
namespace HWY_NAMESPACE {

// lse and delta = dout . out of each row.
void LoadStatistics(const AttentionBackwardCall& call, const QueryBlock& block, int64_t kv_head,
                    const AttentionMemory& memory) {
  const int64_t d = call.shape.head_dim;
  for (int64_t r = 0; r < block.padded_rows(); ++r) {
    if (r >= block.rows()) {
      memory.max[r] = 0;
      memory.total[r] = 0;
      continue;
    }
    const int64_t t = block.first_row + r / block.group;
    const int64_t m = r % block.group;
    const float* HWY_RESTRICT a = call.dout.row(t) + block.column + m * d;
    const float* HWY_RESTRICT b = call.out.row(t) + block.column + m * d;
    double delta = 0;
    for (int64_t e = 0; e < d; ++e) delta += static_cast<double>(a[e]) * b[e];
    memory.max[r] = call.lse(t, kv_head * block.group + m);
    memory.total[r] = static_cast<float>(delta);
  }
}

// scores: S^T -> P^T = exp(S^T - lse); gradients: dP^T -> dS^T = P^T (dP^T - delta). Hidden: 0.
void ScoreGradients(int64_t base, int64_t count, int64_t first_row, int64_t rows,
                    const AttentionMemory& memory) {
  const DF d;
  for (int64_t c = first_row; c < rows; c += kLanes) {
    float* HWY_RESTRICT scores = memory.scores + c;
    float* HWY_RESTRICT gradients = memory.gradients + c;
    const VF lse = hn::LoadU(d, memory.max + c);
    const VF delta = hn::LoadU(d, memory.total + c);
    const VF visible = hn::LoadU(d, memory.visible + c);
    const bool partial = memory.visible[c] < static_cast<float>(base + count);
    for (int64_t j = 0; j < count; ++j) {
      VF p = Exp(d, hn::Sub(hn::LoadU(d, scores + j * kStride), lse));
      if (partial) {
        const auto seen = hn::Lt(hn::Set(d, static_cast<float>(base + j)), visible);
        p = hn::IfThenElseZero(seen, p);
      }
      const VF ds = hn::Mul(p, hn::Sub(hn::LoadU(d, gradients + j * kStride), delta));
      hn::StoreU(p, d, scores + j * kStride);
      hn::StoreU(ds, d, gradients + j * kStride);
    }
  }
}

void AddRow(const float* HWY_RESTRICT from, float factor, int64_t count, float* HWY_RESTRICT to) {
  for (int64_t e = 0; e < count; ++e) to[e] += from[e] * factor;
}

struct Wanted {
  bool dk = false;
  bool dv = false;
};

// Whether any of the next `count` keys takes gradients; constant KV costs nothing more.
Wanted WantedGradients(RunCursor cursor, int64_t count) {
  Wanted wanted;
  cursor.Next(count, [&](const KvRun<float>& run, int64_t, int64_t, int64_t) {
    wanted.dk |= run.dk != nullptr;
    wanted.dv |= run.dv != nullptr;
  });
  return wanted;
}

// Adds the gradients of the next `count` keys to `sums`, those of keys that take any one behind the
// other. Returns what lies behind them.
float* AddToSums(RunCursor cursor, int64_t head_dim, int64_t count, const AttentionMemory& memory,
                 float* sums) {
  cursor.Next(count, [&](const KvRun<float>& run, int64_t, int64_t at, int64_t rows) HWY_ATTR {
    if (run.dk == nullptr && run.dv == nullptr) return;
    for (int64_t r = at; r < at + rows; ++r, sums += 2 * head_dim) {
      const int64_t row = r * memory.width;
      if (run.dk != nullptr) AddRow(memory.key_sums + row, 1, head_dim, sums);
      if (run.dv != nullptr) {
        AddRow(memory.value_sums + row, 1, head_dim, sums + head_dim);
      }
    }
  });
  return sums;
}

void BackwardOfBlock(const AttentionBackwardCall& call, const BackwardItem& item,
                     const QueryBlock& block, const AttentionMemory& memory) {
  const int64_t d = call.shape.head_dim;
  const int64_t width = memory.width;
  const int64_t rows = block.rows();
  const float scale = static_cast<float>(call.shape.scale);
  LoadRows(call.q, block, d, scale, width, memory.queries, memory.queries_t);
  LoadRows(call.dout, block, d, 1.0f, width, memory.douts, memory.douts_t);
  LoadVisible(block, memory.visible);
  LoadStatistics(call, block, item.kv_head, memory);
  RunCursor cursor(call.sequences[item.sequence].runs);
  float* sums = call.key_sums + item.sums_at;
  for (int64_t base = 0; base < block.key_count(); base += kKeyBlock) {
    const int64_t count = std::min(kKeyBlock, block.key_count() - base);
    const int64_t first = block.FirstRow(base);
    const int64_t columns = block.padded_rows() - first;
    const RunCursor start = cursor;
    LoadKeys(cursor, item.kv_head, d, count, memory.keys, memory.values);
    Product<false>(count, memory.keys, memory.queries_t + first, kStride, d, memory.scores + first,
                   kStride, columns, false);
    Product<false>(count, memory.values, memory.douts_t + first, kStride, d,
                   memory.gradients + first, kStride, columns, false);
    ScoreGradients(base, count, first, block.padded_rows(), memory);
    Product<true>(rows - first, memory.gradients + first, memory.keys, kStride, count,
                  memory.sums + first * width, width, width, base > 0);
    const Wanted wanted = WantedGradients(start, count);
    if (wanted.dk) {
      Product<false>(count, memory.gradients + first, memory.queries + first * width, width,
                     rows - first, memory.key_sums, width, width, false);
    }
    if (wanted.dv) {
      Product<false>(count, memory.scores + first, memory.douts + first * width, width,
                     rows - first, memory.value_sums, width, width, false);
    }
    if (wanted.dk || wanted.dv) sums = AddToSums(start, d, count, memory, sums);
  }
  for (int64_t r = 0; r < rows; ++r) {
    AddRow(memory.sums + r * width, scale, d,
           call.dq.row(block.first_row + r / block.group) + block.column + r % block.group * d);
  }
}

void AttentionBackwardPart(const AttentionBackwardCall& call, const BackwardItem& item,
                           float* scratch) {
  const int64_t head_dim = call.shape.head_dim;
  const AttentionMemory memory(scratch, head_dim);
  const AttentionSequence<float>& sequence = call.sequences[item.sequence];
  const int64_t keys = KeyCount(sequence);
  const int64_t step = QueriesOfBlock(call.shape);
  std::fill_n(call.key_sums + item.sums_at, item.sum_floats, 0.0f);
  for (int64_t at = 0; at < item.query_count; at += step) {
    const int64_t count = std::min(step, item.query_count - at);
    BackwardOfBlock(
        call, item,
        MakeQueryBlock(call.shape, sequence, keys, item.kv_head, item.query_begin + at, count),
        memory);
  }
}

// Adds an item's sums to the gradients of its keys.
void AddSumsOf(const AttentionBackwardCall& call, const BackwardItem& item) {
  const int64_t d = call.shape.head_dim;
  const float* sums = call.key_sums + item.sums_at;
  RunCursor cursor(call.sequences[item.sequence].runs);
  cursor.Next(item.key_end,
              [&](const KvRun<float>& run, int64_t from, int64_t, int64_t rows) HWY_ATTR {
                if (run.dk == nullptr && run.dv == nullptr) return;
                int64_t to = item.kv_head * run.head_stride + from * d;
                for (int64_t r = 0; r < rows; ++r, to += d, sums += 2 * d) {
                  if (run.dk != nullptr) AddRow(sums, 1, d, run.dk + to);
                  if (run.dv != nullptr) AddRow(sums + d, 1, d, run.dv + to);
                }
              });
}

}  // namespace HWY_NAMESPACE
}  // namespace onepass
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace onepass {

HWY_EXPORT(AttentionBackwardPart);
HWY_EXPORT(AddSumsOf);

namespace {

// Cost below which no other thread is woken: rows times keys times D.
constexpr int64_t kWorthAThread = 20'000;

}  // namespace

void AttentionBackward(View<const float> q, const AttentionShape& shape,
                       std::span<const AttentionSequence<float>> sequences, View<const float> out,
                       View<const float> lse, View<const float> dout, View<float> dq,
                       AttentionScratch& scratch, ThreadPool& pool) {
  const int64_t cost = scratch.PlanBackward(shape, sequences);
  scratch.Reserve(pool.thread_count(), shape.head_dim);
  const AttentionBackwardCall call{q,   shape, sequences, out,
                                   lse, dout,  dq,        scratch.key_sums.data()};
  const std::span<const BackwardItem> items = scratch.backward_items;
  ShareOneByOne(std::ssize(items), cost / kWorthAThread + 1, pool, [&](int64_t i, int thread) {
    HWY_DYNAMIC_DISPATCH(AttentionBackwardPart)
    (call, items[i], scratch.threads[thread].data());
  });
  if (scratch.key_sum_floats == 0) return;
  // Sequences may share keys, so a head's sums are added by one thread, in the order of the items.
  auto add_sums = [&](int64_t begin, int64_t end, int) {
    for (const BackwardItem& item : items) {
      if (item.kv_head >= begin && item.kv_head < end) HWY_DYNAMIC_DISPATCH(AddSumsOf)(call, item);
    }
  };
  pool.ParallelFor(shape.kv_heads, cost < kWorthAThread ? shape.kv_heads : 1, std::ref(add_sums));
}

}  // namespace onepass
#endif
