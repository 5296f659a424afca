#include "model/transformer.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "model/kv_access.h"
#include "model/transformer_impl.h"

namespace onepass {
namespace {

// Rows of logits that a loss block may hold: at most about 16 MB of floats.
int64_t LossBlockRows(int64_t vocab_size) {
  return std::clamp<int64_t>((int64_t{4} << 20) / vocab_size, 16, 256);
}

template <class Real>
Buffer<Real> CopyOf(View<const Real> view) {
  Buffer<Real> copy = Buffer<Real>::ForOverwrite(view.rows(), view.cols());
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
    std::shared_ptr<const Checkpoint> checkpoint, Ops<Real>& ops, const WeightOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->ops = &ops;
  RETURN_IF_ERROR(ops.Supports(AttentionShapeOf(checkpoint->config())));
  ASSIGN_OR_RETURN(impl->weights, PrepareWeights<Real>(*checkpoint, ops, options));
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
void Transformer<Real>::Impl::Embed(std::span<const int32_t> ids, View<const Real> added,
                                    View<Real> out) const {
  const int64_t width = config().width;
  const int64_t vocab_size = config().vocab_size;
  for (int64_t i = 0; i < std::ssize(ids); ++i) {
    const int64_t id = ids[i];
    ONEPASS_CHECK(id >= 0 && id < vocab_size + added.rows(), "token id outside the vocabulary");
    if (id < vocab_size) {
      ConvertTo<Real>(weights.embedding, id * width, width, out.row(i));
    } else {
      std::copy_n(added.row(id - vocab_size), width, out.row(i));
    }
  }
}

template <class Real>
void Transformer<Real>::Embed(std::span<const int32_t> ids, View<Real> out) const {
  impl_->Embed(ids, {}, out);
}

template <class Real>
void Transformer<Real>::Impl::DescribeItems(KvGradients<Real>* gradients) {
  positions.clear();
  for (const ItemRecord& item : items) {
    for (int64_t i = 0; i < item.count; ++i) {
      positions.push_back(item.tail->start_position() + item.begin + i);
    }
  }
  attention_inputs.Describe(items, gradients);
}

template <class Real>
void Transformer<Real>::Impl::WriteKv(int64_t layer, View<Real> k_rows, View<const Real> v_rows) {
  ops->Rope(k_rows, positions, RopeTable{inv_freq}, false);
  int64_t row = 0;
  for (const ItemRecord& item : items) {
    const KvLayout& layout = item.tail->pool().layout();
    StoreKvRows<Real>(item, layout, View<const Real>(k_rows).Rows(row, item.count),
                      [&](int64_t page) { return item.tail->k_bytes(page, layer); });
    StoreKvRows<Real>(item, layout, v_rows.Rows(row, item.count),
                      [&](int64_t page) { return item.tail->v_bytes(page, layer); });
    row += item.count;
  }
}

template <class Real>
void Transformer<Real>::Impl::Attend(const LayerWeights<Real>& w, int64_t layer, bool write_kv,
                                     View<Real> x_rows, LayerActivations<Real>* saved) {
  const ModelConfig& c = config();
  const int64_t rows = x_rows.rows();
  const int64_t query_width = c.heads * c.head_dim;
  if (saved != nullptr) {
    saved->inv_rms1 = Buffer<Real>(1, rows);
    saved->q = Buffer<Real>::ForOverwrite(rows, query_width);
    saved->attention = Buffer<Real>::ForOverwrite(rows, query_width);
    saved->lse = Buffer<Real>(rows, c.heads);
  }
  const View<Real> rms = saved != nullptr ? saved->inv_rms1.view() : inv_rms.Get(1, rows);
  const View<Real> q_rows = saved != nullptr ? saved->q.view() : q.Get(rows, query_width);
  const View<Real> k_rows = k.Get(rows, c.kv_heads * c.head_dim);
  const View<Real> v_rows = v.Get(rows, c.kv_heads * c.head_dim);
  const std::array<MatMulOutput<Real>, 3> projections = {{{w.q.get(), w.q_bias, q_rows},
                                                          {w.k.get(), w.k_bias, k_rows},
                                                          {w.v.get(), w.v_bias, v_rows}}};
  ops->MatMuls(Normed(x_rows, w.attention_norm, rms),
               std::span(projections).first(write_kv ? 3 : 1));
  ops->Rope(q_rows, positions, RopeTable{inv_freq}, false);
  if (write_kv) WriteKv(layer, k_rows, v_rows);

  const View<Real> out =
      saved != nullptr ? saved->attention.view() : attention.Get(rows, query_width);
  const View<Real> lse_rows = saved != nullptr ? saved->lse.view() : lse.Get(rows, c.heads);
  ops->Attention(q_rows, attention_shape(), attention_inputs.OfLayer(layer), out, lse_rows);
  ops->MatMul(out, *w.o, w.o_bias, x_rows, true);
}

template <class Real>
void Transformer<Real>::Impl::WriteKvOf(const LayerWeights<Real>& w, int64_t layer,
                                        View<const Real> x_rows) {
  const ModelConfig& c = config();
  const int64_t rows = x_rows.rows();
  const View<Real> k_rows = k.Get(rows, c.kv_heads * c.head_dim);
  const View<Real> v_rows = v.Get(rows, c.kv_heads * c.head_dim);
  const std::array<MatMulOutput<Real>, 2> projections = {
      {{w.k.get(), w.k_bias, k_rows}, {w.v.get(), w.v_bias, v_rows}}};
  ops->MatMuls(Normed(x_rows, w.attention_norm, inv_rms.Get(1, rows)), projections);
  WriteKv(layer, k_rows, v_rows);
}

template <class Real>
void Transformer<Real>::Impl::KeepWhatIsRead(std::span<const ForwardItem<Real>> asked,
                                             View<Real> x_rows) {
  int64_t end = 0, kept = 0;
  size_t item_count = 0;
  for (size_t i = 0; i < asked.size(); ++i) {
    const int64_t read = asked[i].rows_read();
    end += asked[i].new_count;
    for (int64_t row = end - read; row < end; ++row, ++kept) {
      if (row != kept) std::copy_n(x_rows.row(row), x_rows.cols(), x_rows.row(kept));
    }
    if (read == 0) continue;
    items[item_count] = items[i];
    items[item_count].begin += asked[i].new_count - read;
    items[item_count].count = read;
    ++item_count;
  }
  items.resize(item_count);
  DescribeItems(nullptr);
}

template <class Real>
auto Transformer<Real>::Impl::ProjectUp(const LayerWeights<Real>& w, View<const Real> x_rows,
                                        LayerActivations<Real>* saved) -> GateUp {
  const ModelConfig& c = config();
  const int64_t rows = x_rows.rows();
  if (saved != nullptr) {
    saved->x_mid = CopyOf<Real>(x_rows);
    saved->inv_rms2 = Buffer<Real>(1, rows);
    saved->gate = Buffer<Real>::ForOverwrite(rows, c.feed_forward);
    saved->up = Buffer<Real>::ForOverwrite(rows, c.feed_forward);
  }
  const View<Real> rms = saved != nullptr ? saved->inv_rms2.view() : inv_rms.Get(1, rows);
  const GateUp result = saved != nullptr
                            ? GateUp{saved->gate.view(), saved->up.view()}
                            : GateUp{gate.Get(rows, c.feed_forward), up.Get(rows, c.feed_forward)};
  const std::array<MatMulOutput<Real>, 2> projections = {
      {{w.gate.get(), w.gate_bias, result.gate}, {w.up.get(), w.up_bias, result.up}}};
  ops->MatMuls(Normed(x_rows, w.mlp_norm, rms), projections);
  return result;
}

template <class Real>
void Transformer<Real>::Impl::FeedForward(const LayerWeights<Real>& w, View<Real> x_rows,
                                          LayerActivations<Real>* saved) {
  const GateUp projected = ProjectUp(w, x_rows, saved);
  const MatMulOutput<Real> down{w.down.get(), w.down_bias, x_rows, /*accumulate=*/true};
  ops->MatMuls({.x = projected.gate, .up = projected.up}, {&down, 1});
}

template <class Real>
View<const Real> Transformer<Real>::Forward(std::span<const ForwardItem<Real>> items,
                                            Tape<Real>* tape) {
  Impl& m = *impl_;
  const ModelConfig& c = m.config();
  m.items.clear();
  int64_t rows_read = 0;
  for (const ForwardItem<Real>& item : items) {
    ONEPASS_CHECK(
        item.tail != nullptr && item.new_count > 0 && item.new_count <= item.tail->token_count(),
        "new tokens must be in the tail");
    const KvLayout& layout = item.tail->pool().layout();
    ONEPASS_CHECK(layout == c.Layout(layout.page_tokens, layout.dtype),
                  "the pool's layout is another model's");
    ONEPASS_CHECK(tape == nullptr || layout.dtype == DTypeOf<Real>::kValue,
                  "KV that takes gradients is stored in the model's own type");
    ONEPASS_CHECK(item.rows_read() <= item.new_count &&
                      (tape == nullptr || item.rows_read() == item.new_count),
                  "no more can be read than the new tokens, and of a taped call no less");
    rows_read += item.rows_read();
    ItemRecord& record = m.items.emplace_back();
    if (item.view != nullptr) record.before = item.view->segments();
    record.tail = item.tail;
    record.begin = item.tail->token_count() - item.new_count;
    record.count = item.new_count;
  }
  m.DescribeItems(nullptr);
  const int64_t rows = std::ssize(m.positions);

  View<Real> x = m.x.Get(rows, c.width);
  int64_t row = 0;
  for (const ForwardItem<Real>& item : items) {
    const View<Real> part = x.Rows(row, item.new_count);
    if (item.vectors.empty()) {
      const std::vector<int32_t>& tokens = item.tail->tokens();
      m.Embed({tokens.data() + tokens.size() - item.new_count, static_cast<size_t>(item.new_count)},
              item.added_embedding, part);
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
    const LayerWeights<Real>& w = m.weights.layers[layer];
    const bool read_by_few = layer == c.layers - 1 && rows_read < rows;
    if (read_by_few) {
      m.WriteKvOf(w, layer, x);
      if (rows_read > 0) m.KeepWhatIsRead(items, x);
      x = x.Rows(0, rows_read);
      if (rows_read == 0) break;
    }
    m.Attend(w, layer, /*write_kv=*/!read_by_few, x, all ? kept : nullptr);
    m.FeedForward(w, x, all ? kept : nullptr);
    if (kept != nullptr) tape->impl_->bytes += kept->bytes();
  }
  if (call != nullptr) {
    call->items = m.items;
    call->views.reserve(m.items.size());
    for (ItemRecord& record : call->items) {
      call->views.emplace_back(std::vector<SegmentRef>(record.before.begin(), record.before.end()));
      record.before = call->views.back().segments();
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
  }
  return x;
}

template <class Real>
void Transformer<Real>::Logits(View<const Real> hidden, View<Real> logits,
                               View<const Real> added_head) {
  impl_->Head(hidden, impl_->inv_rms.Get(1, hidden.rows()), added_head, logits);
}

template <class Real>
void Transformer<Real>::Impl::Head(View<const Real> hidden, View<Real> rms,
                                   View<const Real> added_head, View<Real> out) {
  const int64_t vocab_size = config().vocab_size;
  const MatMulOutput<Real> head{.w = weights.head.get(), .y = out.Cols(0, vocab_size)};
  ops->MatMuls(Normed(hidden, weights.final_norm, rms), {&head, 1});
  if (added_head.empty()) return;
  const View<Real> n = normed.Get(hidden.rows(), hidden.cols());
  ops->RmsNorm(hidden, weights.final_norm, config().norm_eps, n,
               {rms.data(), static_cast<size_t>(hidden.rows())});
  for (int64_t r = 0; r < hidden.rows(); ++r) {
    for (int64_t j = 0; j < added_head.rows(); ++j) {
      out(r, vocab_size + j) = static_cast<Real>(
          std::inner_product(n.row(r), n.row(r) + n.cols(), added_head.row(j), 0.0));
    }
  }
}

template <class Real>
void Transformer<Real>::Impl::HeadBackward(View<const Real> hidden, View<const Real> rms,
                                           View<const Real> dlogits, View<const Real> added_head,
                                           View<Real> dadded_head, View<Real> dhidden) {
  const int64_t vocab_size = config().vocab_size;
  const int64_t width = config().width;
  const View<Real> dn = dnormed.Get(hidden.rows(), width);
  ops->MatMulBackward(dlogits.Cols(0, vocab_size), *weights.head, dn, false);
  const View<const Real> n = normed.Get(hidden.rows(), width);  // as Head left it
  for (int64_t r = 0; r < hidden.rows(); ++r) {
    for (int64_t j = 0; j < added_head.rows(); ++j) {
      const Real gradient = dlogits(r, vocab_size + j);
      for (int64_t c = 0; c < width; ++c) {
        dn(r, c) += gradient * added_head(j, c);
        dadded_head(j, c) += gradient * n(r, c);
      }
    }
  }
  ops->RmsNormBackward(hidden, weights.final_norm, {rms.data(), static_cast<size_t>(hidden.rows())},
                       dn, dhidden);
}

template <class Real>
void Transformer<Real>::Loss(View<const Real> hidden, std::span<const int32_t> targets,
                             std::span<const Real> scale, std::span<Real> losses,
                             View<Real> dhidden, View<const Real> added_head,
                             View<Real> dadded_head) {
  Impl& m = *impl_;
  const ModelConfig& c = m.config();
  const int64_t block = LossBlockRows(c.vocab_size);
  for (int64_t begin = 0; begin < hidden.rows(); begin += block) {
    const int64_t rows = std::min(block, hidden.rows() - begin);
    const auto part = [&](auto span) { return span.subspan(begin, rows); };
    const View<const Real> h = hidden.Rows(begin, rows);
    const View<Real> rms = m.inv_rms.Get(1, rows);
    const View<Real> logits = m.logits.Get(rows, c.vocab_size + added_head.rows());
    m.Head(h, rms, added_head, logits);
    m.ops->SoftmaxCrossEntropy(logits, part(targets), part(scale), part(losses));
    if (dhidden.empty()) continue;
    m.HeadBackward(h, rms, logits, added_head, dadded_head, dhidden.Rows(begin, rows));
  }
}

template class Transformer<float>;
template class Transformer<double>;

}  // namespace onepass
