// Where a prompt's vectors start from.
#pragma once

#include <string>

#include "core/status.h"
#include "model/transformer.h"
#include "tensor/tensor.h"
#include "tokenizer/tokenizer.h"
#include "train/recipe.h"

namespace onepass {

// vectors[P, C]:
//   random      normal, mean and deviation of the base's embedding entries
//   text        embeddings of the text's tokens, repeated or cut to P
//   vocabulary  embeddings of P tokens drawn from the vocabulary
// Same arguments, same vectors. kInvalidArgument: the text has no tokens.
Result<Buffer<float>> InitPrompt(PromptInit init, const std::string& text, int64_t prompt_length,
                                 uint64_t seed, const Transformer<float>& model,
                                 const Tokenizer& tokenizer);

// [2 N, C]: rows of the embedding of N added tokens, random as a prompt's, then of the head: the
// mean of the base's, so that they begin as likely as a token is on average.
Buffer<float> InitAddedTokens(int64_t count, uint64_t seed, const Transformer<float>& model);

}  // namespace onepass
