#include "model/transformer.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "model/weights.h"

namespace onepass {
namespace {

// Rows of logits that a loss block may hold: at most about 16 MB of floats.
int64_t LossBlockRows(int64_t vocab_size) {
  return std::clamp<int64_t>((int64_t{4} << 20) / vocab_size, 16, 256);
}

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

// The part of a ForwardItem that outlives the call.
struct ItemRecord {
  KvView view;
  const Segment* tail = nullptr;
  int64_t begin = 0;  // index in the tail of the first new token
  int64_t count = 0;
};

template <class Real>
struct CallRecord {
  std::vector<ItemRecord> items;
  std::vector<LayerActivations<Real>> layers;
  Buffer<Real> dhidden;   // [T, C]
  Buffer<Real> dvectors;  // [T, C]
};

int64_t TokenCount(std::span<const ItemRecord> items) {
  int64_t count = 0;
  for (const ItemRecord& item : items) count += item.count;
  return count;
}

std::vector<int64_t> PositionsOf(std::span<const ItemRecord> items) {
  std::vector<int64_t> positions;
  for (const ItemRecord& item : items) {
    for (int64_t i = 0; i < item.count; ++i) {
      positions.push_back(item.tail->start_position() + item.begin + i);
    }
  }
  return positions;
}

// d(loss)/dK and dV of the taped segments, laid out like their pages.
template <class Real>
using KvGradients = std::unordered_map<const Segment*, Buffer<Real>>;

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
          .k = segment.k_plane<Real>(page, layer),
          .v = segment.v_plane<Real>(page, layer),
          .head_stride = layout.HeadStride(),
          .count = std::min(layout.page_tokens, token_count - page * layout.page_tokens)};
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

// Copies rows [count, G D] of K or V between a row-major buffer and a plane of pages.
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

}  // namespace

template <class Real>
struct Tape<Real>::Impl {
  TapeMode mode = TapeMode::kKeepActivations;
  std::vector<CallRecord<Real>> calls;
  KvGradients<Real> kv_gradients;
  int64_t bytes = 0;             // recorded; the backward frees them layer by layer
  int64_t recomputed_bytes = 0;  // of the largest layer that a backward ran again
};

template <class Real>
Tape<Real>::Tape(TapeMode mode) : impl_(std::make_unique<Impl>()) {
  impl_->mode = mode;
}
template <class Real>
Tape<Real>::~Tape() = default;
template <class Real>
Tape<Real>::Tape(Tape&&) noexcept = default;
template <class Real>
Tape<Real>& Tape<Real>::operator=(Tape&&) noexcept = default;

template <class Real>
int64_t Tape<Real>::call_count() const {
  return static_cast<int64_t>(impl_->calls.size());
}
template <class Real>
View<Real> Tape<Real>::dhidden(int64_t call) {
  return impl_->calls.at(call).dhidden.view();
}
template <class Real>
View<const Real> Tape<Real>::dvectors(int64_t call) const {
  return std::as_const(impl_->calls.at(call).dvectors).view();
}
template <class Real>
int64_t Tape<Real>::bytes() const {
  return impl_->bytes + impl_->recomputed_bytes;
}

template <class Real>
struct Transformer<Real>::Impl {
  std::shared_ptr<const Checkpoint> checkpoint;
  Ops<Real>* ops = nullptr;
  ModelWeights<Real> weights;
  std::vector<double> inv_freq;

  Scratch<Real> x, normed, q, k, v, attention, gate, up, act, inv_rms, lse, logits, gathered;
  Scratch<Real> dnormed, dq, dk, dv, dattention, dact, dgate, dup;

  const ModelConfig& config() const { return checkpoint->config(); }
  AttentionShape attention_shape() const {
    const ModelConfig& c = config();
    return {.heads = c.heads,
            .kv_heads = c.kv_heads,
            .head_dim = c.head_dim,
            .scale = 1.0 / std::sqrt(static_cast<double>(c.head_dim))};
  }

