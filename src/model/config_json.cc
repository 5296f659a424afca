#include "model/config.h"

#include <limits>
#include <utility>

#include "core/quote.h"
#include "format/strict_json.h"

namespace onepass {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxId = std::numeric_limits<int32_t>::max();
// Before ModelConfig::Validate gives each size its own limit: nothing overflows below this one.
constexpr int64_t kMaxDimension = std::numeric_limits<int32_t>::max();

struct Architecture {
  const char* model_type;
  const char* class_name;
};
constexpr Architecture kArchitectures[] = {
    {"llama", "LlamaForCausalLM"},
    {"qwen2", "Qwen2ForCausalLM"},
    {"mistral", "MistralForCausalLM"},
};

// Typed look-ups in an object of config.json. The first fault is kept; what is read after it is
// of no use. Hugging Face writes null where a key is not set, so null counts as absent.
class Reader {
 public:
  Reader(const Json& object, std::string prefix, const std::string& file, Status* fault)
      : object_(object), prefix_(std::move(prefix)), file_(file), fault_(fault) {}

  const Json* Find(const std::string& key) const {
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }
  bool Has(const std::string& key) const { return Find(key) != nullptr; }
  bool IsNull(const std::string& key) const {
    const auto it = object_.find(key);
    return it != object_.end() && it->is_null();
  }

  int64_t Int(const std::string& key, int64_t low, int64_t high,
              std::optional<int64_t> if_absent = {}) const {
    const std::string wanted =
        "a whole number from " + std::to_string(low) + " to " + std::to_string(high);
    const Json* value = Find(key);
    if (value == nullptr) return if_absent ? *if_absent : (Fail(key, wanted, nullptr), low);
    const auto number = WholeNumber(*value);
    if (!number || *number < low || *number > high) return Fail(key, wanted, value), low;
    return *number;
  }

  // A finite number above 0 and at most `high`.
  double Positive(const std::string& key, double high, std::optional<double> if_absent = {}) const {
    const std::string wanted = "a number above 0, at most " + Json(high).dump();
    const Json* value = Find(key);
    if (value == nullptr) return if_absent ? *if_absent : (Fail(key, wanted, nullptr), 1.0);
    const double number = value->is_number() ? value->get<double>() : 0;
    if (!(number > 0 && number <= high)) return Fail(key, wanted, value), 1.0;
    return number;
  }

  bool Bool(const std::string& key, bool if_absent) const {
    const Json* value = Find(key);
    if (value == nullptr) return if_absent;
    if (!value->is_boolean()) return Fail(key, "true or false", value), if_absent;
    return value->get<bool>();
  }

  std::string String(const std::string& key, const std::string& if_absent) const {
    const Json* value = Find(key);
    if (value == nullptr) return if_absent;
    if (!value->is_string()) return Fail(key, "a string", value), if_absent;
    return value->get<std::string>();
  }

  static std::optional<int64_t> WholeNumber(const Json& value) {
    if (value.is_number_unsigned()) {
      const uint64_t number = value.get<uint64_t>();
      if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return {};
      return static_cast<int64_t>(number);
    }
    if (value.is_number_integer()) return value.get<int64_t>();
    return {};
  }

  void Fail(const std::string& key, const std::string& wanted, const Json* found) const {
    Set(StatusCode::kInvalidArgument, key, wanted,
        found == nullptr ? "nothing" : DescribeJson(*found));
  }
  void FailUnsupported(const std::string& key, const std::string& wanted,
                       const std::string& found) const {
    Set(StatusCode::kUnsupported, key, wanted, found);
  }

 private:
  void Set(StatusCode code, const std::string& key, const std::string& wanted,
           const std::string& found) const {
    if (!fault_->ok()) return;
    *fault_ = Status(code, "config: \"" + prefix_ + key + "\": want " + wanted + ", found " +
                               found + " (" + file_ + ")");
  }

