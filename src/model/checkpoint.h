// A base model on disk: a Hugging Face folder with config.json and one or many safetensors files,
// mapped, not copied. Checks every tensor's name, dtype and shape against the config at opening.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/status.h"
#include "format/safetensors.h"
#include "model/config.h"
#include "tensor/tensor.h"

namespace onepass {

// Immutable; thread-safe. Keeps its files mapped.
class Checkpoint {
 public:
  // Opens DIR/config.json and DIR/model.safetensors (or the shards that
  // model.safetensors.index.json names). A missing tensor, one of the wrong shape and one that the
  // architecture does not have are errors that name it. With a tied head the matrix may stand under
  // either name, or under both with the same bytes; rotary_emb.inv_freq buffers are ignored.
  static Result<std::shared_ptr<const Checkpoint>> Open(const std::string& dir);

  const ModelConfig& config() const { return config_; }
  const std::string& path() const { return path_; }
  // REQUIRES: the tensor belongs to the architecture, e.g. "model.layers.0.mlp.up_proj.weight".
  const RawTensor& tensor(const std::string& name) const;
  // The weights' most common dtype.
  DType dtype() const { return dtype_; }
  // 16 hex digits (core/hash.h) over what a prompt was trained on: the config's numbers that the
  // forward pass uses, and tensor names, dtypes, shapes and bytes. Not over paths or sharding.
  // Reads all the weights on first use; thread-safe.
  const std::string& Fingerprint() const;

 private:
  Checkpoint() = default;
  std::string path_;
  ModelConfig config_;
  DType dtype_ = DType::kF32;
  std::vector<std::shared_ptr<const SafetensorsFile>> files_;
  std::map<std::string, RawTensor> tensors_;
  mutable std::string fingerprint_;
  mutable std::once_flag fingerprint_once_;
};

struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;
};
// Every tensor of a model, in a fixed order.
std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config);

// Writes a random base (normal, deviation 0.02; norms 1) in `dtype`, F32, F16 or BF16, to DIR, which
// is made if missing: model.safetensors, then config.json, each atomically, so that a folder with a
// config is whole. Same seed, same bytes, whatever the number of threads.
Status InitBase(const ModelConfig& config, DType dtype, uint64_t seed, const std::string& dir);

}  // namespace onepass
