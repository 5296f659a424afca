// A base in a GGUF file: its metadata as our config, and its tensors under our names. The rules are
// written down in docs/formats/gguf.md. Does not copy or change weights; Checkpoint does.
#pragma once

#include <string>

#include "core/status.h"
#include "format/gguf.h"
#include "model/config.h"

namespace onepass {

// Architectures llama (which Mistral's models carry too) and qwen2. Keys that would change the
// forward pass in a way that it does not know are refused by name.
Result<ModelConfig> GgufConfig(const GgufFile& file);

// "model.layers.0.mlp.up_proj.weight" -> "blk.0.ffn_up.weight".
// REQUIRES: a name of ExpectedTensors.
std::string GgufTensorName(const std::string& name);

// Tensors of a file that no forward pass reads as weights, e.g. "rope_freqs.weight".
bool IsIgnoredGgufTensor(const std::string& name);

// How many heads' rows of this weight stand in GGUF's own order, in which the two halves that RoPE
// turns together are neighbours: row 2 i + j of a head is our row j * D / 2 + i. 0: none.
int64_t InterleavedHeads(const ModelConfig& config, const std::string& name);

}  // namespace onepass
