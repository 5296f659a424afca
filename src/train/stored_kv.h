// Offline training: the KV of a run's constant segments, computed once and stored on disk, and
// mapped in place of forward passes. One safetensors file a data set: a tensor "SAMPLE/ID" [L, 2,
// G, T, D] F32 (K, then V) for each sample and planned segment that the trained part reads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "format/safetensors.h"
#include "train/prompt_gradient.h"
#include "train/training_setup.h"

namespace onepass {

struct StoredKvReport {
  int64_t samples = 0;
  int64_t tokens = 0;  // whose KV is stored
  int64_t bytes = 0;   // of the file
  double seconds = 0;
};

// Writes the KV of one data set of a setup, in a folder that it makes; the file appears whole or
// not at all. on_progress, after each micro-batch, may be empty. kInvalidArgument: nothing constant
// is read by what is trained, or it has no tokens.
Result<StoredKvReport> StoreKv(
    TrainingSetup& setup, const Dataset& dataset, const std::string& path,
    const std::function<void(int64_t done, int64_t total)>& on_progress = {});

// Immutable; thread-safe. Keeps the file mapped.
class StoredKv : public KvSource {
 public:
  // kInvalidArgument: the file is of other samples, prompts, plan or base (it names the first
  // difference), or damaged.
  static Result<std::unique_ptr<StoredKv>> Open(const std::string& path, const TrainingSetup& setup,
                                                const Dataset& dataset);

  void CopyTo(int64_t sample, int id, const Segment& segment) const override;

 private:
  explicit StoredKv(std::shared_ptr<const SafetensorsFile> file) : file_(std::move(file)) {}
  std::shared_ptr<const SafetensorsFile> file_;
};

}  // namespace onepass
