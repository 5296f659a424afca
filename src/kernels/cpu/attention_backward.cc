#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <numeric>

#include "kernels/cpu/attention.h"
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

void AddKeyGradients(RunCursor cursor, int64_t kv_head, int64_t head_dim, int64_t count,
                     const AttentionMemory& memory) {
  cursor.Next(count, [&](const KvRun<float>& run, int64_t from, int64_t at, int64_t rows) {
    const int64_t offset = kv_head * run.head_stride + from * head_dim;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t to = offset + r * head_dim;
      const int64_t row = (at + r) * memory.width;
      if (run.dk != nullptr) AddRow(memory.key_sums + row, 1, head_dim, run.dk + to);
      if (run.dv != nullptr) AddRow(memory.value_sums + row, 1, head_dim, run.dv + to);
    }
  });
}

void BackwardOfBlock(const AttentionBackwardCall& call, const AttentionSequence<float>& sequence,
                     const QueryBlock& block, int64_t kv_head, const AttentionMemory& memory) {
  const int64_t d = call.shape.head_dim;
  const int64_t width = memory.width;
  const int64_t rows = block.rows();
  const float scale = static_cast<float>(call.shape.scale);
  LoadRows(call.q, block, d, scale, width, memory.queries, memory.queries_t);
  LoadRows(call.dout, block, d, 1.0f, width, memory.douts, memory.douts_t);
  LoadVisible(block, memory.visible);
  LoadStatistics(call, block, kv_head, memory);
  RunCursor cursor(sequence.runs);
  for (int64_t base = 0; base < block.key_count(); base += kKeyBlock) {
    const int64_t count = std::min(kKeyBlock, block.key_count() - base);
    const int64_t first = block.FirstRow(base);
    const int64_t columns = block.padded_rows() - first;
    const RunCursor start = cursor;
    LoadKeys(cursor, kv_head, d, count, memory.keys, memory.values);
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
    if (wanted.dk || wanted.dv) AddKeyGradients(start, kv_head, d, count, memory);
  }
  for (int64_t r = 0; r < rows; ++r) {
    AddRow(memory.sums + r * width, scale, d,
           call.dq.row(block.first_row + r / block.group) + block.column + r % block.group * d);
  }
}

// Everything of one KV head for the sequences of one component, in their order.
void AttentionBackwardPart(const AttentionBackwardCall& call, std::span<const int32_t> component,
                           int32_t id, int64_t kv_head, float* scratch) {
  const AttentionMemory memory(scratch, call.shape.head_dim);
  const int64_t group = call.shape.heads / call.shape.kv_heads;
  const int64_t step = std::max<int64_t>(1, kQueryRows / group);
  for (size_t s = 0; s < call.sequences.size(); ++s) {
    if (component[s] != id) continue;
    const AttentionSequence<float>& sequence = call.sequences[s];
    const int64_t keys = KeyCount(sequence);
    for (int64_t begin = 0; begin < sequence.query_count; begin += step) {
      const int64_t count = std::min(step, sequence.query_count - begin);
      BackwardOfBlock(call, sequence,
                      MakeQueryBlock(call.shape, sequence, keys, kv_head, begin, count), kv_head,
                      memory);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace onepass
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace onepass {

HWY_EXPORT(AttentionBackwardPart);

namespace {

// Cost below which no other thread is woken: rows times keys times D.
constexpr int64_t kWorthAThread = 20'000;

int32_t Root(std::span<int32_t> parents, int32_t s) {
  while (parents[s] != s) s = parents[s] = parents[parents[s]];
  return s;
}

// component[s] = the first sequence that s is tied to by gradients added to the same memory.
void FindComponents(std::span<const AttentionSequence<float>> sequences, int64_t head_dim,
                    AttentionScratch& scratch) {
  scratch.component.resize(sequences.size());
  std::iota(scratch.component.begin(), scratch.component.end(), 0);
  scratch.ranges.clear();
  for (size_t s = 0; s < sequences.size(); ++s) {
    for (const KvRun<float>& run : sequences[s].runs) {
      for (const float* at : {run.dk, run.dv}) {
        if (at != nullptr && run.count > 0) {
          scratch.ranges.push_back({at, at + run.count * head_dim, static_cast<int32_t>(s)});
        }
      }
    }
  }
  std::sort(scratch.ranges.begin(), scratch.ranges.end(),
            [](const GradientRange& a, const GradientRange& b) {
              return std::less<const float*>()(a.begin, b.begin) ||
                     (a.begin == b.begin && a.sequence < b.sequence);
            });
  const float* end = nullptr;
  int32_t owner = -1;
  for (const GradientRange& range : scratch.ranges) {
    if (owner >= 0 && std::less<const float*>()(range.begin, end)) {
      const int32_t a = Root(scratch.component, owner);
      const int32_t b = Root(scratch.component, range.sequence);
      scratch.component[std::max(a, b)] = std::min(a, b);
      end = std::max(end, range.end, std::less<const float*>());
    } else {
      end = range.end;
      owner = range.sequence;
    }
  }
  for (size_t s = 0; s < sequences.size(); ++s) {
    scratch.component[s] = Root(scratch.component, static_cast<int32_t>(s));
  }
}

}  // namespace

void AttentionBackward(View<const float> q, const AttentionShape& shape,
                       std::span<const AttentionSequence<float>> sequences, View<const float> out,
                       View<const float> lse, View<const float> dout, View<float> dq,
                       AttentionScratch& scratch, ThreadPool& pool) {
  FindComponents(sequences, shape.head_dim, scratch);
  scratch.items.clear();
  int64_t cost = 0;
  for (int32_t s = 0; s < static_cast<int32_t>(sequences.size()); ++s) {
    int64_t own = 0;
    for (size_t other = s; other < sequences.size(); ++other) {
      if (scratch.component[other] == s) {
        own += sequences[other].query_count * KeyCount(sequences[other]) * shape.head_dim;
      }
    }
    if (own == 0) continue;
    for (int32_t g = 0; g < shape.kv_heads; ++g) {
      scratch.items.push_back({.sequence = s, .kv_head = g, .cost = own});
    }
    cost += own * shape.heads;
  }
  std::sort(scratch.items.begin(), scratch.items.end(), LargerFirst);
  scratch.Reserve(pool.thread_count(), shape.head_dim);
  const AttentionBackwardCall call{q, shape, sequences, out, lse, dout, dq};
  std::atomic<size_t> next{0};
  auto work = [&](int64_t, int64_t, int thread) {
    for (size_t i = next++; i < scratch.items.size(); i = next++) {
      const AttentionItem& item = scratch.items[i];
      HWY_DYNAMIC_DISPATCH(AttentionBackwardPart)
      (call, scratch.component, item.sequence, item.kv_head, scratch.threads[thread].data());
    }
  };
  const int64_t parts = std::min<int64_t>(pool.thread_count(), cost / kWorthAThread + 1);
  pool.ParallelFor(parts, 1, std::ref(work));
}

}  // namespace onepass
#endif
