// Questions that combine two facts about two subjects: "In which city do Maria Bolton and Tom Reed
// live?", answer "Port Selby and New York". Each subject stands there by its name or by another
// fact ("the mentor of Tom Reed"). Knows no task and no format. Pure given the generator.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/rng.h"
#include "world/facts.h"

namespace onepass {

struct CombineQuestion {
  std::string text;
  std::vector<Fact> support;         // in the order of the text; what tells a subject comes first
  std::vector<std::string> answers;  // accepted ones, the first in the order of the text
};

// A question that needs so many of these facts: 2, or 3 or 4 where one subject or both are told by
// another fact. No two names of its facts share a word, except where they are equal. None if none
// is found. REQUIRES: 2 <= needed <= 4.
std::optional<CombineQuestion> DrawCombineQuestion(const std::vector<Fact>& facts, int needed,
                                                   Rng& rng);

}  // namespace onepass
