// The forward pass that inference and training share, and its backward to inputs.
// A call appends the new tokens of many sequences (a ragged batch) to their tail segments while
// each attends to its view. With a Tape it also keeps what the backward needs. Weights are const:
// no gradient of a weight exists anywhere.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/status.h"
#include "kernels/ops.h"
#include "kv/segment.h"
#include "model/checkpoint.h"
#include "model/weights.h"

namespace onepass {

// Tokens beyond the base's vocabulary: ids V to V + N - 1. Their rows are parameters of prompts,
// not weights. Borrowed.
template <class Real>
struct AddedRows {
  View<const Real> embedding;  // [N, C]
  View<const Real> head;       // [N, C]: of those that are predicted
};

// New tokens of one sequence. They must already be in the tail (Segment::Extend), whose last
// `new_count` tokens they are.
template <class Real>
struct ForwardItem {
  const KvView* view = nullptr;  // what they attend to besides earlier tokens of the tail
  Segment* tail = nullptr;
  int64_t new_count = 0;
  View<const Real> vectors;  // [new_count, C] in place of embeddings (a soft prompt); or empty
  View<const Real> added_embedding;  // AddedRows::embedding; empty: there are no added tokens
  // Of how many of the last new tokens the caller reads the residual stream; -1: of all, as in
  // every call with a tape. Of the others the last layer computes K and V alone.
  int64_t read_count = -1;

  int64_t rows_read() const { return read_count < 0 ? new_count : read_count; }
};

template <class Real>
class Tape;

// Thread-compatible: one call at a time (it owns scratch memory).
template <class Real>
class Transformer {
 public:
  // Prepares every weight for the backend. Both must outlive it.
  static Result<std::unique_ptr<Transformer>> Create(std::shared_ptr<const Checkpoint> checkpoint,
                                                     Ops<Real>& ops,
                                                     const WeightOptions& options = {});
  ~Transformer();

  const ModelConfig& config() const;
  const Checkpoint& checkpoint() const;
  Ops<Real>& ops() const;

  // Embedding rows of ids -> out[ids.size(), C].
  void Embed(std::span<const int32_t> ids, View<Real> out) const;

  // Runs the items' new tokens and writes their K and V into the tails. Returns the residual stream
  // after the last layer, [T, C], of the tokens that are read (all T unless the items say
  // otherwise), rows in the items' order, valid until the next call. With a tape, the call is
  // recorded; its items' tails and views must outlive the tape.
  View<const Real> Forward(std::span<const ForwardItem<Real>> items, Tape<Real>* tape);

  // logits[n, V + N] of rows of the residual stream (final norm and head included), N rows of
  // added_head [N, C] behind the base's.
  void Logits(View<const Real> hidden, View<Real> logits, View<const Real> added_head = {});

  // losses[i] = cross entropy of targets[i] < V + N given hidden row i; dhidden[i] += scale[i] *
  // gradient (skipped where dhidden is empty), and dadded_head [N, C] += its part. Works in blocks
  // of rows: never [T, V] at once.
  void Loss(View<const Real> hidden, std::span<const int32_t> targets, std::span<const Real> scale,
            std::span<Real> losses, View<Real> dhidden, View<const Real> added_head = {},
            View<Real> dadded_head = {});

  // Walks the tape's calls in reverse: from the d(hidden) of each (Tape::dhidden) to the gradients
  // of the vectors that entered it (Tape::dvectors).
  void Backward(Tape<Real>& tape);

 private:
  struct Impl;
  explicit Transformer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Which activations a tape keeps.
enum class TapeMode {
  kKeepActivations,
  // Activation checkpointing: only each layer's input is kept, and the backward runs the layer
  // again. Bitwise the same gradients, one more forward pass, a fraction of the memory.
  kRecomputeActivations,
};

// What the backward needs of recorded calls: activations of taped segments and gradients of their
// K and V. A segment that was written without a tape is a constant: it costs nothing here.
template <class Real>
class Tape {
 public:
  explicit Tape(TapeMode mode = TapeMode::kKeepActivations);
  ~Tape();
  Tape(Tape&&) noexcept;
  Tape& operator=(Tape&&) noexcept;

  int64_t call_count() const;
  // d(loss)/d(hidden) [T, C] of call i, zeroed when recorded; the caller adds to it before
  // Backward.
  View<Real> dhidden(int64_t call);
  // After Backward: d(loss)/d(input embedding) [T, C] of call i.
  View<const Real> dvectors(int64_t call) const;
  // Activation and gradient bytes at their largest so far.
  int64_t bytes() const;

 private:
  template <class>
  friend class Transformer;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace onepass