  const Json& object_;
  std::string prefix_;
  const std::string& file_;
  Status* fault_;
};

std::string ArchitectureNames() {
  std::string names;
  for (const Architecture& known : kArchitectures) {
    names += (names.empty() ? "" : ", ") + std::string(known.class_name);
  }
  return names;
}

// By "architectures" where there is one, else by "model_type"; where there are both they must
// agree.
std::string ReadArchitecture(const Reader& reader) {
  const std::string type = reader.String("model_type", "");
  std::string class_name;
  const Json* list = reader.Find("architectures");
  if (list != nullptr) {
    if (!list->is_array() || list->size() != 1 || !list->front().is_string()) {
      return reader.Fail("architectures", "a list of one name", list), "";
    }
    class_name = list->front().get<std::string>();
  }
  for (const Architecture& known : kArchitectures) {
    const bool by_class = class_name == known.class_name;
    if (!by_class && !(class_name.empty() && type == known.model_type)) continue;
    if (!type.empty() && type != known.model_type) {
      reader.FailUnsupported("model_type", Quote(known.model_type) + " as \"architectures\" says",
                             Quote(type));
    }
    return known.model_type;
  }
  if (class_name.empty() && type.empty()) {
    reader.Fail("architectures", "one of " + ArchitectureNames(), nullptr);
  } else {
    reader.FailUnsupported("architectures", "one of " + ArchitectureNames(),
                           Quote(class_name.empty() ? type : class_name));
  }
  return "";
}

// Old spelling: "rope_theta" beside "rope_scaling" {"type" or "rope_type", ...} or null. New
// spelling: "rope_parameters" {"rope_type", "rope_theta", ...}.
void ReadRope(const Reader& top, const std::string& file, Status* fault, ModelConfig& config) {
  config.rope_theta = top.Positive("rope_theta", 1e12, 10000.0);
  if (top.Has("partial_rotary_factor") && top.Positive("partial_rotary_factor", 1.0) != 1.0) {
    top.FailUnsupported("partial_rotary_factor", "1",
                        DescribeJson(*top.Find("partial_rotary_factor")));
  }
  const Json* old_spelling = top.Find("rope_scaling");
  const Json* new_spelling = top.Find("rope_parameters");
  if (old_spelling != nullptr && new_spelling != nullptr && *old_spelling != *new_spelling) {
    return top.Fail("rope_scaling", "the same as \"rope_parameters\", or only one of them",
                    old_spelling);
  }
  const std::string key = old_spelling != nullptr ? "rope_scaling" : "rope_parameters";
  const Json* object = top.Find(key);
  if (object == nullptr) return;
  if (!object->is_object()) return top.Fail(key, "an object", object);
  const Reader rope(*object, key + ".", file, fault);
  config.rope_theta = rope.Positive("rope_theta", 1e12, config.rope_theta);
  if (rope.Has("partial_rotary_factor") && rope.Positive("partial_rotary_factor", 1.0) != 1.0) {
    rope.FailUnsupported("partial_rotary_factor", "1",
                         DescribeJson(*rope.Find("partial_rotary_factor")));
  }
  const std::string type = rope.String("rope_type", rope.String("type", "default"));
  if (type == "linear") {
    config.rope_scaling = RopeScaling::kLinear;
    config.rope_factor = rope.Positive("factor", 1e6);
  } else if (type == "llama3") {
    config.rope_scaling = RopeScaling::kLlama3;
    config.rope_factor = rope.Positive("factor", 1e6);
    config.rope_low_freq_factor = rope.Positive("low_freq_factor", 1e6);
    config.rope_high_freq_factor = rope.Positive("high_freq_factor", 1e6);
    config.rope_original_positions =
        rope.Int("original_max_position_embeddings", 1, kMaxDimension, config.max_positions);
    if (config.rope_high_freq_factor <= config.rope_low_freq_factor) {
      rope.Fail("high_freq_factor", "more than low_freq_factor", rope.Find("high_freq_factor"));
    }
  } else if (type != "default") {
    rope.FailUnsupported("rope_type", "default, linear or llama3", Quote(type));
  }
}

// A layer with a window sees the last tokens alone. Up to the window's length that hides nothing,
// so the context ends there.
void EndContextAtSlidingWindow(const Reader& reader, ModelConfig& config) {
  int64_t window = 0;  // none
  if (config.architecture == "mistral") {
    // An absent key means 4096 to transformers; null means none.
    const bool is_null = reader.IsNull("sliding_window");
    window = is_null ? 0 : reader.Int("sliding_window", 1, kMaxDimension, 4096);
  } else if (config.architecture == "qwen2" && reader.Bool("use_sliding_window", false)) {
    window = reader.Int("sliding_window", 1, kMaxDimension, 4096);
    // Only layers from max_window_layers on slide, if no list says otherwise.
    if (reader.Int("max_window_layers", 0, kMaxDimension, 28) >= config.layers &&
        !reader.Has("layer_types")) {
      window = 0;
    }
  }
  if (const Json* types = reader.Find("layer_types"); types != nullptr && types->is_array()) {
    bool slides = false;
    for (const Json& type : *types) slides = slides || type != "full_attention";
    if (!slides) return;
  }
  if (window == 0 || window > config.max_positions) return;
  config.max_positions = config.sliding_window = window;
}

void ReadTokens(const Reader& reader, ModelConfig& config) {
  // Ids outside the vocabulary can never occur, so they are left out (configs of cut-down models
  // keep the ids of the full one).
  if (reader.Has("bos_token_id")) {
    const int64_t id = reader.Int("bos_token_id", 0, kMaxId);
    if (id < config.vocab_size) config.bos_token = id;
  }
  const Json* eos = reader.Find("eos_token_id");
  if (eos == nullptr) return;
  const Json list = eos->is_array() ? *eos : Json::array({*eos});
  for (const Json& item : list) {
    const auto id = Reader::WholeNumber(item);
    if (!id || *id < 0 || *id > kMaxId) {
      return reader.Fail("eos_token_id",
                         "whole numbers from 0 to " + std::to_string(kMaxId) + ", one or a list",
                         &item);
    }
    if (*id < config.vocab_size) config.eos_tokens.push_back(*id);
  }
}

}  // namespace