  void Embed(std::span<const int32_t> ids, View<Real> out) const;
  void Attend(const LayerWeights<Real>& w, int64_t layer, std::span<const ItemRecord> items,
              std::span<const int64_t> positions, View<Real> x, LayerActivations<Real>* saved);
  void FeedForward(const LayerWeights<Real>& w, View<Real> x, LayerActivations<Real>* saved);
  void RecomputeLayer(CallRecord<Real>& call, int64_t layer, std::span<const int64_t> positions);
  // Returns the bytes of the largest layer that was recomputed.
  int64_t BackwardCall(CallRecord<Real>& call, KvGradients<Real>& gradients);
};

namespace {

template <class Real>
Buffer<Real> CopyOf(View<const Real> view) {
  Buffer<Real> copy(view.rows(), view.cols());
  for (int64_t r = 0; r < view.rows(); ++r) {
    std::copy_n(view.row(r), view.cols(), copy.data() + r * view.cols());
  }
  return copy;
}

}  // namespace

template <class Real>
Transformer<Real>::Transformer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
template <class Real>
Transformer<Real>::~Transformer() = default;

template <class Real>
Result<std::unique_ptr<Transformer<Real>>> Transformer<Real>::Create(
    std::shared_ptr<const Checkpoint> checkpoint, Ops<Real>& ops) {
  auto impl = std::make_unique<Impl>();
  impl->ops = &ops;
  ASSIGN_OR_RETURN(impl->weights, PrepareWeights<Real>(*checkpoint, ops));
  impl->inv_freq = RopeInverseFrequencies(checkpoint->config());
  impl->checkpoint = std::move(checkpoint);
  return std::unique_ptr<Transformer>(new Transformer(std::move(impl)));
}

template <class Real>
const ModelConfig& Transformer<Real>::config() const {
  return impl_->config();
}
template <class Real>
const Checkpoint& Transformer<Real>::checkpoint() const {
  return *impl_->checkpoint;
}
template <class Real>
Ops<Real>& Transformer<Real>::ops() const {
  return *impl_->ops;
}

template <class Real>
void Transformer<Real>::Impl::Embed(std::span<const int32_t> ids, View<Real> out) const {
  const int64_t width = config().width;
  for (size_t i = 0; i < ids.size(); ++i) {
    ONEPASS_CHECK(ids[i] >= 0 && ids[i] < config().vocab_size, "token id outside the vocabulary");
    ConvertTo<Real>(weights.embedding, ids[i] * width, width, out.row(static_cast<int64_t>(i)));
  }
}

template <class Real>
void Transformer<Real>::Embed(std::span<const int32_t> ids, View<Real> out) const {
  impl_->Embed(ids, out);
}

// x += W_o attention(RoPE(W_q n), K, V), n = norm(x); writes the new tokens' K and V to their
// pages.
template <class Real>
void Transformer<Real>::Impl::Attend(const LayerWeights<Real>& w, int64_t layer,
                                     std::span<const ItemRecord> items,
                                     std::span<const int64_t> positions, View<Real> x_rows,
                                     LayerActivations<Real>* saved) {
  const ModelConfig& c = config();
  const int64_t rows = x_rows.rows();
  const int64_t query_width = c.heads * c.head_dim;
  const int64_t kv_width = c.kv_heads * c.head_dim;
  if (saved != nullptr) {
    saved->inv_rms1 = Buffer<Real>(1, rows);
    saved->lse = Buffer<Real>(rows, c.heads);
  }
  const View<Real> rms = saved != nullptr ? saved->inv_rms1.view() : inv_rms.Get(1, rows);
  const View<Real> n = normed.Get(rows, c.width);
  ops->RmsNorm(x_rows, w.attention_norm, c.norm_eps, n, {rms.data(), static_cast<size_t>(rows)});

  const View<Real> q_rows = q.Get(rows, query_width);
  const View<Real> k_rows = k.Get(rows, kv_width);
  const View<Real> v_rows = v.Get(rows, kv_width);
  ops->MatMul(n, *w.q, w.q_bias, q_rows, false);
  ops->MatMul(n, *w.k, w.k_bias, k_rows, false);
  ops->MatMul(n, *w.v, w.v_bias, v_rows, false);
  const RopeTable rope{inv_freq};
  ops->Rope(q_rows, positions, rope, false);
  ops->Rope(k_rows, positions, rope, false);

  const auto to_page = [](const Real* row, Real* page, int64_t n_elements) {
    std::copy_n(row, n_elements, page);
  };
  int64_t row = 0;
  for (const ItemRecord& item : items) {
    const KvLayout& layout = item.tail->pool().layout();
    ForEachKvRow(
        item, layout, k_rows.Rows(row, item.count),
        [&](int64_t p) { return item.tail->k_plane<Real>(p, layer); }, to_page);
    ForEachKvRow(
        item, layout, v_rows.Rows(row, item.count),
        [&](int64_t p) { return item.tail->v_plane<Real>(p, layer); }, to_page);
    row += item.count;
  }

  const AttentionInputs<Real> inputs(items, layer, nullptr);
  const View<Real> out = attention.Get(rows, query_width);
  const View<Real> lse_rows = saved != nullptr ? saved->lse.view() : lse.Get(rows, c.heads);
  ops->Attention(q_rows, attention_shape(), inputs.sequences(), out, lse_rows);
  ops->MatMul(out, *w.o, w.o_bias, x_rows, true);
  if (saved != nullptr) {
    saved->q = CopyOf<Real>(q_rows);
    saved->attention = CopyOf<Real>(out);
  }
}

