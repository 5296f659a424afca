// The rounds of a chain in which one stage asks and another one tells, until the first has enough.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "world/facts.h"
#include "world/json_line.h"

namespace onepass {

struct Round {
  std::string start;  // O_1A: the fact's canonical sentence up to its object
  std::string fact;   // O_1B: the whole sentence
};

Round RoundOf(const Fact& fact);

// Adds O_1A, O_1B, O_2A ... and at last what the first stage writes when it has enough.
void AddRounds(const std::vector<Round>& rounds, std::string_view last, JsonLine& line);

}  // namespace onepass
