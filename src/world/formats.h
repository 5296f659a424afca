// The plain formats on which the base is pretrained: an instruction in words (mostly first), then a
// text and a question under varied labels, then the output. The question stands first in a quarter
// of the samples that ask for facts or sentences or have a few facts for a text, the start of a
// fact in half of the samples that ask for its end or for all of it; behind the text in all others.
//
// The mix at level 3, of 143 parts: answering a question about a text 14, from a few facts 18,
// several questions about one text 10; extracting the supporting facts of a question 12, of several
// questions 8; the answers of both steps 5; completing a sentence 2, quoting the sentence that
// answers 3, restating 4, copying 3, a bare text 1; stories of moves.h 20; reasoning in steps
// (step_formats.h) 43: the start of the fact that is needed next 5, the same turn by turn to the
// end 11, the whole of a fact from its start 4, of several 7, its end from its start 4, the answer
// or the next step 5, combining facts 7. The names of some texts about starts of facts share words.
// Two-step questions are asked of a few facts or together with their facts, never of a long text
// for the answer alone: finding facts and reasoning over facts are both well known, doing both
// silently is not. Facts followed by the answer are never asked for in one output: that is for a
// chain, or a prompt, to learn. Level 1 is mostly several questions about a few plain sentences.
// Never the chain's own layouts, which have no instruction and no label: question, documents,
// <bos>, summary; or question, summary, <bos>, answer. Behind an instruction about 1 of 100 samples
// has no other label than <bos>.
#pragma once

#include <string>
#include <vector>

#include "core/rng.h"
#include "world/vocabulary.h"

namespace onepass {

// A piece of a sample. Outputs are what the base learns to write; all but the last end with <eos>,
// which the trainer adds to the last one.
struct FormatPart {
  std::string text;
  bool is_output = false;
  int hops = 0;  // of an output: the facts that its question needs; 0 where there is no question
};

struct FormatSample {
  std::string format;
  std::vector<FormatPart> parts;
};

struct FormatOptions {
  Split split = Split::kPretrain;
  int level = 3;               // 1: up to 6 facts; 2: up to 11; 3: up to 18
  std::string only_format;     // empty: the mix
  bool single_output = false;  // for scoring: no bare texts, so every sample ends in an output
};

// The names of all formats, in a fixed order.
std::vector<std::string> FormatNames();

// REQUIRES: only_format is empty or one of FormatNames(), and with single_output not "bare".
FormatSample MakeFormatSample(const FormatOptions& options, Rng& rng);

}  // namespace onepass
