// What a tape holds. For the forward, which fills it, and the backward, which empties it.
#pragma once

#include <span>
#include <unordered_map>
#include <vector>

#include "model/transformer.h"

namespace onepass {

// One layer's activations of one call, as the backward needs them. T rows each.
template <class Real>
struct LayerActivations {
  Buffer<Real> x_in;       // [T, C] residual stream before attention
  Buffer<Real> inv_rms1;   // [1, T]
  Buffer<Real> q;          // [T, H D] after RoPE
  Buffer<Real> attention;  // [T, H D]
  Buffer<Real> lse;        // [T, H]
  Buffer<Real> x_mid;      // [T, C] residual stream before the MLP
  Buffer<Real> inv_rms2;   // [1, T]
  Buffer<Real> gate;       // [T, F]
  Buffer<Real> up;         // [T, F]

  int64_t bytes() const {
    return x_in.bytes() + inv_rms1.bytes() + q.bytes() + attention.bytes() + lse.bytes() +
           x_mid.bytes() + inv_rms2.bytes() + gate.bytes() + up.bytes();
  }
};

// A ForwardItem as the layers see it.
struct ItemRecord {
  std::span<const SegmentRef> before;  // the segments of its view
  const Segment* tail = nullptr;
  int64_t begin = 0;  // index in the tail of the first new token
  int64_t count = 0;
};

template <class Real>
struct CallRecord {
  std::vector<ItemRecord> items;
  std::vector<KvView> views;  // the items', kept alive
  std::vector<LayerActivations<Real>> layers;
  Buffer<Real> dhidden;   // [T, C]
  Buffer<Real> dvectors;  // [T, C]
};

// d(loss)/dK and dV of the taped segments, laid out like their pages.
template <class Real>
using KvGradients = std::unordered_map<const Segment*, Buffer<Real>>;

template <class Real>
struct Tape<Real>::Impl {
  TapeMode mode = TapeMode::kKeepActivations;
  std::vector<CallRecord<Real>> calls;
  KvGradients<Real> kv_gradients;
  int64_t bytes = 0;             // recorded; the backward frees them layer by layer
  int64_t recomputed_bytes = 0;  // of the largest layer that a backward ran again
};

}  // namespace onepass
