// A training recipe: one flat YAML a run, `key: value` a line, with `key=value` overrides from the
// command line. Unknown keys are refused. Parsed and checked here; nothing is opened.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chain/record.h"
#include "core/status.h"
#include "prompt/soft_prompt.h"

namespace onepass {

// What is trained (docs/method.md, section 4).
enum class TrainKind {
  kStandard,    // one stage's prompt, everything it reads as text
  kFthss,       // one stage's prompt, reading the KV of earlier stages
  kFthssMulti,  // all stages' prompts at once, on whole traces of any number of rounds
  kDistill,     // a one-stage chain whose output holds all outputs of another chain
};
std::string_view NameOf(TrainKind kind);  // "fthss-multi" ...

enum class PromptInit { kRandom, kText, kVocabulary };
enum class LearningRateSchedule { kLinear, kConstant };
// Where the outputs of earlier stages come from.
enum class UpstreamSource {
  kRecord,     // the record: teacher forcing
  kGenerated,  // the earlier stages, run before the training begins
};
// What becomes of a sample longer than max_tokens.
enum class OverlongSample { kRefuse, kCut, kSkip };

// Plain data. Paths are resolved: those of the file against its folder, those of overrides against
// the working directory.
struct Recipe {
  std::string file;  // for messages

  TrainKind kind = TrainKind::kStandard;
  std::string chain;  // chain YAML: base, placement, templates
  // Whose prompt is trained; may be empty in a one-stage chain, and is where all are trained.
  std::string stage;
  std::optional<Placement> placement;  // instead of the chain's
  std::vector<std::string>
      upstream_prompts;  // folders of the earlier stages, instead of the chain's
  UpstreamSource upstream_outputs = UpstreamSource::kRecord;
  std::string upstream_kv;           // folder of `onepass kv dump`; empty: KV is computed (online)
  std::vector<std::string> indexes;  // "TOOL=FOLDER", instead of the chain\'s
  std::string data;                  // JSONL or JSON array of records
  std::string validation_data;       // may be empty
  // Record field of each stage's output, in stage order; "{round}" in it counts the stage's runs.
  std::vector<std::string> outputs;
  // What distill learns to write: these templates, round after round, as far as a record has their
  // fields, then distill_output.
  std::string distill_rounds;  // PartsOf gives the templates; "{round}" counts the rounds
  std::string distill_output;
  std::string out;  // folder of prompts, metrics, checkpoint

  int64_t prompt_length = 100;
  PromptInit init = PromptInit::kRandom;
  std::string init_text;  // of several stages: theirs, separated by " | "
  uint64_t init_seed = 1;
  std::vector<std::string> init_prompts;  // start from these folders ("continue"), one a stage

  double learning_rate = 2e-4;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  double warmup_ratio = 0.03;
  LearningRateSchedule schedule = LearningRateSchedule::kLinear;
  int64_t epochs = 3;
  int64_t max_steps = 0;     // 0: as many as the epochs have
  int64_t batch_size = 1;    // samples of a micro-batch
  int64_t accumulation = 8;  // micro-batches of an optimizer step
  double clip_norm = 1;      // 0: no clipping
  int64_t max_tokens = 1224;
  std::optional<OverlongSample> overlong;  // default: as the chain says
  OnError on_error = OnError::kStop;
  uint64_t seed = 1;
  bool bf16 = false;  // see BaseOptions::bf16
  bool taped_constants = false;
  bool activation_checkpointing = false;

  int64_t validate_every = 0;      // steps; 0: at the end only
  int64_t validation_samples = 0;  // 0: all
  int64_t checkpoint_every = 100;  // steps; 0: at the end only
  int64_t log_every = 10;          // steps between plain progress lines
  std::string backend = "cpu";
  int64_t threads = 0;  // 0: one per hardware thread

  // Every setting that the trained prompt depends on, as one JSON object with sorted keys: what a
  // prompt's facts record. Without paths it is what a checkpoint must agree with (the trainer adds
  // hashes of what the paths lead to).
  std::string ToJson(bool with_paths) const;
};

// Parses the text of a recipe called `file`, then the overrides ("key=value"). Errors name file,
// line, key, what was wanted and found.
Result<Recipe> ParseRecipe(std::string_view yaml, const std::string& file,
                           std::span<const std::string> overrides);
Result<Recipe> LoadRecipe(const std::string& path, std::span<const std::string> overrides);

// What a key holds of several texts, in order; none of an empty one.
inline constexpr std::string_view kPartBorder = " | ";
std::vector<std::string> PartsOf(std::string_view text);

}  // namespace onepass