Result<ModelConfig> ParseConfig(std::string_view json, const std::string& name) {
  auto parsed = ParseStrictJson(json, name, {.max_depth = 16, .max_values = 1'000'000});
  if (!parsed.ok()) return parsed.status().WithPrefix("config");
  const Json& object = *parsed;
  if (!object.is_object()) {
    return InvalidArgument("config: want an object, found " + DescribeJson(object) + " (" + name +
                           ")");
  }
  Status fault;
  const Reader reader(object, "", name, &fault);
  ModelConfig config;
  config.architecture = ReadArchitecture(reader);
  RETURN_IF_ERROR(fault);

  config.vocab_size = reader.Int("vocab_size", 1, kMaxDimension);
  config.width = reader.Int("hidden_size", 1, kMaxDimension);
  config.layers = reader.Int("num_hidden_layers", 1, kMaxDimension);
  config.heads = reader.Int("num_attention_heads", 1, kMaxDimension);
  config.feed_forward = reader.Int("intermediate_size", 1, kMaxDimension);
  config.max_positions = reader.Int("max_position_embeddings", 1, kMaxDimension);
  config.kv_heads = reader.Int("num_key_value_heads", 1, kMaxDimension, config.heads);
  RETURN_IF_ERROR(fault);
  if (!reader.Has("head_dim") && config.width % config.heads != 0) {
    reader.Fail("hidden_size",
                "a multiple of num_attention_heads, " + std::to_string(config.heads) +
                    ", as there is no head_dim",
                reader.Find("hidden_size"));
  }
  config.head_dim = reader.Int("head_dim", 1, kMaxDimension, config.width / config.heads);
  config.norm_eps = reader.Positive("rms_norm_eps", 1.0, 1e-6);
  config.tied_head = reader.Bool("tie_word_embeddings", false);
  if (const std::string act = reader.String("hidden_act", "silu"); act != "silu") {
    reader.FailUnsupported("hidden_act", "\"silu\"", Quote(act));
  }
  // Ours (docs/formats/quantised.md) says nothing that the tensors do not say themselves.
  if (const Json* quantised = reader.Find("quantization_config");
      quantised != nullptr &&
      (!quantised->is_object() || quantised->value("quant_method", Json()) != "onepass")) {
    reader.FailUnsupported("quantization_config",
                           "nothing or quant_method \"onepass\" (weights in F32, F16 or BF16, or "
                           "in our blocks)",
                           DescribeJson(*quantised));
  }
  if (config.architecture == "llama") {
    config.qkv_bias = config.output_bias = reader.Bool("attention_bias", false);
    config.mlp_bias = reader.Bool("mlp_bias", false);
  }
  config.qkv_bias = config.qkv_bias || config.architecture == "qwen2";
  ReadRope(reader, name, &fault, config);
  EndContextAtSlidingWindow(reader, config);
  ReadTokens(reader, config);
  RETURN_IF_ERROR(fault);
  if (const Status valid = config.Validate(); !valid.ok()) {
    return Status(valid.code(), valid.message() + " (" + name + ")");
  }
  return config;
}

