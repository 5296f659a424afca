// A recipe bound to what it names: base, chain, plan, prompts and samples, checked and ready to
// run.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chain/plan.h"
#include "chain/spec.h"
#include "chain/vocabulary.h"
#include "core/status.h"
#include "engine/engine.h"
#include "prompt/soft_prompt.h"
#include "train/dataset.h"
#include "train/prompt_gradient.h"
#include "train/recipe.h"
#include "train/tape_plan.h"
#include "train/trainer.h"

namespace onepass {

// Its parts refer to one another: not copyable, kept behind a pointer. Thread-compatible.
struct TrainingSetup {
  Recipe recipe;
  ChainSpec spec;
  std::vector<int> stages;  // the trained ones, ascending
  std::unique_ptr<Base> base;
  std::optional<ChainVocabulary> vocabulary;
  std::vector<int64_t> prompt_lengths;  // by stage
  std::vector<std::optional<SoftPrompt>>
      prompts;                        // by stage: those that the plan uses as constants
  std::vector<Status> prompt_faults;  // by stage: why a prompt that lies there cannot be used
  Plan plan;                          // up to the last trained output
  TapePlan tape;
  Dataset data;
  Dataset validation;                    // no samples: none given
  std::vector<SoftPrompt> init_prompts;  // one a trained stage, or none
  std::unique_ptr<PagePool> pool;
  std::unique_ptr<PromptGradient<float>> gradient;
  // Offline training: where the constants' KV lies; null: it is computed.
  std::unique_ptr<KvSource> data_kv, validation_kv;
  // JSON object of all that the losses depend on: the recipe's settings and hashes of its inputs.
  std::string identity;

  bool Trains(int stage) const;
};

// The file of a data set in a folder of `onepass kv dump`.
std::string StoredKvPath(const std::string& folder, bool validation);

// Opens and checks everything; trains nothing. Errors name file, key or record, wanted and found.
// observer: told how far it is; may be null.
Result<std::unique_ptr<TrainingSetup>> PrepareTraining(const Recipe& recipe,
                                                       TrainObserver* observer = nullptr);

}  // namespace onepass
