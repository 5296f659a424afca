// The samples of one training run: records of a data file under a plan, and the order in which a
// run goes through them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "chain/record.h"
#include "chain/tools.h"
#include "chain/transcript.h"
#include "core/status.h"
#include "train/prompt_gradient.h"
#include "train/recipe.h"

namespace onepass {

struct DatasetOptions {
  std::string cut_field;  // field whose end OverlongSample::kCut cuts
  // Record field of each stage's output, by stage, for all that the plan runs; "{round}" stands for
  // the number of the stage's run, from 1.
  std::vector<std::string> outputs;
  // If one is not empty: the only stage's output is these templates' texts, round after round
  // ("{round}" stands for its number), as far as a record has their fields, then distill_output.
  std::vector<std::string> distill_rounds;
  std::string distill_output;
  int64_t max_tokens = 1224;  // text tokens of one sample, over all used segments
  int64_t max_positions = 0;  // the base's context
  OverlongSample overlong = OverlongSample::kRefuse;
  OnError on_error = OnError::kStop;
  int64_t max_samples = 0;  // stop reading after so many; 0: all
  Tools* tools = nullptr;   // the chain's; null: it has none
  // Done to each record before it is made a sample; its fault is the record's. May be empty.
  std::function<Status(Record*)> prepare;
};

struct Dataset {
  std::vector<TrainSample> samples;
  int64_t overlong_count = 0;         // left out or cut, as the options say
  int64_t targetless_count = 0;       // left out: no trained stage runs in them
  int64_t faulty_count = 0;           // left out by OnError::kSkip
  std::vector<std::string> warnings;  // one line a faulty record, the first ten
  uint64_t content_hash = 0;          // over all tokens: equal hashes, equal training data
};

// Reads and tokenises a file. kInvalidArgument names file, record and field; also where no sample
// is left.
Result<Dataset> LoadDataset(const std::string& path, const ChainTemplates& templates,
                            const Plan& plan, const TapePlan& tape,
                            const std::vector<int64_t>& prompt_lengths,
                            const DatasetOptions& options);

// The order of an epoch's samples: a shuffle that depends on seed and epoch only, so that a resumed
// run needs to know nothing but its step.
std::vector<int32_t> EpochOrder(int64_t sample_count, uint64_t seed, int64_t epoch);

}  // namespace onepass
