// A base with its weights in another type, above all in 8 or 4 bits, written as a folder
// (docs/formats/quantised.md).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/status.h"
#include "core/thread_pool.h"
#include "model/checkpoint.h"
#include "tensor/blocks.h"

namespace onepass {

struct ConvertOptions {
  // Of the layers' matrices: Q8_0 or Q4_0; or F32 or BF16, which are of all that is not the head.
  BlockType weights = BlockType::kQ8_0;
  // Of the head, and of an embedding that is one with it. It is read whole for every token, and
  // errs straight into the logits. One of the same types.
  BlockType head = BlockType::kQ8_0;

  Status Validate() const;
};

struct ConvertReport {
  int64_t bytes = 0;               // of all weights, as stored
  int64_t quantised_count = 0;     // matrices
  int64_t dense_matrix_count = 0;  // that stay dense: rows that are no whole blocks
};

// Writes `base`, a folder, to DIR, which is made if missing: matrices quantised, and norms, biases
// and an embedding of its own as they are; or all of these dense. config.json says so; the
// tokenizer's files are copied. model.safetensors, then config.json, each atomically, so that a
// folder with a config is whole. Weights that are already in blocks of the wanted type are copied
// bit for bit. on_progress, where set: after each tensor, of how many.
// kUnsupported: a base in a GGUF file, whose tokenizer nobody writes as tokenizer.json.
Result<ConvertReport> ConvertBase(
    const Checkpoint& base, const ConvertOptions& options, const std::string& dir, ThreadPool& pool,
    const std::function<void(int64_t done, int64_t total)>& on_progress);

}  // namespace onepass
