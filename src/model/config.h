// The shape of a base model, read from config.json (or from a GGUF file: gguf_base.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "kv/layout.h"

namespace onepass {

enum class RopeScaling { kNone, kLinear, kLlama3 };

// Plain data, copied freely. Field names are the field's terms; config.json's are in config.cc.
struct ModelConfig {
  std::string architecture;   // "llama", "qwen2", "mistral"
  int64_t vocab_size = 0;     // V
  int64_t width = 0;          // C
  int64_t layers = 0;         // L
  int64_t heads = 0;          // H
  int64_t kv_heads = 0;       // G
  int64_t head_dim = 0;       // D
  int64_t feed_forward = 0;   // F
  int64_t max_positions = 0;  // context in tokens; never more than the sliding window
  double norm_eps = 1e-5;
  bool tied_head = false;
  bool qkv_bias = false;     // qwen2, or attention_bias (then the output has one too)
  bool output_bias = false;  // attention_bias
  bool mlp_bias = false;
  double rope_theta = 10000;
  RopeScaling rope_scaling = RopeScaling::kNone;
  double rope_factor = 1;
  double rope_low_freq_factor = 1;      // llama3
  double rope_high_freq_factor = 4;     // llama3
  int64_t rope_original_positions = 0;  // llama3
  std::vector<float> rope_factors;      // [D / 2]: every frequency is divided by its own; or empty
  std::optional<int64_t> bos_token;
  std::vector<int64_t> eos_tokens;  // config.json allows one or a list
  // Of a base whose layers see a window of the last tokens alone, if it is not longer than the
  // context, which then ends with it: no token is hidden. 0: none.
  int64_t sliding_window = 0;

  Status Validate() const;
  // What ends max_positions, for messages: "the base's context" or "the base's sliding window".
  std::string_view LimitOfPositions() const;
  // Parameters, in elements, a tied head counted once.
  int64_t ParameterCount() const;
  // KV pages of this model with elements of `dtype`.
  KvLayout Layout(int64_t page_tokens, DType dtype) const;
};

// No config.json is larger.
inline constexpr int64_t kMaxConfigBytes = int64_t{1} << 22;

// Parses config.json. Refuses unsupported architectures and activations, naming them. A sliding
// window ends the context: what would exceed it is refused as too long.
Result<ModelConfig> ParseConfig(std::string_view json, const std::string& name);
std::string ConfigToJson(const ModelConfig& config, DType dtype);
// "smollm2-135m", "llama3-8b", ...; kNotFound lists the names that exist.
Result<ModelConfig> NamedShape(std::string_view name);

// inv_freq[D / 2] with the config's scaling (llama3: Hugging Face's rule of wavelengths).
std::vector<double> RopeInverseFrequencies(const ModelConfig& config);

}  // namespace onepass
