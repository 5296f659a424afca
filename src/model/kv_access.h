// How a call reaches the KV of its items: the runs that attention reads, and the pages' rows.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "model/tape_impl.h"

namespace onepass {

// The attention calls' description: every item's visible runs, of one layer after the other.
template <class Real>
class AttentionInputs {
 public:
  // Of layer 0, in the memory of what was described before. gradients: null in a forward pass.
  void Describe(std::span<const ItemRecord> items, KvGradients<Real>* gradients) {
    runs_.clear();
    layer_bytes_.clear();
    sequences_.clear();
    layer_ = 0;
    int64_t row = 0;
    for (const ItemRecord& item : items) {
      const size_t first = runs_.size();
      for (const SegmentRef& segment : item.before) {
        AddRuns(*segment, segment->token_count(), gradients);
      }
      AddRuns(*item.tail, item.begin + item.count, gradients);
      // Where the runs lie is known when all are there.
      sequences_.push_back({.query_begin = row,
                            .query_count = item.count,
                            .runs = {runs_.data(), runs_.size() - first}});
      row += item.count;
    }
    const KvRun<Real>* first = runs_.data();
    for (AttentionSequence<Real>& sequence : sequences_) {
      sequence.runs = {first, sequence.runs.size()};
      first += sequence.runs.size();
    }
  }

  // The sequences of a layer, until the next call.
  std::span<const AttentionSequence<Real>> OfLayer(int64_t layer) {
    const int64_t steps = layer - layer_;
    layer_ = layer;
    for (size_t i = 0; i < runs_.size(); ++i) {
      KvRun<Real>& run = runs_[i];
      run.k = static_cast<const std::byte*>(run.k) + steps * layer_bytes_[i];
      run.v = static_cast<const std::byte*>(run.v) + steps * layer_bytes_[i];
      if (run.dk == nullptr) continue;
      run.dk += steps * layer_bytes_[i] / static_cast<int64_t>(sizeof(Real));
      run.dv += steps * layer_bytes_[i] / static_cast<int64_t>(sizeof(Real));
    }
    return sequences_;
  }

 private:
  void AddRuns(const Segment& segment, int64_t token_count, KvGradients<Real>* gradients) {
    const KvLayout& layout = segment.pool().layout();
    Real* gradient = nullptr;
    if (gradients != nullptr) {
      auto it = gradients->find(&segment);
      if (it != gradients->end()) gradient = it->second.data();
    }
    for (int64_t page = 0; page * layout.page_tokens < token_count; ++page) {
      KvRun<Real> run{
          .k = segment.k_bytes(page, 0),
          .v = segment.v_bytes(page, 0),
          .head_stride = layout.HeadStride(),
          .count = std::min(layout.page_tokens, token_count - page * layout.page_tokens),
          .dtype = layout.dtype};
      if (gradient != nullptr) {
        run.dk = gradient + page * layout.PageElements();
        run.dv = run.dk + layout.PlaneElements();
      }
      runs_.push_back(run);
      layer_bytes_.push_back(2 * layout.PlaneBytes());
    }
  }

  int64_t layer_ = 0;
  std::vector<KvRun<Real>> runs_;
  std::vector<int64_t> layer_bytes_;  // of each run's page: from layer to layer
  std::vector<AttentionSequence<Real>> sequences_;
};

// Writes rows [count, G D] of K or V to planes of pages, as the layout's type stores them.
// plane(page) gives the first byte of [G][page_tokens][row].
template <class Real, class Plane>
void StoreKvRows(const ItemRecord& item, const KvLayout& layout, View<const Real> rows,
                 Plane plane) {
  const int64_t row_bytes = layout.RowBytes();
  for (int64_t i = 0; i < item.count; ++i) {
    const int64_t token = item.begin + i;
    std::byte* to = plane(token / layout.page_tokens) + token % layout.page_tokens * row_bytes;
    for (int64_t g = 0; g < layout.kv_heads; ++g, to += layout.page_tokens * row_bytes) {
      StoreRow(layout.dtype, rows.row(i) + g * layout.head_dim, layout.head_dim, to);
    }
  }
}

// Reads rows [count, G D] of gradients of K or V from planes of pages.
// plane(page) gives the first element of [G][page_tokens][D].
template <class Real, class Plane>
void LoadKvGradients(const ItemRecord& item, const KvLayout& layout, Plane plane, View<Real> rows) {
  const int64_t head_dim = layout.head_dim;
  for (int64_t i = 0; i < item.count; ++i) {
    const int64_t token = item.begin + i;
    const Real* base = plane(token / layout.page_tokens) + (token % layout.page_tokens) * head_dim;
    for (int64_t g = 0; g < layout.kv_heads; ++g) {
      std::copy_n(base + g * layout.HeadStride(), head_dim, rows.row(i) + g * head_dim);
    }
  }
}

}  // namespace onepass
