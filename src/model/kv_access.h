// How a call reaches the KV of its items: the runs that attention reads, and the pages' rows.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "model/tape_impl.h"

namespace onepass {

// The attention call's description: every item's visible runs of one layer.
template <class Real>
class AttentionInputs {
 public:
  // gradients: null in a forward pass.
  AttentionInputs(std::span<const ItemRecord> items, int64_t layer, KvGradients<Real>* gradients) {
    int64_t row = 0;
    std::vector<size_t> first_run;
    for (const ItemRecord& item : items) {
      first_run.push_back(runs_.size());
      for (const SegmentRef& segment : item.view.segments()) {
        AddRuns(*segment, segment->token_count(), layer, gradients);
      }
      AddRuns(*item.tail, item.begin + item.count, layer, gradients);
      sequences_.push_back({.query_begin = row, .query_count = item.count});
      row += item.count;
    }
    first_run.push_back(runs_.size());
    for (size_t i = 0; i < sequences_.size(); ++i) {
      sequences_[i].runs = {runs_.data() + first_run[i], first_run[i + 1] - first_run[i]};
    }
  }

  std::span<const AttentionSequence<Real>> sequences() const { return sequences_; }

 private:
  void AddRuns(const Segment& segment, int64_t token_count, int64_t layer,
               KvGradients<Real>* gradients) {
    const KvLayout& layout = segment.pool().layout();
    Real* gradient = nullptr;
    if (gradients != nullptr) {
      auto it = gradients->find(&segment);
      if (it != gradients->end()) gradient = it->second.data();
    }
    for (int64_t page = 0; page * layout.page_tokens < token_count; ++page) {
      KvRun<Real> run{
          .k = segment.k_bytes(page, layer),
          .v = segment.v_bytes(page, layer),
          .head_stride = layout.HeadStride(),
          .count = std::min(layout.page_tokens, token_count - page * layout.page_tokens),
          .dtype = layout.dtype};
      if (gradient != nullptr) {
        run.dk = gradient + page * layout.PageElements() + layer * 2 * layout.PlaneElements();
        run.dv = run.dk + layout.PlaneElements();
      }
      runs_.push_back(run);
    }
  }

  std::vector<KvRun<Real>> runs_;
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

// Copies rows [count, G D] of gradients of K or V between a row-major buffer and a plane of pages.
// plane(page) gives the first element of [G][page_tokens][D].
template <class Real, class Plane, class Copy>
void ForEachKvRow(const ItemRecord& item, const KvLayout& layout, View<Real> rows, Plane plane,
                  Copy copy) {
  const int64_t head_dim = layout.head_dim;
  for (int64_t i = 0; i < item.count; ++i) {
    const int64_t token = item.begin + i;
    Real* base = plane(token / layout.page_tokens) + (token % layout.page_tokens) * head_dim;
    for (int64_t g = 0; g < layout.kv_heads; ++g) {
      copy(rows.row(i) + g * head_dim, base + g * layout.HeadStride(), head_dim);
    }
  }
}

}  // namespace onepass
