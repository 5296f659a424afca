// A second small domain: people walk between places and carry things; the latest event wins.
// Questions need one sentence (where is a person), two (where is a thing) or three (where was a
// thing before). Knows no format. Pure given the generator.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/rng.h"

namespace onepass {

// A question about a story, the places in the story of the sentences that answer it, in the order
// of reasoning (what happened to the thing, then where that person was), and the answer.
struct MoveQuestion {
  std::string text;
  std::vector<size_t> support;
  std::string answer;
};

struct MoveStory {
  std::vector<std::string> sentences;
  std::vector<MoveQuestion> questions;  // all that the finished story answers, in random order
};

// A story of this many sentences. REQUIRES: sentence_count >= 1. The first sentence is always a
// walk, so there is always a question.
MoveStory DrawMoveStory(int sentence_count, Rng& rng);

}  // namespace onepass