// x += W_down(silu(W_gate n) * W_up n), n = norm(x).
template <class Real>
void Transformer<Real>::Impl::FeedForward(const LayerWeights<Real>& w, View<Real> x_rows,
                                          LayerActivations<Real>* saved) {
  const ModelConfig& c = config();
  const int64_t rows = x_rows.rows();
  if (saved != nullptr) {
    saved->x_mid = CopyOf<Real>(x_rows);
    saved->inv_rms2 = Buffer<Real>(1, rows);
    saved->gate = Buffer<Real>(rows, c.feed_forward);
    saved->up = Buffer<Real>(rows, c.feed_forward);
  }
  const View<Real> rms = saved != nullptr ? saved->inv_rms2.view() : inv_rms.Get(1, rows);
  const View<Real> n = normed.Get(rows, c.width);
  ops->RmsNorm(x_rows, w.mlp_norm, c.norm_eps, n, {rms.data(), static_cast<size_t>(rows)});
  const View<Real> gate_rows =
      saved != nullptr ? saved->gate.view() : gate.Get(rows, c.feed_forward);
  const View<Real> up_rows = saved != nullptr ? saved->up.view() : up.Get(rows, c.feed_forward);
  ops->MatMul(n, *w.gate, w.gate_bias, gate_rows, false);
  ops->MatMul(n, *w.up, w.up_bias, up_rows, false);
  const View<Real> act_rows = act.Get(rows, c.feed_forward);
  ops->SwiGlu(gate_rows, up_rows, act_rows);
  ops->MatMul(act_rows, *w.down, w.down_bias, x_rows, true);
}

