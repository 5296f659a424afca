#include "model/gguf_base.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>
#include <vector>

#include "core/quote.h"
#include "model/gguf_keys.h"

namespace onepass {
namespace {

constexpr int64_t kMaxSize = std::numeric_limits<int32_t>::max();
constexpr char kRopeFactors[] = "rope_freqs.weight";
constexpr char kEmbeddingName[] = "token_embd.weight";

struct Renamed {
  std::string_view ours;
  std::string_view theirs;
};
constexpr Renamed kOutside[] = {
    {"model.embed_tokens.weight", kEmbeddingName},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
};
constexpr std::string_view kLayerPrefix = "model.layers.";
// Of a layer, without ".weight" and ".bias".
constexpr Renamed kOfLayer[] = {
    {"input_layernorm", "attn_norm"},    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},      {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"}, {"post_attention_layernorm", "ffn_norm"},
    {"mlp.gate_proj", "ffn_gate"},       {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
};

// Keys, behind the architecture's name, of things that the forward pass does not do.
constexpr std::string_view kForeign[] = {
    "attention.clamp_kqv",
    "attention.max_alibi_bias",
    "attention.scale",
    "attention.layer_norm_epsilon",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "logit_scale",
    "residual_scale",
    "embedding_scale",
    "use_parallel_residual",
    "rope.dimension_sections",
    "rope.scaling.alpha",
};

Status TensorFault(const GgufFile& file, const std::string& tensor, const std::string& text) {
  return InvalidArgument("gguf: " + Quote(tensor) + ": " + text + " (" + file.name() + ")");
}

// Llama-3's factor for a frequency, by which converters divide it: rule as in config.cc.
double Llama3Factor(double frequency, double factor, double original) {
  constexpr double kLow = 1;
  constexpr double kHigh = 4;
  const double wavelength = 2 * std::numbers::pi / frequency;
  if (wavelength > original / kLow) return factor;
  if (wavelength < original / kHigh) return 1;
  const double smooth = (original / wavelength - kLow) / (kHigh - kLow);
  return 1 / ((1 - smooth) / factor + smooth);
}

// Whether the factors are those that Llama-3's rule gives for a context of `original`.
bool AreLlama3Factors(const std::vector<float>& factors, const ModelConfig& config,
                      int64_t original) {
  for (size_t i = 0; i < factors.size(); ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim);
    const double want = Llama3Factor(std::pow(config.rope_theta, -exponent), factors.back(),
                                     static_cast<double>(original));
    if (std::abs(factors[i] - want) > 2e-5 * want) return false;
  }
  return true;
}

// The file holds one factor a frequency. Where they are what Llama-3's rule gives, the config says
// the rule, so that the base is the very one that a folder with that rule is.
Status ReadRopeFactors(const GgufFile& file, ModelConfig* config) {
  const auto it = file.tensors().find(kRopeFactors);
  if (it == file.tensors().end()) return Status::Ok();
  const BlockTensor& tensor = it->second;
  const std::vector<int64_t> shape = {config->head_dim / 2};
  if (tensor.type != BlockType::kF32 || tensor.shape != shape) {
    return TensorFault(file, kRopeFactors,
                       "want F32 of one factor a frequency, " + std::to_string(shape[0]) +
                           ", found " + std::string(FormatOf(tensor.type).name) + " of " +
                           std::to_string(tensor.element_count()));
  }
  std::vector<float> factors(static_cast<size_t>(shape[0]));
  Dequantise(tensor.type, tensor.bytes, factors);
  bool all_one = true;
  for (const float factor : factors) {
    if (!(factor > 0 && std::isfinite(factor))) {
      return TensorFault(file, kRopeFactors,
                         "want factors above 0, found " + std::to_string(factor));
    }
    all_one = all_one && factor == 1;
  }
  if (all_one) return Status::Ok();
  if (config->rope_scaling == RopeScaling::kNone && factors.back() > 1) {
    std::vector<int64_t> candidates = {8192};
    for (int64_t original = 16; original <= int64_t{1} << 20; original *= 2) {
      candidates.push_back(original);
    }
    for (const int64_t original : candidates) {
      if (!AreLlama3Factors(factors, *config, original)) continue;
      config->rope_scaling = RopeScaling::kLlama3;
      config->rope_factor = factors.back();
      config->rope_low_freq_factor = 1;
      config->rope_high_freq_factor = 4;
      config->rope_original_positions = original;
      return Status::Ok();
    }
  }
  config->rope_factors = std::move(factors);
  return Status::Ok();
}

void ReadRope(GgufKeys& keys, ModelConfig* config) {
  config->rope_theta = keys.Positive("rope.freq_base", 1e12, 10000.0);
  if (keys.Int("rope.dimension_count", 1, kMaxSize, config->head_dim) != config->head_dim) {
    keys.FailSupport("rope.dimension_count",
                     "the head's size, " + std::to_string(config->head_dim));
  }
  if (keys.Positive("rope.scaling.attn_factor", 1e6, 1.0) != 1.0) {
    keys.FailSupport("rope.scaling.attn_factor", "1");
  }
  const std::string type = keys.Text("rope.scaling.type", "");
  // The older key has no type beside it.
  const char* factor_key = keys.Has("rope.scaling.factor") ? "rope.scaling.factor"  //
                                                           : "rope.scale_linear";
  const double factor = keys.Positive(factor_key, 1e6, 1.0);
  if (type != "" && type != "none" && type != "linear") {
    keys.FailSupport("rope.scaling.type", "\"none\" or \"linear\"");
  }
  if (type != "none" && factor != 1.0) {
    config->rope_scaling = RopeScaling::kLinear;
    config->rope_factor = factor;
  }
}

void RefuseForeign(GgufKeys& keys) {
  for (const std::string_view key : kForeign) {
    if (keys.Has(key)) keys.FailSupport(key, "nothing");
  }
  if (keys.Int("expert_count", 0, kMaxSize, 0) != 0) keys.FailSupport("expert_count", "0");
}

// As of config.json: up to the window's length it hides nothing, so the context ends there.
void EndContextAtSlidingWindow(GgufKeys& keys, ModelConfig* config) {
  const int64_t window = keys.Int("attention.sliding_window", 0, kMaxSize, 0);
  if (window == 0 || window > config->max_positions) return;
  config->max_positions = config->sliding_window = window;
}

// Ids outside the vocabulary can never occur, so they are left out.
Status ReadTokens(const GgufFile& file, ModelConfig* config) {
  // 2^32 - 1 is some writers' word for none.
  const auto id_of = [&file](const char* key) {
    return file.Integer(std::string("tokenizer.ggml.") + key, -1, int64_t{0xffffffff});
  };
  ASSIGN_OR_RETURN(const std::optional<int64_t> bos, id_of("bos_token_id"));
  if (bos && *bos >= 0 && *bos < config->vocab_size) config->bos_token = bos;
  for (const char* key : {"eos_token_id", "eot_token_id", "eom_token_id"}) {
    ASSIGN_OR_RETURN(const std::optional<int64_t> end, id_of(key));
    if (!end || *end < 0 || *end >= config->vocab_size) continue;
    if (std::ranges::find(config->eos_tokens, *end) == config->eos_tokens.end()) {
      config->eos_tokens.push_back(*end);
    }
  }
  return Status::Ok();
}

}  // namespace

Result<ModelConfig> GgufConfig(const GgufFile& file) {
  ASSIGN_OR_RETURN(const auto architecture, file.Text("general.architecture"));
  if (architecture != "llama" && architecture != "qwen2") {
    return file.WantSupported("general.architecture", "\"llama\" or \"qwen2\"");
  }
  ASSIGN_OR_RETURN(const auto parts, file.Integer("split.count", 0, kMaxSize));
  if (parts.value_or(1) > 1) {
    return file.WantSupported("split.count", "a base in one file");
  }
  ModelConfig config;
  config.architecture = *architecture;
  GgufKeys keys(file, config.architecture);
  const auto embedding = file.tensors().find(kEmbeddingName);
  if (embedding == file.tensors().end() || embedding->second.shape.size() != 2) {
    return TensorFault(file, kEmbeddingName, "want a matrix, found none");
  }
  config.vocab_size = embedding->second.shape[0];
  config.width = keys.Int("embedding_length", 1, kMaxSize, {});
  config.layers = keys.Int("block_count", 1, kMaxSize, {});
  config.heads = keys.IntOfAllLayers("attention.head_count", kMaxSize, {});
  config.kv_heads = keys.IntOfAllLayers("attention.head_count_kv", kMaxSize, config.heads);
  config.feed_forward = keys.IntOfAllLayers("feed_forward_length", kMaxSize, {});
  config.max_positions = keys.Int("context_length", 1, kMaxSize, {});
  config.norm_eps = keys.Positive("attention.layer_norm_rms_epsilon", 1, {});
  RETURN_IF_ERROR(keys.fault());
  if (!keys.Has("attention.key_length") && config.width % config.heads != 0) {
    keys.Fail("embedding_length", "a multiple of the head count, " + std::to_string(config.heads) +
                                      ", as there is no attention.key_length");
  }
  config.head_dim = keys.Int("attention.key_length", 1, kMaxSize, config.width / config.heads);
  if (keys.Int("attention.value_length", 1, kMaxSize, config.head_dim) != config.head_dim) {
    keys.FailSupport("attention.value_length",
                     "attention.key_length, " + std::to_string(config.head_dim));
  }
  const auto has = [&file](const char* tensor) { return file.tensors().contains(tensor); };
  config.tied_head = !has("output.weight");
  config.qkv_bias = has("blk.0.attn_q.bias");
  config.output_bias = has("blk.0.attn_output.bias");
  config.mlp_bias = has("blk.0.ffn_gate.bias");
  ReadRope(keys, &config);
  RefuseForeign(keys);
  EndContextAtSlidingWindow(keys, &config);
  RETURN_IF_ERROR(keys.fault());
  RETURN_IF_ERROR(ReadTokens(file, &config));
  if (const Status valid = config.Validate(); !valid.ok()) {
    return Status(valid.code(), valid.message() + " (" + file.name() + ")");
  }
  RETURN_IF_ERROR(ReadRopeFactors(file, &config));
  return config;
}

std::string GgufTensorName(const std::string& name) {
  for (const Renamed& known : kOutside) {
    if (name == known.ours) return std::string(known.theirs);
  }
  ONEPASS_CHECK(name.starts_with(kLayerPrefix), name);
  const size_t dot = name.find('.', kLayerPrefix.size());
  const size_t last_dot = name.rfind('.');
  ONEPASS_CHECK(dot < last_dot, name);
  const std::string_view part = std::string_view(name).substr(dot + 1, last_dot - dot - 1);
  for (const Renamed& known : kOfLayer) {
    if (part != known.ours) continue;
    return "blk." + name.substr(kLayerPrefix.size(), dot - kLayerPrefix.size()) + "." +
           std::string(known.theirs) + name.substr(last_dot);
  }
  ONEPASS_CHECK(false, name);
}

bool IsIgnoredGgufTensor(const std::string& name) {
  return name == kRopeFactors || name.ends_with(".attn_rot_embd");
}

int64_t InterleavedHeads(const ModelConfig& config, const std::string& name) {
  // Qwen's files are written without this reordering.
  if (config.architecture != "llama") return 0;
  if (name.find(".q_proj.") != std::string::npos) return config.heads;
  if (name.find(".k_proj.") != std::string::npos) return config.kv_heads;
  return 0;
}

}  // namespace onepass
