// Questions that follow several facts from entity to entity: "Maria Bolton learned from a person
// who works for a company that is based in which city?". Knows no task and no format. Pure given
// the generator.
//
// The wording is made for a small reader that writes the path down step by step. It is read from
// left to right, unlike "the seat of the employer of the mentor of ...", whose first step stands
// last. Each step has the very words of its fact's canonical sentence, and no relation occurs twice
// in a path: what comes after "works for" is found by looking for "works for" in the question and
// reading on, without counting steps. "which" or "what" in the place of "a" says that the path
// ends.
#pragma once

#include <string>
#include <vector>

#include "core/rng.h"
#include "world/facts.h"

namespace onepass {

// The question of which these facts are the steps. REQUIRES: at least one; each fact's subject is
// the object of the one before it.
std::string PathQuestionText(const std::vector<Fact>& path);

// Every path question of this world with that many steps, in random order. A path comes to no
// entity twice and uses no relation twice.
std::vector<Question> DrawPathQuestions(const MicroWorld& world, int steps, Rng& rng);

}  // namespace onepass
