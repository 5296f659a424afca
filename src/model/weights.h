// A checkpoint's weights, laid out for one backend. Const once made.
#pragma once

#include <memory>
#include <vector>

#include "core/status.h"
#include "kernels/ops.h"
#include "model/checkpoint.h"

namespace onepass {

template <class Real>
struct LayerWeights {
  using Matrix = std::unique_ptr<const PreparedWeight>;
  std::vector<Real> attention_norm, mlp_norm;        // [C]
  Matrix q, k, v, o;                                 // [H D, C], [G D, C] x 2, [C, H D]
  Matrix gate, up, down;                             // [F, C] x 2, [C, F]
  std::vector<Real> q_bias, k_bias, v_bias, o_bias;  // empty: none
  std::vector<Real> gate_bias, up_bias, down_bias;   // empty: none
};

// A tensor as the file has it: dense, or a matrix in blocks. Borrows from the checkpoint.
struct StoredTensor {
  RawTensor dense;
  const BlockTensor* blocks = nullptr;  // instead of `dense`
};

// The tensor of this name, which is there.
StoredTensor StoredAs(const Checkpoint& checkpoint, const std::string& name);

// Elements [begin, begin + count), row after row, into out. REQUIRES: whole rows.
template <class Real>
void ConvertTo(const StoredTensor& tensor, int64_t begin, int64_t count, Real* out);

struct WeightOptions {
  bool bf16 = false;  // round matrices in F32 or F16 to BF16
};

template <class Real>
struct ModelWeights {
  StoredTensor embedding;  // [V, C]
  std::vector<LayerWeights<Real>> layers;
  std::vector<Real> final_norm;                // [C]
  std::unique_ptr<const PreparedWeight> head;  // [V, C]; a tied one is prepared too
};

// The checkpoint must outlive the result.
template <class Real>
Result<ModelWeights<Real>> PrepareWeights(const Checkpoint& checkpoint, Ops<Real>& ops,
                                          const WeightOptions& options = {});

}  // namespace onepass
