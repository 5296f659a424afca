// Names within a prompt folder (docs/formats/prompt.md). For this module's reader and writer.
#pragma once

#include <cstdint>

namespace onepass {

constexpr char kPromptConfigFile[] = "adapter_config.json";
constexpr char kPromptVectorsFile[] = "adapter_model.safetensors";
constexpr char kPromptFactsFile[] = "onepass.json";
constexpr char kPromptVectorsName[] = "prompt_embeddings";
constexpr int64_t kPromptFactsVersion = 1;

}  // namespace onepass
