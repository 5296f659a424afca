// The pretraining formats of reasoning in steps: which fact is needed next, recalling it, coming to
// a conclusion, combining facts. Their questions are those of two steps (facts.h), paths (paths.h)
// and questions that combine (combine.h).
#pragma once

#include "core/rng.h"
#include "world/formats.h"

namespace onepass {

// Question and the facts known so far, in its order, with up to two others before or among them;
// the start of the next one that it needs.
FormatSample NextStep(const FormatOptions& options, Rng& rng);
// The same turn by turn, each fact being told once its start is written; at the end that the answer
// is known or, of questions that combine, that all facts are, and then the answer.
FormatSample NextStepTurns(const FormatOptions& options, Rng& rng);
// Text and the start of a fact; the whole fact in canonical words. In a third of the texts names
// share words.
FormatSample Recall(const FormatOptions& options, Rng& rng);
FormatSample RecallTurns(const FormatOptions& options, Rng& rng);
// Text and the start of a fact, in either order; what completes it.
FormatSample FillIn(const FormatOptions& options, Rng& rng);
// Question and known facts; " The answer is" and the answer if they are all that it needs, else the
// start of the next one.
FormatSample Conclude(const FormatOptions& options, Rng& rng);
// A question that combines, and its facts; the answer.
FormatSample Combine(const FormatOptions& options, Rng& rng);

}  // namespace onepass
