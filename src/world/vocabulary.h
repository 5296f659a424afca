// The names of the synthetic world and how they are dealt to the splits.
// Every word is short and common, so that a small BPE vocabulary holds each as one token.
// Names of people, companies and cities are pairs of words; a hash of the pair decides the one
// split that may use it, so facts about an entity of one split never occur in another. Plain values
// (professions, dishes ...) are shared.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "core/rng.h"

namespace onepass {

enum class Split { kPretrain, kTrain, kValidation, kTest };

// "pretrain", "train", "validation", "test".
std::string_view SplitName(Split split);

// What a name stands for. Person, company and city have facts of their own; the rest are values.
enum class Kind {
  kPerson,
  kCompany,
  kCity,
  kCountry,
  kProfession,
  kHobby,
  kPet,
  kProduct,
  kRiver,
  kDish
};

inline bool HasFacts(Kind kind) {
  return kind == Kind::kPerson || kind == Kind::kCompany || kind == Kind::kCity;
}

// A random name of this kind that belongs to the split.
std::string RandomName(Kind kind, Split split, Rng& rng);

// The split that owns a two-word name. The same on every platform.
Split SplitOfName(std::string_view name);

// People, rooms and things of the moving domain (moves.h). The people are single words.
std::span<const std::string_view> MovePeople();
std::span<const std::string_view> MovePlaces();
std::span<const std::string_view> MoveThings();

}  // namespace onepass
