#include "prompt/soft_prompt.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <utility>

#include "core/file.h"
#include "core/hash.h"
#include "core/quote.h"
#include "format/safetensors.h"
#include "format/strict_json.h"

namespace onepass {
namespace {

using Json = nlohmann::json;

constexpr char kConfigFile[] = "adapter_config.json";
constexpr char kVectorsFile[] = "adapter_model.safetensors";
constexpr char kFactsFile[] = "onepass.json";
constexpr char kVectorsName[] = "prompt_embeddings";
constexpr int64_t kFactsVersion = 1;
constexpr int64_t kMaxJsonBytes = int64_t{1} << 22;

Status Fault(const char* file, const std::string& key, const std::string& wanted,
             const std::string& found, const std::string& path) {
  return InvalidArgument(std::string(file) + ": \"" + key + "\": want " + wanted + ", found " +
                         found + " (" + path + ")");
}

std::string DescribeAt(const Json& object, const std::string& key) {
  const auto it = object.find(key);
  return it == object.end() ? "nothing" : DescribeJson(*it);
}

Result<Json> ReadObject(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxJsonBytes));
  ASSIGN_OR_RETURN(Json object, ParseStrictJson(text, path));
  if (!object.is_object()) {
    return InvalidArgument("prompt: want an object, found " + DescribeJson(object) + " (" + path +
                           ")");
  }
  return object;
}

bool IsAbsent(const Json& object, const std::string& key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null();
}

// A key of adapter_config.json that, where present, must be a string.
Result<std::string> OptionalString(const Json& object, const std::string& key, const char* file,
                                   const std::string& path) {
  if (IsAbsent(object, key)) return std::string();
  if (!object[key].is_string()) {
    return Fault(file, key, "a string", DescribeJson(object[key]), path);
  }
  return object[key].get<std::string>();
}

// What adapter_config.json says of the vectors' shape; 0 where it says nothing.
struct AdapterConfig {
  int64_t length = 0;
  int64_t width = 0;
  std::string base_model_name;
};

Result<int64_t> OptionalSize(const Json& object, const std::string& key, const std::string& path) {
  if (IsAbsent(object, key)) return int64_t{0};
  const Json& value = object[key];
  if (!value.is_number_unsigned() || value.get<uint64_t>() < 1 ||
      value.get<uint64_t>() > (uint64_t{1} << 24)) {
    return Fault(kConfigFile, key, "a whole number from 1 to 16777216", DescribeJson(value), path);
  }
  return value.get<int64_t>();
}

Result<AdapterConfig> ReadAdapterConfig(const std::string& path) {
  ASSIGN_OR_RETURN(const Json object, ReadObject(path));
  const auto unsupported = [&](const std::string& key, const std::string& wanted) {
    return Unsupported(std::string(kConfigFile) + ": \"" + key + "\": want " + wanted + ", found " +
                       DescribeAt(object, key) + " (" + path + ")");
  };
  if (IsAbsent(object, "peft_type") || object["peft_type"] != "PROMPT_TUNING") {
    return unsupported("peft_type", "\"PROMPT_TUNING\"");
  }
  if (!IsAbsent(object, "task_type") && object["task_type"] != "CAUSAL_LM") {
    return unsupported("task_type", "\"CAUSAL_LM\"");
  }
  AdapterConfig config;
  ASSIGN_OR_RETURN(config.length, OptionalSize(object, "num_virtual_tokens", path));
  if (config.length == 0) {
    return Fault(kConfigFile, "num_virtual_tokens", "a whole number from 1 to 16777216",
                 DescribeAt(object, "num_virtual_tokens"), path);
  }
  ASSIGN_OR_RETURN(config.width, OptionalSize(object, "token_dim", path));
  ASSIGN_OR_RETURN(const int64_t submodules,
                   OptionalSize(object, "num_transformer_submodules", path));
  if (submodules > 1) return unsupported("num_transformer_submodules", "1");
  ASSIGN_OR_RETURN(config.base_model_name,
                   OptionalString(object, "base_model_name_or_path", kConfigFile, path));
  return config;
}

