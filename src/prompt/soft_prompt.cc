#include "prompt/soft_prompt.h"

#include <array>

#include "core/hash.h"
#include "core/quote.h"

namespace onepass {

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

Status CheckPromptFits(const SoftPrompt& prompt, const std::string& dir, const PromptPlace& place) {
  const auto fault = [&](const char* what, const std::string& wanted, const std::string& found) {
    return InvalidArgument(std::string("prompt: ") + what + ": want " + wanted + ", found " +
                           found + " (" + dir + ")");
  };
  if (prompt.width() != place.width) {
    return fault("width", std::to_string(place.width) + " as the base has",
                 std::to_string(prompt.width()));
  }
  if (!prompt.facts.has_value()) return Status::Ok();
  const PromptFacts& facts = *prompt.facts;
  if (!facts.base_fingerprint.empty() && facts.base_fingerprint != place.base_fingerprint) {
    // A base in other bits is the likeliest mistake: it is the same model to its user.
    const auto of_type = [](const std::string& type) {
      return type.empty() ? "" : " of type " + type;
    };
    return fault("base", "fingerprint " + place.base_fingerprint + of_type(place.base_type),
                 "a prompt trained on " + facts.base_fingerprint + of_type(facts.base_type));
  }
  if (facts.placement != place.placement) {
    return fault("placement", std::string(NameOf(place.placement)),
                 "a prompt trained for " + std::string(NameOf(facts.placement)));
  }
  if (!facts.added_tokens.empty()) {
    return Unsupported("prompt: added tokens: want none, found " +
                       std::to_string(facts.added_tokens.size()) + " (" + dir + ")");
  }
  return Status::Ok();
}

}  // namespace onepass
