#include "prompt/soft_prompt.h"

#include <algorithm>
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

uint64_t ContentHash(View<const float> vectors, std::span<const AddedTokenRow> added) {
  const std::array<int64_t, 2> shape = {vectors.rows(), vectors.cols()};
  uint64_t hash = HashBytes(std::as_bytes(std::span(shape)));
  for (int64_t r = 0; r < vectors.rows(); ++r) {
    hash = HashBytes(std::as_bytes(std::span(vectors.row(r), static_cast<size_t>(vectors.cols()))),
                     hash);
  }
  for (const AddedTokenRow& row : added) {
    hash = HashCombine(hash, HashText(row.token));
    for (const std::vector<float>* values : {&row.embedding, &row.head}) {
      hash = HashBytes(std::as_bytes(std::span(*values)), hash);
    }
  }
  return hash;
}

SoftPrompt SoftPrompt::Copy() const {
  SoftPrompt copy;
  copy.vectors = vectors.Copy();
  copy.facts = facts;
  copy.base_model_name = base_model_name;
  copy.content_hash = content_hash;
  return copy;
}

const AddedTokenRow* SoftPrompt::RowsOf(std::string_view token) const {
  if (!facts.has_value()) return nullptr;
  const auto found = std::ranges::find(facts->added_tokens, token, &AddedTokenRow::token);
  return found == facts->added_tokens.end() ? nullptr : &*found;
}

namespace {

std::string ListOf(const std::vector<std::string>& tokens) {
  std::string list;
  for (const std::string& token : tokens) list += (list.empty() ? "" : ", ") + Quote(token);
  return list.empty() ? "none" : list;
}

}  // namespace

Status CheckPromptFits(const SoftPrompt& prompt, const std::string& dir, const PromptPlace& place) {
  const auto fault = [&](const char* what, const std::string& wanted, const std::string& found) {
    return InvalidArgument(std::string("prompt: ") + what + ": want " + wanted + ", found " +
                           found + " (" + dir + ")");
  };
  if (prompt.width() != place.width) {
    return fault("width", std::to_string(place.width) + " as the base has",
                 std::to_string(prompt.width()));
  }
  std::vector<std::string> added;
  if (prompt.facts.has_value()) {
    for (const AddedTokenRow& row : prompt.facts->added_tokens) added.push_back(row.token);
  }
  if (!std::ranges::is_permutation(added, place.added_tokens)) {
    return fault("added tokens", ListOf(place.added_tokens), ListOf(added));
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
  return Status::Ok();
}

}  // namespace onepass