template <class Real>
View<const Real> Transformer<Real>::Forward(std::span<const ForwardItem<Real>> items,
                                            Tape<Real>* tape) {
  Impl& m = *impl_;
  const ModelConfig& c = m.config();
  std::vector<ItemRecord> records;
  for (const ForwardItem<Real>& item : items) {
    ONEPASS_CHECK(
        item.tail != nullptr && item.new_count > 0 && item.new_count <= item.tail->token_count(),
        "new tokens must be in the tail");
    ONEPASS_CHECK(item.tail->pool().layout() ==
                      c.Layout(item.tail->pool().layout().page_tokens, DTypeOf<Real>::kValue),
                  "the pool's layout is another model's");
    records.push_back({.view = item.view == nullptr ? KvView() : *item.view,
                       .tail = item.tail,
                       .begin = item.tail->token_count() - item.new_count,
                       .count = item.new_count});
  }
  const int64_t rows = TokenCount(records);
  const std::vector<int64_t> positions = PositionsOf(records);

  const View<Real> x = m.x.Get(rows, c.width);
  int64_t row = 0;
  for (const ForwardItem<Real>& item : items) {
    const View<Real> part = x.Rows(row, item.new_count);
    if (item.vectors.empty()) {
      const std::vector<int32_t>& tokens = item.tail->tokens();
      m.Embed({tokens.data() + tokens.size() - item.new_count, static_cast<size_t>(item.new_count)},
              part);
    } else {
      ONEPASS_CHECK(item.vectors.rows() == item.new_count && item.vectors.cols() == c.width,
                    "prompt vectors of another shape");
      for (int64_t i = 0; i < item.new_count; ++i) {
        std::copy_n(item.vectors.row(i), c.width, part.row(i));
      }
    }
    row += item.new_count;
  }

  CallRecord<Real>* call = nullptr;
  if (tape != nullptr) {
    call = &tape->impl_->calls.emplace_back();
    call->layers.resize(c.layers);
    call->dhidden = Buffer<Real>(rows, c.width);
  }
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    LayerActivations<Real>* kept = call == nullptr ? nullptr : &call->layers[layer];
    const bool all = kept != nullptr && tape->impl_->mode == TapeMode::kKeepActivations;
    if (kept != nullptr) kept->x_in = CopyOf<Real>(x);
    m.Attend(m.weights.layers[layer], layer, records, positions, x, all ? kept : nullptr);
    m.FeedForward(m.weights.layers[layer], x, all ? kept : nullptr);
    if (kept != nullptr) tape->impl_->bytes += kept->bytes();
  }
  if (call != nullptr) {
    for (const ItemRecord& record : records) {
      Buffer<Real>& gradient = tape->impl_->kv_gradients[record.tail];
      const int64_t wanted =
          record.tail->page_count() * record.tail->pool().layout().PageElements();
      ONEPASS_CHECK(gradient.size() == 0 || gradient.size() == wanted,
                    "a taped segment is written in calls that share its pages");
      if (gradient.size() == 0) {
        gradient = Buffer<Real>(1, wanted);
        tape->impl_->bytes += gradient.bytes();
      }
    }
    tape->impl_->bytes += call->dhidden.bytes();
    call->items = std::move(records);
  }
  return x;
}

template <class Real>
void Transformer<Real>::Logits(View<const Real> hidden, View<Real> logits) {
  Impl& m = *impl_;
  const int64_t rows = hidden.rows();
  const View<Real> n = m.normed.Get(rows, m.config().width);
  m.ops->RmsNorm(hidden, m.weights.final_norm, m.config().norm_eps, n,
                 {m.inv_rms.Get(1, rows).data(), static_cast<size_t>(rows)});
  m.ops->MatMul(n, *m.weights.head, {}, logits, false);
}

template <class Real>
void Transformer<Real>::Loss(View<const Real> hidden, std::span<const int32_t> targets,
                             std::span<const Real> scale, std::span<Real> losses,
                             View<Real> dhidden) {
  Impl& m = *impl_;
  const ModelConfig& c = m.config();
  const int64_t block = LossBlockRows(c.vocab_size);
  for (int64_t begin = 0; begin < hidden.rows(); begin += block) {
    const int64_t rows = std::min(block, hidden.rows() - begin);
    const auto part = [&](auto span) { return span.subspan(begin, rows); };
    const View<const Real> h = hidden.Rows(begin, rows);
    const View<Real> n = m.normed.Get(rows, c.width);
    const std::span<Real> rms{m.inv_rms.Get(1, rows).data(), static_cast<size_t>(rows)};
    m.ops->RmsNorm(h, m.weights.final_norm, c.norm_eps, n, rms);
    const View<Real> logits = m.logits.Get(rows, c.vocab_size);
    m.ops->MatMul(n, *m.weights.head, {}, logits, false);
    m.ops->SoftmaxCrossEntropy(logits, part(targets), part(scale), part(losses));
    if (dhidden.empty()) continue;
    const View<Real> dn = m.dnormed.GetZeroed(rows, c.width);
    m.ops->MatMulBackward(logits, *m.weights.head, dn);
    m.ops->RmsNormBackward(h, m.weights.final_norm, rms, dn, dhidden.Rows(begin, rows));
  }
}

// Fills in the activations of a layer of which only the input was kept. Writes the K and V of its
// pages once more, with the same bits.
template <class Real>
void Transformer<Real>::Impl::RecomputeLayer(CallRecord<Real>& call, int64_t layer,
                                             std::span<const int64_t> positions) {
  LayerActivations<Real>& a = call.layers[layer];
  const View<Real> x_rows = x.Get(a.x_in.rows(), a.x_in.cols());
  std::copy_n(a.x_in.data(), a.x_in.size(), x_rows.data());
  Attend(weights.layers[layer], layer, call.items, positions, x_rows, &a);
  FeedForward(weights.layers[layer], x_rows, &a);
}

