// Everything a training run needs to go on after it was killed, in one file,
// OUT/checkpoint.safetensors: the prompt, Adam's moments, the step, the best validation loss, the
// lengths of the logs, and what the run was made of. Written atomically. The order of the data is a
// function of seed and step, so the step is the data's cursor and no random state needs keeping.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/status.h"
#include "tensor/tensor.h"
#include "train/adam.h"

namespace onepass {

struct TrainState {
  int64_t step = 0;             // optimizer steps done
  Buffer<float> prompt;         // [P, C]
  Buffer<float> first_moment;   // [P, C]
  Buffer<float> second_moment;  // [P, C]
  double best_loss = 0;         // validation loss of the best prompt; REQUIRES best_step >= 0
  int64_t best_step = -1;       // -1: none yet
  Buffer<float> best_prompt;    // [P, C]; empty if best_step is -1
  double last_loss = 0;         // training loss of the last step
  int64_t metrics_bytes = 0;    // length of metrics.jsonl
  int64_t events_bytes = 0;     // length of the event file
  double seconds = 0;           // time trained so far
  std::string instruction_set;  // of the process that wrote it: what the losses' last bits hang on
  std::string identity;         // JSON object of all else that the losses depend on
};

Status SaveTrainState(const TrainState& state, const std::string& path);
// kNotFound: there is none. kInvalidArgument: not a checkpoint of prompts of this shape.
Result<TrainState> LoadTrainState(const std::string& path);

// How messages speak of a file that keeps an identity, and what they advise.
struct IdentityWords {
  std::string noun = "checkpoint";
  std::string made = "trained";
  std::string remedy = "--restart begins anew";
};

// Ok where both JSON objects agree; otherwise kInvalidArgument naming the first key that differs,
// with both values.
Status CheckSameIdentity(const std::string& kept, const std::string& run, const std::string& path,
                         const IdentityWords& words = {});

}  // namespace onepass
