// The same random base twice: as a GGUF file with its matrices in blocks, and as a Hugging Face
// folder of their values in F32. For tests only.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/rng.h"
#include "format/gguf_builder_for_test.h"
#include "format/safetensors.h"
#include "model/checkpoint.h"
#include "model/gguf_base.h"
#include "tensor/quantise.h"

namespace onepass {

// Bytes of blocks whose values are small: random quants under random small scales.
inline std::string RandomBlocks(BlockType type, int64_t elements, Rng& rng) {
  const BlockFormat& format = FormatOf(type);
  std::string bytes(static_cast<size_t>(elements / format.elements * format.bytes), '\0');
  for (char& c : bytes) c = static_cast<char>(rng.Uniform(256));
  for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(format.bytes)) {
    const bool at_end = type == BlockType::kQ6_K;
    const float size = at_end ? 1e-4f : type == BlockType::kQ4_K ? 2e-4f : 6e-3f;
    const F16 scale = ToF16(size * static_cast<float>(rng.Normal()));
    const F16 minimum = ToF16(8 * size * static_cast<float>(rng.UniformDouble()));
    std::memcpy(&bytes[at + (at_end ? 208 : 0)], &scale, 2);
    if (type == BlockType::kQ4_K) std::memcpy(&bytes[at + 2], &minimum, 2);
  }
  return bytes;
}

// The types of a file's matrices.
struct TwinTypes {
  BlockType type;
  BlockType finer;  // of the embedding, of values and of the feed-forward's way down

  BlockType Of(const std::string& name) const {
    const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
    return has("embed_tokens") || has("v_proj") || has("down_proj") ? finer : type;
  }
};

// Llama with 2 layers of width 256, a vocabulary of 64 and no tokenizer: FILE, and its values as
// FOLDER.
inline void WriteTwins(const TwinTypes& types, uint64_t seed, const std::string& file,
                       const std::string& folder) {
  ModelConfig config = NamedShape("tiny").value();
  config.vocab_size = 64;
  config.width = config.feed_forward = 256;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 64;
  GgufBuilder builder = WideLlama(512);
  Rng rng(seed);
  std::vector<std::vector<float>> values;
  std::vector<NamedTensor> tensors;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    const bool is_vector = spec.shape.size() == 1;
    const int64_t count = is_vector ? spec.shape[0] : spec.shape[0] * spec.shape[1];
    std::vector<float> stored(static_cast<size_t>(count));
    if (is_vector) {
      for (float& v : stored) v = 1 + 0.1f * static_cast<float>(rng.Normal());
      const std::string bytes(reinterpret_cast<const char*>(stored.data()), 4 * stored.size());
      builder.Tensor(GgufTensorName(spec.name), BlockType::kF32, spec.shape, bytes);
    } else {
      const BlockType type = types.Of(spec.name);
      const std::string bytes = RandomBlocks(type, count, rng);
      builder.Tensor(GgufTensorName(spec.name), type, spec.shape, bytes);
      Dequantise(type, BytesOf(bytes), stored);
    }
    if (const int64_t heads = InterleavedHeads(config, spec.name); heads > 0) {
      const std::vector<float> theirs = stored;
      for (int64_t row = 0; row < spec.shape[0]; ++row) {
        const int64_t half = row % 64 / 32;
        const int64_t from = row / 64 * 64 + 2 * (row % 32) + half;
        std::copy_n(theirs.begin() + from * 256, 256, stored.begin() + row * 256);
      }
    }
    values.push_back(std::move(stored));
    tensors.push_back(
        {spec.name, {DType::kF32, spec.shape, std::as_bytes(std::span(values.back()))}});
  }
  ASSERT_TRUE(WriteFileAtomically(file, builder.Build()).ok());
  ASSERT_TRUE(MakeDirectories(folder).ok());
  ASSERT_TRUE(WriteSafetensors(folder + "/model.safetensors", tensors, {}).ok());
  ASSERT_TRUE(WriteFileAtomically(folder + "/config.json", ConfigToJson(config, DType::kF32)).ok());
}

}  // namespace onepass
