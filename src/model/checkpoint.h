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
  // architecture does not have are errors that name it.
  static Result<std::shared_ptr<const Checkpoint>> Open(const std::string& dir);

  const ModelConfig& config() const { return config_; }
  const std::string& path() const { return path_; }
  // REQUIRES: the tensor belongs to the architecture, e.g. "model.layers.0.mlp.up_proj.weight".
  const RawTensor& tensor(const std::string& name) const;
  // The weights' most common dtype.
  DType dtype() const { return dtype_; }
  // 16 hex digits over config, tensor names, shapes, dtypes and bytes: what a prompt was trained on.
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

// Writes a random base (normal, deviation 0.02; norms 1; biases small) in `dtype` to DIR
// (config.json, model.safetensors). Same seed, same bytes.
Status InitBase(const ModelConfig& config, DType dtype, uint64_t seed, const std::string& dir);

}  // namespace onepass
