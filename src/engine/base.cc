#include "engine/base_tokenizer.h"
#include "engine/engine.h"
#include "kernels/registry.h"

namespace onepass {

Result<std::unique_ptr<Base>> LoadBase(const std::string& path, const BaseOptions& options) {
  auto base = std::make_unique<Base>();
  ASSIGN_OR_RETURN(base->ops, MakeOps(options.backend, {.thread_count = options.thread_count}));
  ASSIGN_OR_RETURN(base->checkpoint, Checkpoint::Open(path));
  ASSIGN_OR_RETURN(base->tokenizer, TokenizerOf(*base->checkpoint));
  const int64_t tokens = base->tokenizer->Info().vocab_size;
  if (tokens > base->config().vocab_size) {
    return InvalidArgument("base: the tokenizer has ids up to " + std::to_string(tokens - 1) +
                           ", the embedding [" + std::to_string(base->config().vocab_size) +
                           " rows] has not (" + path + ")");
  }
  ASSIGN_OR_RETURN(base->model, Transformer<float>::Create(base->checkpoint, *base->ops,
                                                           {.bf16 = options.bf16}));
  return base;
}

PromptPlace PlaceOnBase(const Base& base, Placement placement,
                        std::vector<std::string> added_tokens) {
  return {.added_tokens = std::move(added_tokens),
          .width = base.config().width,
          .base_fingerprint = base.checkpoint->Fingerprint(),
          .base_type = std::string(base.checkpoint->stored_type()),
          .placement = placement};
}

}  // namespace onepass
