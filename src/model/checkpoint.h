// A base model on disk: a Hugging Face folder with config.json and one or many safetensors files,
// or one GGUF file; mapped, not copied. Checks every tensor's name, type and shape against the
// config at opening.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/status.h"
#include "format/gguf.h"
#include "format/safetensors.h"
#include "model/config.h"
#include "tensor/blocks.h"
#include "tensor/tensor.h"

namespace onepass {

// Immutable; thread-safe. Keeps its files mapped.
class Checkpoint {
 public:
  // Opens a folder, or a GGUF file. Of a folder: DIR/config.json and DIR/model.safetensors (or the
  // shards that model.safetensors.index.json names). A missing tensor, one of the wrong shape and
  // one that the architecture does not have are errors that name it. With a tied head the matrix
  // may stand under either name, or under both with the same bytes; rotary_emb.inv_freq buffers
  // are ignored. Matrices may be in blocks (docs/formats/quantised.md).
  static Result<std::shared_ptr<const Checkpoint>> Open(const std::string& path);
  // The base in a GGUF file that is open already.
  static Result<std::shared_ptr<const Checkpoint>> FromGguf(std::shared_ptr<const GgufFile> file);

  const ModelConfig& config() const { return config_; }
  const std::string& path() const { return path_; }
  // The file of a base that is one GGUF file, whose metadata hold its tokenizer; null of a folder.
  const GgufFile* gguf() const { return gguf_.get(); }
  // REQUIRES: the tensor belongs to the architecture, e.g. "model.layers.0.mlp.up_proj.weight".
  // Of a weight that is stored in quantised blocks: its values in F32, computed on first use and
  // kept.
  const RawTensor& tensor(const std::string& name) const;
  // The quantised blocks that the file has for this weight, rows in our order; null where it is
  // dense. REQUIRES: as above.
  const BlockTensor* blocks(const std::string& name) const;
  // The dtype of most of what tensor() gives.
  DType dtype() const { return dtype_; }
  // What most weights are stored as: a dtype's name, or a block type's, "Q4_K".
  std::string_view stored_type() const { return stored_type_; }
  // Bytes of all weights as they are stored, a tied head counted once.
  int64_t stored_bytes() const { return stored_bytes_; }
  // 16 hex digits (core/hash.h) over what a prompt was trained on: the config's numbers that the
  // forward pass uses, and tensor names, stored types, shapes and bytes. Not over paths, sharding
  // or the file's kind: the same weights in a folder and in a GGUF file have one fingerprint.
  // Reads all the weights on first use; thread-safe.
  const std::string& Fingerprint() const;

 private:
  // A weight in quantised blocks, and its values once somebody wanted them.
  struct Quantised {
    BlockTensor blocks;
    mutable std::once_flag once;
    mutable Buffer<float> values;
    mutable RawTensor tensor;
  };

  Checkpoint() = default;
  static Result<std::shared_ptr<const Checkpoint>> OpenFolder(const std::string& dir);
  // Adds a weight of a GGUF file.
  void AddGgufTensor(const std::string& name, const BlockTensor& stored);
  // Vectors in F32 beside matrices in 16 bits are stored as those are, if that changes no value.
  void NarrowVectors();
  // What the weights, all added, have in common.
  void Summarise();

  std::string path_;
  ModelConfig config_;
  DType dtype_ = DType::kF32;
  std::string_view stored_type_;
  int64_t stored_bytes_ = 0;
  std::vector<std::shared_ptr<const SafetensorsFile>> files_;
  std::shared_ptr<const GgufFile> gguf_;
  std::vector<Buffer<std::byte>> owned_;  // weights that are not as the file has them
  std::map<std::string, RawTensor> tensors_;
  std::map<std::string, Quantised> quantised_;
  mutable std::string fingerprint_;
  mutable std::once_flag fingerprint_once_;
};

struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;
};
// Every tensor of a model, in a fixed order.
std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config);
// Under which name a folder holds a matrix that is stored in blocks: "NAME.Q4_0".
std::string BlocksName(const std::string& name, BlockType type);

// Writes a random base (normal, deviation 0.02; norms 1) in `dtype`, F32, F16 or BF16, to DIR,
// which is made if missing: model.safetensors, tokenizer.json where its text is given, then
// config.json. All are written before the first takes its place, each atomically and the config
// last, so that a folder with a config is whole. Same seed, same bytes, whatever the number of
// threads.
Status InitBase(const ModelConfig& config, DType dtype, uint64_t seed, const std::string& dir,
                const std::string& tokenizer_json = "");

}  // namespace onepass
