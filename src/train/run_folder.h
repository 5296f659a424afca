// The folder that a training run writes: logs, prompts, checkpoint. Held by one process at a time.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/status.h"
#include "prompt/soft_prompt.h"
#include "tensor/tensor.h"
#include "train/run_log.h"
#include "train/train_state.h"

namespace onepass {

// Thread-compatible. Not copyable.
class RunFolder {
 public:
  // Makes the folder if need be and takes hold of it; removes what a killed process left half
  // written. kIoError: another process holds it.
  static Result<std::unique_ptr<RunFolder>> Open(const std::string& path);

  std::string CheckpointPath() const { return path_ + "/checkpoint.safetensors"; }
  // kNotFound: there is none.
  Result<TrainState> LoadCheckpoint() const { return LoadTrainState(CheckpointPath()); }
  Status RemoveCheckpoint();
  // Cuts the logs back to what `state` had seen.
  Status ContinueFrom(const TrainState& state);

  // One line of metrics.jsonl and one event.
  Status Log(int64_t step, const nlohmann::ordered_json& line,
             const std::vector<ScalarEvent>& scalars);
  // A prompt folder within it: "best", "last", or one a stage in these.
  Status SavePrompt(const std::string& name, SoftPrompt prompt);
  // The logs become durable before the checkpoint that counts their bytes; fills those counts in.
  Status SaveCheckpoint(TrainState& state);

 private:
  explicit RunFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
  std::unique_ptr<AppendFile> metrics_;
  std::unique_ptr<AppendFile> events_;
};

}  // namespace onepass
