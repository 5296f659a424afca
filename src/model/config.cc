#include "model/config.h"

#include <cmath>
#include <numbers>
#include <utility>

#include "core/check.h"
#include "core/quote.h"

namespace onepass {
namespace {

struct Named {
  const char* name;
  ModelConfig config;
};

// Shapes as their authors publish them. `tiny` is for tests.
const std::vector<Named>& NamedShapes() {
  static const std::vector<Named> shapes = {
      {"tiny",
       {.architecture = "llama",
        .vocab_size = 96,
        .width = 32,
        .layers = 2,
        .heads = 4,
        .kv_heads = 2,
        .head_dim = 8,
        .feed_forward = 48,
        .max_positions = 512,
        .tied_head = true,
        .bos_token = 1,
        .eos_tokens = {2}}},
      {"smollm2-135m",
       {.architecture = "llama",
        .vocab_size = 49152,
        .width = 576,
        .layers = 30,
        .heads = 9,
        .kv_heads = 3,
        .head_dim = 64,
        .feed_forward = 1536,
        .max_positions = 8192,
        .tied_head = true,
        .rope_theta = 100000,
        .bos_token = 0,
        .eos_tokens = {0}}},
      {"smollm2-360m",
       {.architecture = "llama",
        .vocab_size = 49152,
        .width = 960,
        .layers = 32,
        .heads = 15,
        .kv_heads = 5,
        .head_dim = 64,
        .feed_forward = 2560,
        .max_positions = 8192,
        .tied_head = true,
        .rope_theta = 100000,
        .bos_token = 0,
        .eos_tokens = {0}}},
      {"qwen2.5-0.5b",
       {.architecture = "qwen2",
        .vocab_size = 151936,
        .width = 896,
        .layers = 24,
        .heads = 14,
        .kv_heads = 2,
        .head_dim = 64,
        .feed_forward = 4864,
        .max_positions = 32768,
        .norm_eps = 1e-6,
        .tied_head = true,
        .qkv_bias = true,
        .rope_theta = 1000000,
        .bos_token = 151643,
        .eos_tokens = {151643}}},
      {"tinyllama-1.1b",
       {.architecture = "llama",
        .vocab_size = 32000,
        .width = 2048,
        .layers = 22,
        .heads = 32,
        .kv_heads = 4,
        .head_dim = 64,
        .feed_forward = 5632,
        .max_positions = 2048,
        .bos_token = 1,
        .eos_tokens = {2}}},
      {"llama3.2-1b",
       {.architecture = "llama",
        .vocab_size = 128256,
        .width = 2048,
        .layers = 16,
        .heads = 32,
        .kv_heads = 8,
        .head_dim = 64,
        .feed_forward = 8192,
        .max_positions = 131072,
        .tied_head = true,
        .rope_theta = 500000,
        .rope_scaling = RopeScaling::kLlama3,
        .rope_factor = 32,
        .rope_low_freq_factor = 1,
        .rope_high_freq_factor = 4,
        .rope_original_positions = 8192,
        .bos_token = 128000,
        .eos_tokens = {128001}}},
      {"llama3-8b",
       {.architecture = "llama",
        .vocab_size = 128256,
        .width = 4096,
        .layers = 32,
        .heads = 32,
        .kv_heads = 8,
        .head_dim = 128,
        .feed_forward = 14336,
        .max_positions = 8192,
        .rope_theta = 500000,
        .bos_token = 128000,
        .eos_tokens = {128001}}},
  };
  return shapes;
}

Status WantRange(const char* key, int64_t value, int64_t high) {
  if (value >= 1 && value <= high) return Status::Ok();
  return InvalidArgument(std::string("config: \"") + key + "\": want a whole number from 1 to " +
                         std::to_string(high) + ", found " + std::to_string(value));
}

}  // namespace

Status ModelConfig::Validate() const {
  if (architecture != "llama" && architecture != "qwen2" && architecture != "mistral") {
    return Unsupported("config: want architecture llama, qwen2 or mistral, found " +
                       Quote(architecture));
  }
  // With these limits no product of sizes in the program comes near 2^63.
  RETURN_IF_ERROR(WantRange("vocab_size", vocab_size, int64_t{1} << 22));
  RETURN_IF_ERROR(WantRange("hidden_size", width, int64_t{1} << 17));
  RETURN_IF_ERROR(WantRange("num_hidden_layers", layers, 1024));
  RETURN_IF_ERROR(WantRange("num_attention_heads", heads, 1024));
  RETURN_IF_ERROR(WantRange("num_key_value_heads", kv_heads, heads));
  RETURN_IF_ERROR(WantRange("head_dim", head_dim, 1024));
  RETURN_IF_ERROR(WantRange("intermediate_size", feed_forward, int64_t{1} << 20));
  RETURN_IF_ERROR(WantRange("max_position_embeddings", max_positions, int64_t{1} << 30));
  ONEPASS_CHECK(sliding_window == 0 || max_positions <= sliding_window, "positions are hidden");
  if (heads % kv_heads != 0) {
    return InvalidArgument(
        "config: \"num_attention_heads\": want a multiple of "
        "num_key_value_heads, " +
        std::to_string(kv_heads) + ", found " + std::to_string(heads));
  }
  if (head_dim % 2 != 0) {
    return InvalidArgument("config: \"head_dim\": want an even number, found " +
                           std::to_string(head_dim));
  }
  for (double value : {norm_eps, rope_theta, rope_factor}) {
    if (!(value > 0 && std::isfinite(value))) {
      return InvalidArgument(
          "config: want rms_norm_eps, rope_theta and the rope factor above 0, found " +
          std::to_string(value));
    }
  }
  if (rope_scaling == RopeScaling::kLlama3 &&
      !(rope_original_positions > 0 && rope_low_freq_factor > 0 &&
        rope_high_freq_factor > rope_low_freq_factor)) {
    return InvalidArgument(
        "config: want llama3's original_max_position_embeddings above 0 and "
        "0 < low_freq_factor < high_freq_factor");
  }
  if (!rope_factors.empty() && std::ssize(rope_factors) != head_dim / 2) {
    return InvalidArgument("config: want no rope factors or one a frequency, " +
                           std::to_string(head_dim / 2) + ", found " +
                           std::to_string(rope_factors.size()));
  }
  return Status::Ok();
}

std::string_view ModelConfig::LimitOfPositions() const {
  return sliding_window > 0 ? "the base's sliding window" : "the base's context";
}

int64_t ModelConfig::ParameterCount() const {
  const int64_t query = heads * head_dim;
  const int64_t kv = kv_heads * head_dim;
  int64_t layer = 2 * width + width * (2 * query + 2 * kv) + 3 * width * feed_forward;
  if (qkv_bias) layer += query + 2 * kv;
  if (output_bias) layer += width;
  if (mlp_bias) layer += 2 * feed_forward + width;
  return vocab_size * width * (tied_head ? 1 : 2) + layers * layer + width;
}

KvLayout ModelConfig::Layout(int64_t page_tokens, DType dtype) const {
  return {.layers = layers,
          .kv_heads = kv_heads,
          .head_dim = head_dim,
          .page_tokens = page_tokens,
          .dtype = dtype};
}

Result<ModelConfig> NamedShape(std::string_view name) {
  std::string names;
  for (const Named& shape : NamedShapes()) {
    if (name == shape.name) return shape.config;
    names += (names.empty() ? "" : ", ") + std::string(shape.name);
  }
  return NotFound("shape: want one of " + names + ", found " + Quote(name));
}

// Llama-3's rule as Hugging Face transformers computes it (_compute_llama3_parameters): wavelengths
// up to original / high stay, those above original / low are stretched by the factor, and those
// between are interpolated.
std::vector<double> RopeInverseFrequencies(const ModelConfig& config) {
  std::vector<double> frequencies(static_cast<size_t>(config.head_dim / 2));
  const double original = static_cast<double>(config.rope_original_positions);
  const double low = config.rope_low_freq_factor;
  const double high = config.rope_high_freq_factor;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim);
    double f = std::pow(config.rope_theta, -exponent);
    if (config.rope_scaling == RopeScaling::kLinear) {
      f /= config.rope_factor;
    } else if (config.rope_scaling == RopeScaling::kLlama3) {
      const double wavelength = 2 * std::numbers::pi / f;
      if (wavelength > original / low) {
        f /= config.rope_factor;
      } else if (wavelength >= original / high) {
        const double smooth = (original / wavelength - low) / (high - low);
        f = (1 - smooth) * f / config.rope_factor + smooth * f;
      }
    }
    if (!config.rope_factors.empty()) f /= static_cast<double>(config.rope_factors[i]);
    frequencies[i] = f;
  }
  return frequencies;
}

}  // namespace onepass