std::string ConfigToJson(const ModelConfig& config, DType dtype) {
  nlohmann::ordered_json out;
  for (const Architecture& known : kArchitectures) {
    if (config.architecture == known.model_type) out["architectures"] = {known.class_name};
  }
  out["model_type"] = config.architecture;
  out["vocab_size"] = config.vocab_size;
  out["hidden_size"] = config.width;
  out["intermediate_size"] = config.feed_forward;
  out["num_hidden_layers"] = config.layers;
  out["num_attention_heads"] = config.heads;
  out["num_key_value_heads"] = config.kv_heads;
  out["head_dim"] = config.head_dim;
  out["max_position_embeddings"] = config.max_positions;
  out["hidden_act"] = "silu";
  out["rms_norm_eps"] = config.norm_eps;
  out["tie_word_embeddings"] = config.tied_head;
  if (config.architecture == "llama") {
    out["attention_bias"] = config.output_bias;
    out["mlp_bias"] = config.mlp_bias;
  } else if (config.architecture == "qwen2") {
    out["use_sliding_window"] = config.sliding_window > 0;
    if (config.sliding_window > 0) {
      out["sliding_window"] = config.sliding_window;
      out["max_window_layers"] = 0;
    }
  } else if (config.architecture == "mistral") {
    out["sliding_window"] = nullptr;
    if (config.sliding_window > 0) out["sliding_window"] = config.sliding_window;
  }
  out["rope_theta"] = config.rope_theta;
  switch (config.rope_scaling) {
    case RopeScaling::kNone:
      out["rope_scaling"] = nullptr;
      break;
    case RopeScaling::kLinear:
      out["rope_scaling"] = {{"rope_type", "linear"}, {"factor", config.rope_factor}};
      break;
    case RopeScaling::kLlama3:
      out["rope_scaling"] = {{"rope_type", "llama3"},
                             {"factor", config.rope_factor},
                             {"low_freq_factor", config.rope_low_freq_factor},
                             {"high_freq_factor", config.rope_high_freq_factor},
                             {"original_max_position_embeddings", config.rope_original_positions}};
      break;
  }
  // Factors that no rule of config.json gives: said as they are, and refused when read back.
  if (!config.rope_factors.empty()) {
    out["rope_scaling"] = {{"rope_type", "factors"}, {"factors", config.rope_factors}};
  }
  out["bos_token_id"] = nullptr;
  if (config.bos_token.has_value()) out["bos_token_id"] = *config.bos_token;
  out["eos_token_id"] = nullptr;
  if (config.eos_tokens.size() == 1) out["eos_token_id"] = config.eos_tokens[0];
  if (config.eos_tokens.size() > 1) out["eos_token_id"] = config.eos_tokens;
  out["torch_dtype"] = dtype == DType::kF32    ? "float32"
                       : dtype == DType::kBF16 ? "bfloat16"
                       : dtype == DType::kF16  ? "float16"
                                               : "float64";
  return out.dump(2) + "\n";
}

}  // namespace onepass
