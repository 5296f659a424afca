// Reading a prompt folder: bytes that others wrote, so nothing in them is trusted.
#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "core/file.h"
#include "core/quote.h"
#include "format/safetensors.h"
#include "format/strict_json.h"
#include "prompt/prompt_files.h"
#include "prompt/soft_prompt.h"

namespace onepass {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxJsonBytes = int64_t{1} << 22;
constexpr std::array<std::string_view, 8> kFactsKeys = {
    "version",          "placement", "stage",  "trained_as",
    "base_fingerprint", "base_type", "recipe", "added_tokens"};

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
    return Fault(kPromptConfigFile, key, "a whole number from 1 to 16777216", DescribeJson(value),
                 path);
  }
  return value.get<int64_t>();
}

Result<AdapterConfig> ReadAdapterConfig(const std::string& path) {
  ASSIGN_OR_RETURN(const Json object, ReadObject(path));
  const auto unsupported = [&](const std::string& key, const std::string& wanted) {
    return Unsupported(std::string(kPromptConfigFile) + ": \"" + key + "\": want " + wanted +
                       ", found " + DescribeAt(object, key) + " (" + path + ")");
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
    return Fault(kPromptConfigFile, "num_virtual_tokens", "a whole number from 1 to 16777216",
                 DescribeAt(object, "num_virtual_tokens"), path);
  }
  ASSIGN_OR_RETURN(config.width, OptionalSize(object, "token_dim", path));
  ASSIGN_OR_RETURN(const int64_t submodules,
                   OptionalSize(object, "num_transformer_submodules", path));
  if (submodules > 1) return unsupported("num_transformer_submodules", "1");
  ASSIGN_OR_RETURN(config.base_model_name,
                   OptionalString(object, "base_model_name_or_path", kPromptConfigFile, path));
  return config;
}

// The vectors under PEFT's name in any of its spellings: bare as PEFT saves them, with a wrapper's
// prefix, or as the state_dict of a live model names them.
bool IsVectorsName(std::string_view name) {
  return name == kPromptVectorsName || name.ends_with(".prompt_embeddings") ||
         (name.find("prompt_encoder.") != std::string_view::npos &&
          name.ends_with(".embedding.weight"));
}

Result<Buffer<float>> ReadVectors(const std::string& path, const AdapterConfig& config) {
  ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(path));
  const RawTensor* vectors = nullptr;
  std::string vectors_name;
  for (const auto& [name, tensor] : file->tensors()) {
    if (!IsVectorsName(name) || vectors != nullptr) {
      return InvalidArgument("prompt: " + Quote(name, 200) + ": want \"" + kPromptVectorsName +
                             "\" alone, found one more tensor (" + path + ")");
    }
    vectors = &tensor;
    vectors_name = name;
  }
  if (vectors == nullptr) {
    return InvalidArgument("prompt: want a tensor \"" + std::string(kPromptVectorsName) +
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
        "want " + wanted + " as " + kPromptConfigFile + " says, found " +
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
    return Fault(kPromptFactsFile, place + "." + key, std::to_string(width) + " finite numbers",
                 found, path);
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
    return Fault(kPromptFactsFile, "added_tokens", "a list", DescribeJson(list), path);
  for (const Json& token : list) {
    const std::string place = "added_tokens[" + std::to_string(rows.size()) + "]";
    if (!token.is_object() || token.size() != 3) {
      return Fault(kPromptFactsFile, place, "an object of token, embedding and head",
                   DescribeJson(token), path);
    }
    AddedTokenRow& row = rows.emplace_back();
    ASSIGN_OR_RETURN(row.token, OptionalString(token, "token", kPromptFactsFile, path));
    if (row.token.empty()) {
      return Fault(kPromptFactsFile, place + ".token", "its text", DescribeAt(token, "token"),
                   path);
    }
    ASSIGN_OR_RETURN(row.embedding, ReadRow(token, "embedding", place, width, path));
    ASSIGN_OR_RETURN(row.head, ReadRow(token, "head", place, width, path));
  }
  return rows;
}

Result<PromptFacts> ReadFacts(const std::string& path, int64_t width) {
  ASSIGN_OR_RETURN(const Json object, ReadObject(path));
  for (const auto& item : object.items()) {
    if (std::ranges::find(kFactsKeys, item.key()) != kFactsKeys.end()) continue;
    std::string known;
    for (const std::string_view key : kFactsKeys) {
      known += (known.empty() ? "" : ", ") + std::string(key);
    }
    return InvalidArgument("onepass.json: unknown key " + Quote(item.key()) + "; known: " + known +
                           " (" + path + ")");
  }
  if (IsAbsent(object, "version") || object["version"] != kPromptFactsVersion) {
    return Unsupported("onepass.json: \"version\": want " + std::to_string(kPromptFactsVersion) +
                       ", found " + DescribeAt(object, "version") + " (" + path + ")");
  }
  PromptFacts facts;
  ASSIGN_OR_RETURN(const std::string placement,
                   OptionalString(object, "placement", kPromptFactsFile, path));
  const auto parsed = ParsePlacement(placement);
  if (!parsed.ok()) {
    return Fault(kPromptFactsFile, "placement", "\"front\" or \"inline\"",
                 DescribeAt(object, "placement"), path);
  }
  facts.placement = *parsed;
  ASSIGN_OR_RETURN(facts.stage, OptionalString(object, "stage", kPromptFactsFile, path));
  ASSIGN_OR_RETURN(facts.trained_as, OptionalString(object, "trained_as", kPromptFactsFile, path));
  ASSIGN_OR_RETURN(facts.base_fingerprint,
                   OptionalString(object, "base_fingerprint", kPromptFactsFile, path));
  ASSIGN_OR_RETURN(facts.base_type, OptionalString(object, "base_type", kPromptFactsFile, path));
  if (!IsAbsent(object, "recipe")) facts.recipe_json = object["recipe"].dump();
  ASSIGN_OR_RETURN(facts.added_tokens, ReadAddedTokens(object, width, path));
  return facts;
}

}  // namespace

Result<SoftPrompt> LoadSoftPrompt(const std::string& dir) {
  ASSIGN_OR_RETURN(AdapterConfig config, ReadAdapterConfig(dir + "/" + kPromptConfigFile));
  SoftPrompt prompt;
  ASSIGN_OR_RETURN(prompt.vectors, ReadVectors(dir + "/" + kPromptVectorsFile, config));
  prompt.base_model_name = std::move(config.base_model_name);
  auto facts = ReadFacts(dir + "/" + kPromptFactsFile, prompt.width());
  if (facts.ok()) {
    prompt.facts = std::move(facts).value();
  } else if (facts.status().code() != StatusCode::kNotFound) {
    return facts.status();
  }
  std::span<const AddedTokenRow> added;
  if (prompt.facts.has_value()) added = prompt.facts->added_tokens;
  prompt.content_hash = ContentHash(std::as_const(prompt.vectors).view(), added);
  return prompt;
}

}  // namespace onepass