// The vectors under PEFT's name in any of its spellings: bare as PEFT saves them, with a wrapper's
// prefix, or as the state_dict of a live model names them.
bool IsVectorsName(std::string_view name) {
  return name == kVectorsName || name.ends_with(".prompt_embeddings") ||
         (name.find("prompt_encoder.") != std::string_view::npos &&
          name.ends_with(".embedding.weight"));
}

Result<Buffer<float>> ReadVectors(const std::string& path, const AdapterConfig& config) {
  ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(path));
  const RawTensor* vectors = nullptr;
  std::string vectors_name;
  for (const auto& [name, tensor] : file->tensors()) {
    if (!IsVectorsName(name) || vectors != nullptr) {
      return InvalidArgument("prompt: " + Quote(name, 200) + ": want \"" + kVectorsName +
                             "\" alone, found one more tensor (" + path + ")");
    }
    vectors = &tensor;
    vectors_name = name;
  }
  if (vectors == nullptr) {
    return InvalidArgument("prompt: want a tensor \"" + std::string(kVectorsName) +
                           "\", found none (" + path + ")");
  }
  const auto fault = [&](const std::string& text) {
    return InvalidArgument("prompt: " + Quote(vectors_name, 200) + ": " + text + " (" + path + ")");
  };
  const std::vector<int64_t>& shape = vectors->shape;
  const std::string wanted = "[" + std::to_string(config.length) + ", " +
                             (config.width == 0 ? "any" : std::to_string(config.width)) + "]";
  if (shape.size() != 2 || shape[0] != config.length || shape[1] < 1 ||
      (config.width != 0 && shape[1] != config.width)) {
    return fault(
        "want " + wanted + " as " + kConfigFile + " says, found " +
        (shape.size() > 8 ? std::to_string(shape.size()) + " dimensions" : ShapeToString(shape)));
  }
  if (vectors->dtype != DType::kF32 && vectors->dtype != DType::kF16 &&
      vectors->dtype != DType::kBF16) {
    return fault("want F32, F16 or BF16, found " + std::string(NameOf(vectors->dtype)));
  }
  Buffer<float> buffer(shape[0], shape[1]);
  ConvertTo(*vectors, 0, buffer.size(), buffer.data());
  for (float value : buffer.span()) {
    if (!std::isfinite(value)) return fault("want finite numbers, found " + std::to_string(value));
  }
  return buffer;
}

// One row of an added token: `width` finite numbers.
Result<std::vector<float>> ReadRow(const Json& token, const std::string& key,
                                   const std::string& place, int64_t width,
                                   const std::string& path) {
  const auto fault = [&](const std::string& found) {
    return Fault(kFactsFile, place + "." + key, std::to_string(width) + " finite numbers", found,
                 path);
  };
  if (IsAbsent(token, key) || !token[key].is_array()) return fault(DescribeAt(token, key));
  if (std::ssize(token[key]) != width) return fault(std::to_string(token[key].size()) + " values");
  std::vector<float> row;
  for (const Json& value : token[key]) {
    if (!value.is_number()) return fault(DescribeJson(value) + " among them");
    row.push_back(value.get<float>());
    if (!std::isfinite(row.back())) return fault(DescribeJson(value) + " among them");
  }
  return row;
}

Result<std::vector<AddedTokenRow>> ReadAddedTokens(const Json& object, int64_t width,
                                                   const std::string& path) {
  std::vector<AddedTokenRow> rows;
  if (IsAbsent(object, "added_tokens")) return rows;
  const Json& list = object["added_tokens"];
  if (!list.is_array())
    return Fault(kFactsFile, "added_tokens", "a list", DescribeJson(list), path);
  for (const Json& token : list) {
    const std::string place = "added_tokens[" + std::to_string(rows.size()) + "]";
    if (!token.is_object() || token.size() != 3) {
      return Fault(kFactsFile, place, "an object of token, embedding and head", DescribeJson(token),
                   path);
    }
    AddedTokenRow& row = rows.emplace_back();
    ASSIGN_OR_RETURN(row.token, OptionalString(token, "token", kFactsFile, path));
    if (row.token.empty()) {
      return Fault(kFactsFile, place + ".token", "its text", DescribeAt(token, "token"), path);
    }
    ASSIGN_OR_RETURN(row.embedding, ReadRow(token, "embedding", place, width, path));
    ASSIGN_OR_RETURN(row.head, ReadRow(token, "head", place, width, path));
  }
  return rows;
}

