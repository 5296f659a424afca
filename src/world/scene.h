// What the pretraining formats are built from: a micro-world, its text, questions about it. Pure
// given the generator.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/rng.h"
#include "world/facts.h"
#include "world/formats.h"

namespace onepass {

struct Scene {
  int level;
  MicroWorld world;
  std::vector<Fact> told;  // the facts in the order of the text
  std::string text;
};

// A world and its text, of one of the sizes that the level allows. names_alike: as of
// MicroWorldOptions.
Scene DrawScene(const FormatOptions& options, bool names_alike, Rng& rng);

// Up to `count` questions of mixed steps, of two steps only where their share is above 0; at least
// one of any kind, unless the world has no fact.
std::vector<Question> MixedQuestions(const MicroWorld& world, size_t count, double two_step_share,
                                     Rng& rng);

// A sample of one prompt and one output.
FormatSample Single(std::string prompt, std::string output, int hops);

}  // namespace onepass
