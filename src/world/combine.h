// Questions that combine two facts about two subjects: "In which cities do Maria Bolton and Tom
// Reed live?" (answer "Port Selby and New York"), "Do Maria Bolton and Tom Reed live in the same
// city?" (answer "yes" or "no"). One of the subjects may be told by another fact ("the mentor of
// Tom Reed"). Knows no task and no format. Pure given the generator.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/rng.h"
#include "world/facts.h"

namespace onepass {

struct CombineQuestion {
  std::string text;
  std::vector<Fact> support;  // two or three, in the order of the text; a subject's own first
  std::vector<std::string> answers;  // accepted ones, the first in the order of the text
  bool compares = false;             // the answer is "yes" or "no"
};

// A question about these facts: half of them compare, and half of those have the answer "yes". No
// two names of its facts share a word, except where they are equal. None if the facts have none of
// the kind that was drawn.
std::optional<CombineQuestion> DrawCombineQuestion(const std::vector<Fact>& facts, Rng& rng);

}  // namespace onepass
