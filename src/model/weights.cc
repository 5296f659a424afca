#include "model/weights.h"

#include <algorithm>
#include <string>

namespace onepass {
namespace {

template <class Real>
std::vector<Real> VectorOf(const RawTensor& tensor) {
  std::vector<Real> values(static_cast<size_t>(tensor.element_count()));
  ConvertTo<Real>(tensor, 0, tensor.element_count(), values.data());
  return values;
}

Buffer<BF16> RoundedToBF16(const RawTensor& tensor) {
  const int64_t cols = tensor.shape[1];
  Buffer<BF16> rounded(tensor.shape[0], cols);
  std::vector<float> row(static_cast<size_t>(cols));
  for (int64_t i = 0; i < rounded.rows(); ++i) {
    ConvertTo<float>(tensor, i * cols, cols, row.data());
    std::transform(row.begin(), row.end(), rounded.data() + i * cols, ToBF16);
  }
  return rounded;
}

// Of a weight in blocks, the blocks themselves: the backend decides how it multiplies with them.
template <class Real>
Result<std::unique_ptr<const PreparedWeight>> PrepareMatrix(const Checkpoint& checkpoint,
                                                            const std::string& name, Ops<Real>& ops,
                                                            const WeightOptions& options) {
  if (const BlockTensor* blocks = checkpoint.blocks(name)) return ops.Prepare(*blocks);
  const RawTensor& stored = checkpoint.tensor(name);
  if (!options.bf16 || (stored.dtype != DType::kF32 && stored.dtype != DType::kF16)) {
    return ops.Prepare(stored);
  }
  const Buffer<BF16> rounded = RoundedToBF16(stored);
  return ops.Prepare(RawTensor{DType::kBF16, stored.shape, std::as_bytes(rounded.span())});
}

}  // namespace

StoredTensor StoredAs(const Checkpoint& checkpoint, const std::string& name) {
  if (const BlockTensor* blocks = checkpoint.blocks(name)) return {.dense = {}, .blocks = blocks};
  return {.dense = checkpoint.tensor(name)};
}

template <class Real>
void ConvertTo(const StoredTensor& tensor, int64_t begin, int64_t count, Real* out) {
  if (tensor.blocks == nullptr) return ConvertTo<Real>(tensor.dense, begin, count, out);
  const BlockTensor& blocks = *tensor.blocks;
  const int64_t cols = blocks.shape[1];
  ONEPASS_CHECK(begin % cols == 0 && count % cols == 0, "whole rows");
  const auto bytes = [&](int64_t elements) {
    return static_cast<size_t>(elements / cols * blocks.row_bytes());
  };
  const auto stored = blocks.bytes.subspan(bytes(begin), bytes(count));
  if constexpr (std::is_same_v<Real, float>) {
    Dequantise(blocks.type, stored, std::span(out, static_cast<size_t>(count)));
  } else {
    std::vector<float> values(static_cast<size_t>(count));
    Dequantise(blocks.type, stored, values);
    std::copy(values.begin(), values.end(), out);
  }
}

template void ConvertTo<float>(const StoredTensor&, int64_t, int64_t, float*);
template void ConvertTo<double>(const StoredTensor&, int64_t, int64_t, double*);

template <class Real>
Result<ModelWeights<Real>> PrepareWeights(const Checkpoint& checkpoint, Ops<Real>& ops,
                                          const WeightOptions& options) {
  const ModelConfig& config = checkpoint.config();
  ModelWeights<Real> weights;
  const std::string embedding = "model.embed_tokens.weight";
  weights.embedding = StoredAs(checkpoint, embedding);
  weights.final_norm = VectorOf<Real>(checkpoint.tensor("model.norm.weight"));
  ASSIGN_OR_RETURN(
      weights.head,
      PrepareMatrix(checkpoint, config.tied_head ? embedding : "lm_head.weight", ops, options));
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    LayerWeights<Real>& layer = weights.layers.emplace_back();
    const auto matrix = [&](const std::string& name, std::unique_ptr<const PreparedWeight>& out,
                            bool has_bias, std::vector<Real>& bias) -> Status {
      ASSIGN_OR_RETURN(out, PrepareMatrix(checkpoint, prefix + name + ".weight", ops, options));
      if (has_bias) bias = VectorOf<Real>(checkpoint.tensor(prefix + name + ".bias"));
      return Status::Ok();
    };
    RETURN_IF_ERROR(matrix("self_attn.q_proj", layer.q, config.qkv_bias, layer.q_bias));
    RETURN_IF_ERROR(matrix("self_attn.k_proj", layer.k, config.qkv_bias, layer.k_bias));
    RETURN_IF_ERROR(matrix("self_attn.v_proj", layer.v, config.qkv_bias, layer.v_bias));
    RETURN_IF_ERROR(matrix("self_attn.o_proj", layer.o, config.output_bias, layer.o_bias));
    RETURN_IF_ERROR(matrix("mlp.gate_proj", layer.gate, config.mlp_bias, layer.gate_bias));
    RETURN_IF_ERROR(matrix("mlp.up_proj", layer.up, config.mlp_bias, layer.up_bias));
    RETURN_IF_ERROR(matrix("mlp.down_proj", layer.down, config.mlp_bias, layer.down_bias));
    layer.attention_norm = VectorOf<Real>(checkpoint.tensor(prefix + "input_layernorm.weight"));
    layer.mlp_norm = VectorOf<Real>(checkpoint.tensor(prefix + "post_attention_layernorm.weight"));
  }
  return weights;
}

template Result<ModelWeights<float>> PrepareWeights<float>(const Checkpoint&, Ops<float>&,
                                                           const WeightOptions&);
template Result<ModelWeights<double>> PrepareWeights<double>(const Checkpoint&, Ops<double>&,
                                                             const WeightOptions&);

}  // namespace onepass
