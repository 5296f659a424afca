// A soft prompt: P learned vectors that take the place of token embeddings, in PEFT's files:
//   adapter_config.json        PEFT's keys (peft_type PROMPT_TUNING, num_virtual_tokens ...)
//   adapter_model.safetensors  "prompt_embeddings" [P, C]
//   onepass.json               our own facts; absent in adapters that others wrote
// PEFT reads what we write and the other way round.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "tensor/tensor.h"

namespace onepass {

// Where a prompt stands among the segments (docs/method.md, section 2).
enum class Placement { kFront, kInline };
inline constexpr Placement kPlacements[] = {Placement::kFront, Placement::kInline};
std::string_view NameOf(Placement placement);  // "front", "inline"
Result<Placement> ParsePlacement(std::string_view text);

// A token that a task adds to the vocabulary: its rows of the embedding and of the output matrix
// are parameters of the prompt, not of the base.
struct AddedTokenRow {
  std::string token;             // its text, e.g. "<memory>"
  std::vector<float> embedding;  // [C]
  std::vector<float> head;       // [C]
};

// onepass.json.
struct PromptFacts {
  Placement placement = Placement::kFront;
  std::string stage;             // name of the stage that it was trained for
  std::string trained_as;        // "standard", "fthss", "distill"
  std::string base_fingerprint;  // Checkpoint::Fingerprint() of the base
  std::string base_type;         // its Checkpoint::stored_type(); empty: not recorded
  std::string recipe_json;       // the training recipe, as JSON; may be empty
  std::vector<AddedTokenRow> added_tokens;
};

// Movable; Copy() of the vectors is explicit. Immutable after loading but for its trainer.
struct SoftPrompt {
  Buffer<float> vectors;             // [P, C]
  std::optional<PromptFacts> facts;  // none: an adapter that others wrote
  std::string base_model_name;       // PEFT's base_model_name_or_path
  uint64_t content_hash = 0;         // ContentHash of all rows; whoever changes them sets it

  SoftPrompt Copy() const;
  // Rows of the token; null: it has none.
  const AddedTokenRow* RowsOf(std::string_view token) const;
  int64_t length() const { return vectors.rows(); }
  int64_t width() const { return vectors.cols(); }
};

// What content_hash holds: over shape and values.
uint64_t ContentHash(View<const float> vectors, std::span<const AddedTokenRow> added = {});

// Accepts F32, F16 and BF16 vectors, with or without PEFT's "base_model." style key prefixes.
Result<SoftPrompt> LoadSoftPrompt(const std::string& dir);
// Writes the files; onepass.json only with facts. A process that ends in between leaves the old
// prompt, the new one, or a folder without adapter_config.json, which does not load: never a
// mixture. A fault of a write, such as a full disk, leaves the old one.
Status SaveSoftPrompt(const SoftPrompt& prompt, const std::string& dir);

// Where a prompt is to be used: a base, as its Checkpoint describes it, and a placement.
struct PromptPlace {
  std::vector<std::string> added_tokens;  // that its stage adds
  int64_t width = 0;
  std::string base_fingerprint;
  std::string base_type;  // only for the message
  Placement placement = Placement::kFront;
};

// The clear error where a prompt does not fit its place: wrong width, base, placement or added
// tokens. A prompt without facts is only checked for width, and for added tokens that it lacks.
Status CheckPromptFits(const SoftPrompt& prompt, const std::string& dir, const PromptPlace& place);

}  // namespace onepass
