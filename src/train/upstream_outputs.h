// What the earlier stages of a chain write for a record: trained on in place of the record's own
// outputs, so that a stage learns from what it will be given, mistakes included.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chain/runner.h"
#include "core/status.h"
#include "prompt/soft_prompt.h"

namespace onepass {

// Thread-compatible. Not copyable.
class UpstreamOutputs {
 public:
  // Of the stages before `stage`, with the spec's sampling. REQUIRES: every stage runs once.
  // prompts, prompt_lengths: one entry for every stage. The prompts of earlier stages must be there
  // unless their length is 0; of the others the length is enough, for the positions. The base must
  // outlive it.
  static Result<std::unique_ptr<UpstreamOutputs>> Create(
      Base& base, const ChainSpec& spec, int stage,
      const std::vector<std::optional<SoftPrompt>>& prompts,
      const std::vector<int64_t>& prompt_lengths);

  // Puts the texts into the record's fields of these names, one an earlier stage. The runner's
  // fault where it cannot be run.
  Status WriteInto(const std::vector<std::string>& fields, Record* record);

 private:
  UpstreamOutputs(std::unique_ptr<ChainRunner> runner, int stage)
      : runner_(std::move(runner)), stage_(stage) {}
  std::unique_ptr<ChainRunner> runner_;
  int stage_;
};

}  // namespace onepass