Result<PromptFacts> ReadFacts(const std::string& path, int64_t width) {
  ASSIGN_OR_RETURN(const Json object, ReadObject(path));
  const std::string known =
      "version, placement, stage, trained_as, base_fingerprint, recipe, added_tokens";
  for (const auto& [key, value] : object.items()) {
    if ((", " + known + ",").find(", " + key + ",") == std::string::npos) {
      return InvalidArgument("onepass.json: unknown key " + Quote(key) + "; known: " + known +
                             " (" + path + ")");
    }
  }
  if (IsAbsent(object, "version") || object["version"] != kFactsVersion) {
    return Unsupported("onepass.json: \"version\": want " + std::to_string(kFactsVersion) +
                       ", found " + DescribeAt(object, "version") + " (" + path + ")");
  }
  PromptFacts facts;
  ASSIGN_OR_RETURN(const std::string placement,
                   OptionalString(object, "placement", kFactsFile, path));
  const auto parsed = ParsePlacement(placement);
  if (!parsed.ok()) {
    return Fault(kFactsFile, "placement", "\"front\" or \"inline\"",
                 DescribeAt(object, "placement"), path);
  }
  facts.placement = *parsed;
  ASSIGN_OR_RETURN(facts.stage, OptionalString(object, "stage", kFactsFile, path));
  ASSIGN_OR_RETURN(facts.trained_as, OptionalString(object, "trained_as", kFactsFile, path));
  ASSIGN_OR_RETURN(facts.base_fingerprint,
                   OptionalString(object, "base_fingerprint", kFactsFile, path));
  if (!IsAbsent(object, "recipe")) facts.recipe_json = object["recipe"].dump();
  ASSIGN_OR_RETURN(facts.added_tokens, ReadAddedTokens(object, width, path));
  return facts;
}

std::string AdapterConfigJson(const SoftPrompt& prompt) {
  nlohmann::ordered_json out;
  out["auto_mapping"] = nullptr;
  out["base_model_name_or_path"] = nullptr;
  if (!prompt.base_model_name.empty()) out["base_model_name_or_path"] = prompt.base_model_name;
  out["inference_mode"] = true;
  out["modules_to_save"] = nullptr;
  // PEFT fills the next two from the base where they are null.
  out["num_attention_heads"] = nullptr;
  out["num_layers"] = nullptr;
  out["num_transformer_submodules"] = 1;
  out["num_virtual_tokens"] = prompt.length();
  out["peft_type"] = "PROMPT_TUNING";
  out["prompt_tuning_init"] = "RANDOM";
  out["prompt_tuning_init_text"] = nullptr;
  out["revision"] = nullptr;
  out["task_type"] = "CAUSAL_LM";
  out["token_dim"] = prompt.width();
  out["tokenizer_kwargs"] = nullptr;
  out["tokenizer_name_or_path"] = nullptr;
  return out.dump(2) + "\n";
}

Result<std::string> FactsJson(const PromptFacts& facts, const std::string& path) {
  nlohmann::ordered_json out;
  out["version"] = kFactsVersion;
  out["placement"] = std::string(NameOf(facts.placement));
  out["stage"] = facts.stage;
  out["trained_as"] = facts.trained_as;
  out["base_fingerprint"] = facts.base_fingerprint;
  out["recipe"] = nullptr;
  if (!facts.recipe_json.empty()) {
    ASSIGN_OR_RETURN(const Json recipe, ParseStrictJson(facts.recipe_json, "recipe of " + path));
    out["recipe"] = recipe;
  }
  for (const AddedTokenRow& row : facts.added_tokens) {
    out["added_tokens"].push_back(
        {{"token", row.token}, {"embedding", row.embedding}, {"head", row.head}});
  }
  return out.dump(2) + "\n";
}

}  // namespace

std::string_view NameOf(Placement placement) {
  return placement == Placement::kFront ? "front" : "inline";
}