template <class Real>
int64_t Transformer<Real>::Impl::BackwardCall(CallRecord<Real>& call,
                                              KvGradients<Real>& gradients) {
  int64_t recomputed_bytes = 0;
  const ModelConfig& c = config();
  const int64_t rows = call.dhidden.rows();
  const int64_t query_width = c.heads * c.head_dim;
  const int64_t kv_width = c.kv_heads * c.head_dim;
  const std::vector<int64_t> positions = PositionsOf(call.items);
  const std::span<const int64_t> position_span(positions);
  const RopeTable rope{inv_freq};
  call.dvectors = std::move(call.dhidden);
  const View<Real> dx = call.dvectors.view();

  for (int64_t layer = c.layers - 1; layer >= 0; --layer) {
    const LayerWeights<Real>& w = weights.layers[layer];
    LayerActivations<Real>& a = call.layers[layer];
    if (a.q.size() == 0) {
      RecomputeLayer(call, layer, position_span);
      recomputed_bytes = std::max(recomputed_bytes, a.bytes() - a.x_in.bytes());
    }
    const auto rms = [rows](const Buffer<Real>& b) {
      return std::span<const Real>(b.data(), static_cast<size_t>(rows));
    };

    // MLP: dx holds d(x_out); the residual passes it on to d(x_mid).
    const View<Real> dact_rows = dact.GetZeroed(rows, c.feed_forward);
    ops->MatMulBackward(dx, *w.down, dact_rows);
    const View<Real> dgate_rows = dgate.Get(rows, c.feed_forward);
    const View<Real> dup_rows = dup.Get(rows, c.feed_forward);
    ops->SwiGluBackward(a.gate.view(), a.up.view(), dact_rows, dgate_rows, dup_rows);
    View<Real> dn = dnormed.GetZeroed(rows, c.width);
    ops->MatMulBackward(dgate_rows, *w.gate, dn);
    ops->MatMulBackward(dup_rows, *w.up, dn);
    ops->RmsNormBackward(a.x_mid.view(), w.mlp_norm, rms(a.inv_rms2), dn, dx);

    // Attention: dx holds d(x_mid).
    const View<Real> dout = dattention.GetZeroed(rows, query_width);
    ops->MatMulBackward(dx, *w.o, dout);
    const View<Real> dq_rows = dq.GetZeroed(rows, query_width);
    const AttentionInputs<Real> inputs(call.items, layer, &gradients);
    ops->AttentionBackward(a.q.view(), attention_shape(), inputs.sequences(), a.attention.view(),
                           a.lse.view(), dout, dq_rows);

    // Later segments have already added to our K and V gradients (reverse order): they are
    // complete.
    const View<Real> dk_rows = dk.Get(rows, kv_width);
    const View<Real> dv_rows = dv.Get(rows, kv_width);
    const auto from_page = [](Real* row, const Real* page, int64_t n) {
      std::copy_n(page, n, row);
    };
    int64_t row = 0;
    for (const ItemRecord& item : call.items) {
      const KvLayout& layout = item.tail->pool().layout();
      Real* gradient = gradients.at(item.tail).data();
      const auto dk_plane = [&](int64_t page) {
        return gradient + page * layout.PageElements() + layer * 2 * layout.PlaneElements();
      };
      ForEachKvRow(item, layout, dk_rows.Rows(row, item.count), dk_plane, from_page);
      ForEachKvRow(
          item, layout, dv_rows.Rows(row, item.count),
          [&](int64_t page) { return dk_plane(page) + layout.PlaneElements(); }, from_page);
      row += item.count;
    }
    ops->Rope(dq_rows, position_span, rope, true);
    ops->Rope(dk_rows, position_span, rope, true);
    dn = dnormed.GetZeroed(rows, c.width);
    ops->MatMulBackward(dq_rows, *w.q, dn);
    ops->MatMulBackward(dk_rows, *w.k, dn);
    ops->MatMulBackward(dv_rows, *w.v, dn);
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

template class Tape<float>;
template class Tape<double>;
template class Transformer<float>;
template class Transformer<double>;

}  // namespace onepass
