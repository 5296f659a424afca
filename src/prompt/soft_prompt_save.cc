// Writing a prompt folder.
#include <utility>

#include "core/file.h"
#include "core/quote.h"
#include "format/safetensors.h"
#include "format/strict_json.h"
#include "prompt/prompt_files.h"
#include "prompt/soft_prompt.h"

namespace onepass {
namespace {

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
  out["version"] = kPromptFactsVersion;
  out["placement"] = std::string(NameOf(facts.placement));
  out["stage"] = facts.stage;
  out["trained_as"] = facts.trained_as;
  out["base_fingerprint"] = facts.base_fingerprint;
  if (!facts.base_type.empty()) out["base_type"] = facts.base_type;
  out["recipe"] = nullptr;
  if (!facts.recipe_json.empty()) {
    ASSIGN_OR_RETURN(const nlohmann::json recipe,
                     ParseStrictJson(facts.recipe_json, "recipe of " + path));
    out["recipe"] = recipe;
  }
  for (const AddedTokenRow& row : facts.added_tokens) {
    out["added_tokens"].push_back(
        {{"token", row.token}, {"embedding", row.embedding}, {"head", row.head}});
  }
  return out.dump(2) + "\n";
}

// Whether the file holds exactly this; where there is none it holds the empty text.
bool Holds(const std::string& path, const std::string& text) {
  const Result<std::string> found = ReadFile(path, static_cast<int64_t>(text.size()));
  return found.ok() ? *found == text
                    : found.status().code() == StatusCode::kNotFound && text.empty();
}

}  // namespace

Status SaveSoftPrompt(const SoftPrompt& prompt, const std::string& dir) {
  // Checked before anything is written.
  for (const std::string& text : {prompt.base_model_name, prompt.facts ? prompt.facts->stage : "",
                                  prompt.facts ? prompt.facts->trained_as : "",
                                  prompt.facts ? prompt.facts->base_fingerprint : "",
                                  prompt.facts ? prompt.facts->base_type : ""}) {
    if (!IsUtf8(text)) {
      return InvalidArgument("prompt: want UTF-8, found " + Quote(text) + " (" + dir + ")");
    }
  }
  std::string facts;
  if (prompt.facts.has_value()) {
    ASSIGN_OR_RETURN(facts, FactsJson(*prompt.facts, dir));
  }
  RETURN_IF_ERROR(MakeDirectories(dir));
  const std::string config_path = dir + "/" + kPromptConfigFile;
  const std::string facts_path = dir + "/" + kPromptFactsFile;
  const std::string config = AdapterConfigJson(prompt);

  // Everything is on disk before anything is replaced: a full disk costs no prompt that stood here.
  const TensorHeader header{kPromptVectorsName, DType::kF32, {prompt.length(), prompt.width()}};
  ASSIGN_OR_RETURN(const auto vectors,
                   SafetensorsWriter::Create(dir + "/" + kPromptVectorsFile, {&header, 1}, {}));
  RETURN_IF_ERROR(vectors->Append(std::as_bytes(prompt.vectors.span())));
  std::unique_ptr<AtomicFileWriter> facts_file;
  if (prompt.facts.has_value()) {
    ASSIGN_OR_RETURN(facts_file, AtomicFileWriter::Create(facts_path));
    RETURN_IF_ERROR(facts_file->Write(facts));
  }
  ASSIGN_OR_RETURN(const auto config_file, AtomicFileWriter::Create(config_path));
  RETURN_IF_ERROR(config_file->Write(config));

  // A folder with a config is whole, so that of another prompt goes first and ours comes last.
  // Where only the vectors change, as from step to step of a training, each moment is whole.
  if (!Holds(config_path, config) || !Holds(facts_path, facts)) {
    RETURN_IF_ERROR(RemoveFile(config_path));
  }
  RETURN_IF_ERROR(vectors->Commit());
  RETURN_IF_ERROR(facts_file != nullptr ? facts_file->Commit() : RemoveFile(facts_path));
  return config_file->Commit();
}

}  // namespace onepass
