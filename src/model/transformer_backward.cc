// The backward to inputs: walks a tape's calls, and each one's layers, in reverse.
#include <algorithm>
#include <utility>

#include "model/kv_access.h"
#include "model/transformer_impl.h"

namespace onepass {

// Fills in the activations of a layer of which only the input was kept. Its K and V are in the
// pages.
template <class Real>
void Transformer<Real>::Impl::RecomputeLayer(LayerActivations<Real>& a, int64_t layer) {
  const View<Real> x_rows = x.Get(a.x_in.rows(), a.x_in.cols());
  std::copy_n(a.x_in.data(), a.x_in.size(), x_rows.data());
  Attend(weights.layers[layer], layer, /*write_kv=*/false, x_rows, &a);
  ProjectUp(weights.layers[layer], x_rows, &a);
}

template <class Real>
int64_t Transformer<Real>::Impl::BackwardCall(CallRecord<Real>& call,
                                              KvGradients<Real>& gradients) {
  int64_t recomputed_bytes = 0;
  const ModelConfig& c = config();
  const int64_t rows = call.dhidden.rows();
  const int64_t query_width = c.heads * c.head_dim;
  const int64_t kv_width = c.kv_heads * c.head_dim;
  items = call.items;
  DescribeItems(&gradients);
  const RopeTable rope{inv_freq};
  call.dvectors = std::move(call.dhidden);
  const View<Real> dx = call.dvectors.view();

  for (int64_t layer = c.layers - 1; layer >= 0; --layer) {
    const LayerWeights<Real>& w = weights.layers[layer];
    LayerActivations<Real>& a = call.layers[layer];
    if (a.q.size() == 0) {
      RecomputeLayer(a, layer);
      recomputed_bytes = std::max(recomputed_bytes, a.bytes() - a.x_in.bytes());
    }
    const auto rms = [rows](const Buffer<Real>& b) {
      return std::span<const Real>(b.data(), static_cast<size_t>(rows));
    };

    // MLP: dx holds d(x_out); the residual passes it on to d(x_mid).
    const View<Real> dact_rows = dact.Get(rows, c.feed_forward);
    ops->MatMulBackward(dx, *w.down, dact_rows, false);
    const View<Real> dgate_rows = dgate.Get(rows, c.feed_forward);
    const View<Real> dup_rows = dup.Get(rows, c.feed_forward);
    ops->SwiGluBackward(a.gate.view(), a.up.view(), dact_rows, dgate_rows, dup_rows);
    const View<Real> dn = dnormed.Get(rows, c.width);
    ops->MatMulBackward(dgate_rows, *w.gate, dn, false);
    ops->MatMulBackward(dup_rows, *w.up, dn, true);
    ops->RmsNormBackward(a.x_mid.view(), w.mlp_norm, rms(a.inv_rms2), dn, dx);

    // Attention: dx holds d(x_mid).
    const View<Real> dout = dattention.Get(rows, query_width);
    ops->MatMulBackward(dx, *w.o, dout, false);
    const View<Real> dq_rows = dq.GetZeroed(rows, query_width);
    ops->AttentionBackward(a.q.view(), attention_shape(), attention_inputs.OfLayer(layer),
                           a.attention.view(), a.lse.view(), dout, dq_rows);

    // Later segments have already added to our K and V gradients (reverse order): they are
    // complete.
    const View<Real> dk_rows = dk.Get(rows, kv_width);
    const View<Real> dv_rows = dv.Get(rows, kv_width);
    int64_t row = 0;
    for (const ItemRecord& item : items) {
      const KvLayout& layout = item.tail->pool().layout();
      Real* gradient = gradients.at(item.tail).data();
      const auto dk_plane = [&](int64_t page) {
        return gradient + page * layout.PageElements() + layer * 2 * layout.PlaneElements();
      };
      const auto dv_plane = [&](int64_t page) { return dk_plane(page) + layout.PlaneElements(); };
      LoadKvGradients<Real>(item, layout, dk_plane, dk_rows.Rows(row, item.count));
      LoadKvGradients<Real>(item, layout, dv_plane, dv_rows.Rows(row, item.count));
      row += item.count;
    }
    ops->Rope(dq_rows, positions, rope, true);
    ops->Rope(dk_rows, positions, rope, true);
    ops->MatMulBackward(dq_rows, *w.q, dn, false);
    ops->MatMulBackward(dk_rows, *w.k, dn, true);
    ops->MatMulBackward(dv_rows, *w.v, dn, true);
    ops->RmsNormBackward(a.x_in.view(), w.attention_norm, rms(a.inv_rms1), dn, dx);
    a = LayerActivations<Real>();
  }
  return recomputed_bytes;
}

template <class Real>
void Transformer<Real>::Backward(Tape<Real>& tape) {
  std::vector<CallRecord<Real>>& calls = tape.impl_->calls;
  for (auto call = calls.rbegin(); call != calls.rend(); ++call) {
    const int64_t recomputed = impl_->BackwardCall(*call, tape.impl_->kv_gradients);
    tape.impl_->recomputed_bytes = std::max(tape.impl_->recomputed_bytes, recomputed);
  }
}

template void Transformer<float>::Backward(Tape<float>& tape);
template void Transformer<double>::Backward(Tape<double>& tape);

}  // namespace onepass
