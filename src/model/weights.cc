#include "model/weights.h"

#include <string>

namespace onepass {
namespace {

template <class Real>
std::vector<Real> VectorOf(const RawTensor& tensor) {
  std::vector<Real> values(static_cast<size_t>(tensor.element_count()));
  ConvertTo<Real>(tensor, 0, tensor.element_count(), values.data());
  return values;
}

}  // namespace

template <class Real>
Result<ModelWeights<Real>> PrepareWeights(const Checkpoint& checkpoint, Ops<Real>& ops) {
  const ModelConfig& config = checkpoint.config();
  ModelWeights<Real> weights;
  weights.embedding = checkpoint.tensor("model.embed_tokens.weight");
  weights.final_norm = VectorOf<Real>(checkpoint.tensor("model.norm.weight"));
  ASSIGN_OR_RETURN(
      weights.head,
      ops.Prepare(config.tied_head ? weights.embedding : checkpoint.tensor("lm_head.weight")));
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    LayerWeights<Real>& layer = weights.layers.emplace_back();
    const auto matrix = [&](const std::string& name, std::unique_ptr<const PreparedWeight>& out,
                            bool has_bias, std::vector<Real>& bias) -> Status {
      ASSIGN_OR_RETURN(out, ops.Prepare(checkpoint.tensor(prefix + name + ".weight")));
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

template Result<ModelWeights<float>> PrepareWeights<float>(const Checkpoint&, Ops<float>&);
template Result<ModelWeights<double>> PrepareWeights<double>(const Checkpoint&, Ops<double>&);

}  // namespace onepass
