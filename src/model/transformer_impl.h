// The transformer's insides, shared by its forward (transformer.cc) and its backward
// (transformer_backward.cc).
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <vector>

#include "model/kv_access.h"
#include "model/tape_impl.h"
#include "model/transformer.h"
#include "model/weights.h"

namespace onepass {

// Scratch that grows and is reused; its content is undefined between uses.
template <class Real>
class Scratch {
 public:
  View<Real> Get(int64_t rows, int64_t cols) {
    if (buffer_.size() < rows * cols) buffer_ = Buffer<Real>(rows, cols);
    return {buffer_.data(), rows, cols};
  }
  View<Real> GetZeroed(int64_t rows, int64_t cols) {
    View<Real> view = Get(rows, cols);
    std::fill_n(view.data(), rows * cols, Real{0});
    return view;
  }

 private:
  Buffer<Real> buffer_;
};

inline AttentionShape AttentionShapeOf(const ModelConfig& config) {
  return {.heads = config.heads,
          .kv_heads = config.kv_heads,
          .head_dim = config.head_dim,
          .scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim))};
}

template <class Real>
struct Transformer<Real>::Impl {
  std::shared_ptr<const Checkpoint> checkpoint;
  Ops<Real>* ops = nullptr;
  ModelWeights<Real> weights;
  std::vector<double> inv_freq;

  // What the layers of a call share. Its memory stays for the next call.
  std::vector<ItemRecord> items;
  std::vector<int64_t> positions;  // [T]
  AttentionInputs<Real> attention_inputs;

  Scratch<Real> x, q, k, v, attention, gate, up, inv_rms, lse, logits, normed;
  Scratch<Real> dnormed, dq, dk, dv, dattention, dact, dgate, dup;

  const ModelConfig& config() const { return checkpoint->config(); }
  AttentionShape attention_shape() const { return AttentionShapeOf(config()); }

  // Rows of x through a norm; rms [1, T] takes its inv_rms.
  MatMulInput<Real> Normed(View<const Real> rows, std::span<const Real> weight,
                           View<Real> rms) const {
    return {.x = rows,
            .norm_weight = weight,
            .norm_eps = config().norm_eps,
            .inv_rms = {rms.data(), static_cast<size_t>(rms.cols())}};
  }

  void Embed(std::span<const int32_t> ids, View<const Real> added, View<Real> out) const;
  // out[T, V + N] = W_head norm(hidden), then added_head [N, C] norm(hidden).
  void Head(View<const Real> hidden, View<Real> rms, View<const Real> added_head, View<Real> out);
  // From dlogits[T, V + N] of rows of the residual stream to dhidden, and to dadded_head.
  void HeadBackward(View<const Real> hidden, View<const Real> rms, View<const Real> dlogits,
                    View<const Real> added_head, View<Real> dadded_head, View<Real> dhidden);
  // Derives positions and attention_inputs from items. gradients: null in a forward pass.
  void DescribeItems(KvGradients<Real>* gradients);
  // K and V of norm(x), written to the new tokens' pages.
  void WriteKvOf(const LayerWeights<Real>& w, int64_t layer, View<const Real> x);
  // Leaves of the items what is read of them, and moves its rows to x's beginning.
  void KeepWhatIsRead(std::span<const ForwardItem<Real>> asked, View<Real> x);
  // x += W_o attention(RoPE(W_q n), K, V), n = norm(x). write_kv: the new tokens' K and V are
  // written to their pages; otherwise they are there.
  void Attend(const LayerWeights<Real>& w, int64_t layer, bool write_kv, View<Real> x,
              LayerActivations<Real>* saved);
  // Rotates k [T, G D] in place and writes both to the new tokens' pages.
  void WriteKv(int64_t layer, View<Real> k_rows, View<const Real> v_rows);
  // The MLP up to its gate and up projections of norm(x), [T, F] each.
  struct GateUp {
    View<Real> gate, up;
  };
  GateUp ProjectUp(const LayerWeights<Real>& w, View<const Real> x, LayerActivations<Real>* saved);
  // x += W_down(silu(gate) * up).
  void FeedForward(const LayerWeights<Real>& w, View<Real> x, LayerActivations<Real>* saved);
  void RecomputeLayer(LayerActivations<Real>& a, int64_t layer);
  // Returns the bytes of the largest layer that was recomputed.
  int64_t BackwardCall(CallRecord<Real>& call, KvGradients<Real>& gradients);
};

}  // namespace onepass