Result<Placement> ParsePlacement(std::string_view text) {
  if (text == "front") return Placement::kFront;
  if (text == "inline") return Placement::kInline;
  return InvalidArgument("placement: want front or inline, found " + Quote(text));
}

uint64_t ContentHash(View<const float> vectors) {
  const std::array<int64_t, 2> shape = {vectors.rows(), vectors.cols()};
  uint64_t hash = HashBytes(std::as_bytes(std::span(shape)));
  for (int64_t r = 0; r < vectors.rows(); ++r) {
    hash = HashBytes(std::as_bytes(std::span(vectors.row(r), static_cast<size_t>(vectors.cols()))),
                     hash);
  }
  return hash;
}

Result<SoftPrompt> LoadSoftPrompt(const std::string& dir) {
  ASSIGN_OR_RETURN(AdapterConfig config, ReadAdapterConfig(dir + "/" + kConfigFile));
  SoftPrompt prompt;
  ASSIGN_OR_RETURN(prompt.vectors, ReadVectors(dir + "/" + kVectorsFile, config));
  prompt.base_model_name = std::move(config.base_model_name);
  prompt.content_hash = ContentHash(std::as_const(prompt.vectors).view());
  auto facts = ReadFacts(dir + "/" + kFactsFile, prompt.width());
  if (facts.ok()) {
    prompt.facts = std::move(facts).value();
  } else if (facts.status().code() != StatusCode::kNotFound) {
    return facts.status();
  }
  return prompt;
}

Status SaveSoftPrompt(const SoftPrompt& prompt, const std::string& dir) {
  // Checked before anything is written.
  for (const std::string& text : {prompt.base_model_name, prompt.facts ? prompt.facts->stage : "",
                                  prompt.facts ? prompt.facts->trained_as : "",
                                  prompt.facts ? prompt.facts->base_fingerprint : ""}) {
    if (!IsUtf8(text)) {
      return InvalidArgument("prompt: want UTF-8, found " + Quote(text) + " (" + dir + ")");
    }
  }
  std::string facts;
  if (prompt.facts.has_value()) {
    ASSIGN_OR_RETURN(facts, FactsJson(*prompt.facts, dir));
  }
  RETURN_IF_ERROR(MakeDirectories(dir));
  const NamedTensor vectors = {
      kVectorsName,
      {DType::kF32, {prompt.length(), prompt.width()}, std::as_bytes(prompt.vectors.span())}};
  RETURN_IF_ERROR(WriteSafetensors(dir + "/" + kVectorsFile, {&vectors, 1}, {}));
  if (prompt.facts.has_value()) {
    RETURN_IF_ERROR(WriteFileAtomically(dir + "/" + kFactsFile, facts));
  } else {
    std::remove((dir + "/" + kFactsFile).c_str());  // those of a prompt that stood here before
  }
  return WriteFileAtomically(dir + "/" + kConfigFile, AdapterConfigJson(prompt));
}

Status CheckPromptFits(const SoftPrompt& prompt, const std::string& dir, int64_t width,
                       const std::string& base_fingerprint, Placement placement) {
  const auto fault = [&](const char* what, const std::string& wanted, const std::string& found) {
    return InvalidArgument(std::string("prompt: ") + what + ": want " + wanted + ", found " +
                           found + " (" + dir + ")");
  };
  if (prompt.width() != width) {
    return fault("width", std::to_string(width) + " as the base has",
                 std::to_string(prompt.width()));
  }
  if (!prompt.facts.has_value()) return Status::Ok();
  const std::string& trained_on = prompt.facts->base_fingerprint;
  if (!trained_on.empty() && trained_on != base_fingerprint) {
    return fault("base", "fingerprint " + base_fingerprint, "a prompt trained on " + trained_on);
  }
  if (prompt.facts->placement != placement) {
    return fault("placement", std::string(NameOf(placement)),
                 "a prompt trained for " + std::string(NameOf(prompt.facts->placement)));
  }
  if (!prompt.facts->added_tokens.empty()) {
    return Unsupported("prompt: added tokens: want none, found " +
                       std::to_string(prompt.facts->added_tokens.size()) + " (" + dir + ")");
  }
  return Status::Ok();
}

}  // namespace onepass
