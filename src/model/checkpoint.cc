#include "model/checkpoint.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>
#include <utility>

#include "core/hash.h"
#include "core/quote.h"
#include "format/strict_json.h"

namespace onepass {
namespace {

constexpr char kEmbedding[] = "model.embed_tokens.weight";
constexpr char kHead[] = "lm_head.weight";
constexpr int64_t kMaxIndexBytes = int64_t{1} << 27;

Status Fault(const std::string& tensor, const std::string& text, const std::string& path) {
  return InvalidArgument("checkpoint: " + Quote(tensor, 200) + ": " + text + " (" + path + ")");
}

bool Exists(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0;
}

// A tensor that no forward pass reads: the rotary frequencies, which old files carry.
bool IsIgnored(const std::string& name) {
  return name.starts_with("model.") && name.ends_with("rotary_emb.inv_freq");
}

// model.safetensors.index.json: tensor name -> shard. Shards are plain names of files in the
// folder.
Result<std::map<std::string, std::string>> ReadIndex(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxIndexBytes));
  ASSIGN_OR_RETURN(const nlohmann::json index, ParseStrictJson(text, path, {.max_depth = 8}));
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    return InvalidArgument("checkpoint: want an object with \"weight_map\", an object (" + path +
                           ")");
  }
  std::map<std::string, std::string> shards;
  for (const auto& [name, value] : index["weight_map"].items()) {
    const std::string file = value.is_string() ? value.get<std::string>() : "";
    if (!file.ends_with(".safetensors") || file.find('/') != std::string::npos ||
        file.find('\0') != std::string::npos) {
      return Fault(name, "want the plain name of a .safetensors file, found " + DescribeJson(value),
                   path);
    }
    shards[name] = file;
  }
  return shards;
}

struct Source {
  RawTensor tensor;
  std::string path;
};

Status ReadShard(const std::string& path,
                 std::vector<std::shared_ptr<const SafetensorsFile>>& files,
                 std::map<std::string, Source>& found) {
  ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open(path));
  for (const auto& [name, tensor] : file->tensors()) {
    const auto [it, is_new] = found.emplace(name, Source{tensor, path});
    if (!is_new) return Fault(name, "stands in " + it->second.path + " too", path);
  }
  files.push_back(std::move(file));
  return Status::Ok();
}

Status ReadWeights(const std::string& dir,
                   std::vector<std::shared_ptr<const SafetensorsFile>>& files,
                   std::map<std::string, Source>& found) {
  const std::string single = dir + "/model.safetensors";
  if (Exists(single)) return ReadShard(single, files, found);
  const std::string index_path = dir + "/model.safetensors.index.json";
  if (!Exists(index_path)) {
    return NotFound(
        "checkpoint: want model.safetensors or model.safetensors.index.json, found "
        "neither (" +
        dir + ")");
  }
  ASSIGN_OR_RETURN(const auto shards, ReadIndex(index_path));
  std::set<std::string> names;
  for (const auto& [tensor, shard] : shards) names.insert(shard);
  for (const std::string& name : names) {
    RETURN_IF_ERROR(ReadShard(dir + "/" + name, files, found));
  }
  for (const auto& [tensor, shard] : shards) {
    const auto it = found.find(tensor);
    const std::string path = dir + "/" + shard;
    if (it == found.end()) return Fault(tensor, "the index names it, the shard lacks it", path);
    if (it->second.path != path) return Fault(tensor, "the index wants it here", path);
  }
  for (const auto& [tensor, source] : found) {
    if (!shards.contains(tensor)) return Fault(tensor, "the index does not name it", source.path);
  }
  return Status::Ok();
}

Status CheckTensor(const TensorSpec& spec, const Source& source) {
  const RawTensor& tensor = source.tensor;
  if (tensor.shape != spec.shape) {
    std::string found = ShapeToString(tensor.shape);
    if (found.size() > 100) found = std::to_string(tensor.shape.size()) + " dimensions";
    return Fault(spec.name, "want " + ShapeToString(spec.shape) + ", found " + found, source.path);
  }
  if (tensor.dtype != DType::kF32 && tensor.dtype != DType::kF16 && tensor.dtype != DType::kBF16) {
    return Unsupported("checkpoint: " + Quote(spec.name) + ": want F32, F16 or BF16, found " +
                       std::string(NameOf(tensor.dtype)) + " (" + source.path + ")");
  }
  return Status::Ok();
}

// A matrix whose name is not there may be there in blocks: [rows, bytes of a row] bytes under
// BlocksName, which is then taken out of `found`. Empty: it is not.
Result<std::optional<BlockTensor>> TakeBlocks(const TensorSpec& spec,
                                              std::map<std::string, Source>& found) {
  if (spec.shape.size() != 2) return std::optional<BlockTensor>();
  for (const BlockType type :
       {BlockType::kQ8_0, BlockType::kQ4_0, BlockType::kQ4_K, BlockType::kQ6_K}) {
    const auto it = found.find(BlocksName(spec.name, type));
    if (it == found.end()) continue;
    const BlockFormat& format = FormatOf(type);
    if (spec.shape[1] % format.elements != 0) {
      return Fault(it->first,
                   "want rows of whole blocks of " + std::to_string(format.elements) + ", found " +
                       ShapeToString(spec.shape),
                   it->second.path);
    }
    const std::vector<int64_t> shape = {spec.shape[0],
                                        spec.shape[1] / format.elements * format.bytes};
    const RawTensor& tensor = it->second.tensor;
    if (tensor.dtype != DType::kU8 || tensor.shape != shape) {
      std::string dims = ShapeToString(tensor.shape);
      if (dims.size() > 100) dims = std::to_string(tensor.shape.size()) + " dimensions";
      return Fault(it->first,
                   "want U8 " + ShapeToString(shape) + ", found " +
                       std::string(NameOf(tensor.dtype)) + " " + dims,
                   it->second.path);
    }
    BlockTensor blocks{type, spec.shape, tensor.bytes};
    found.erase(it);
    return std::optional(std::move(blocks));
  }
  return std::optional<BlockTensor>();
}

bool SameBytes(const RawTensor& a, const RawTensor& b) {
  return a.dtype == b.dtype &&
         std::equal(a.bytes.begin(), a.bytes.end(), b.bytes.begin(), b.bytes.end());
}

// With a tied head a file may hold the matrix under either name, or twice. Twice is accepted if
// both are the same bytes (the second is then dropped); what two different matrices mean is not
// ours to guess.
Status ResolveTiedHead(std::map<std::string, Source>& found) {
  const auto head = found.find(kHead);
  if (head == found.end()) return Status::Ok();
  const auto embedding = found.find(kEmbedding);
  if (embedding == found.end()) {
    found.emplace(kEmbedding, head->second);
  } else if (head->second.tensor.shape != embedding->second.tensor.shape ||
             !SameBytes(head->second.tensor, embedding->second.tensor)) {
    return Fault(
        kHead,
        "differs from \"" + std::string(kEmbedding) + "\" although tie_word_embeddings is true",
        head->second.path);
  }
  found.erase(kHead);
  return Status::Ok();
}

}  // namespace

Result<std::shared_ptr<const Checkpoint>> Checkpoint::Open(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) {
    return NotFound(path +
                    ": want a model folder or a GGUF file, found nothing: " + std::strerror(errno));
  }
  if (!S_ISREG(info.st_mode)) return OpenFolder(path);
  ASSIGN_OR_RETURN(auto file, GgufFile::Open(path));
  return FromGguf(std::move(file));
}

Result<std::shared_ptr<const Checkpoint>> Checkpoint::OpenFolder(const std::string& dir) {
  const std::string config_path = dir + "/config.json";
  ASSIGN_OR_RETURN(const std::string config_text, ReadFile(config_path, kMaxConfigBytes));
  std::shared_ptr<Checkpoint> checkpoint(new Checkpoint);
  checkpoint->path_ = dir;
  ASSIGN_OR_RETURN(checkpoint->config_, ParseConfig(config_text, config_path));
  const ModelConfig& config = checkpoint->config_;
  std::map<std::string, Source> found;
  RETURN_IF_ERROR(ReadWeights(dir, checkpoint->files_, found));
  if (config.tied_head) RETURN_IF_ERROR(ResolveTiedHead(found));

  for (const TensorSpec& spec : ExpectedTensors(config)) {
    const auto it = found.find(spec.name);
    if (it == found.end()) {
      ASSIGN_OR_RETURN(auto blocks, TakeBlocks(spec, found));
      if (blocks) {
        checkpoint->quantised_[spec.name].blocks = std::move(*blocks);
        continue;
      }
      return Fault(spec.name, "want " + ShapeToString(spec.shape) + ", found nothing", dir);
    }
    RETURN_IF_ERROR(CheckTensor(spec, it->second));
    checkpoint->tensors_[spec.name] = std::move(it->second.tensor);
    found.erase(it);
  }
  for (const auto& [name, source] : found) {
    if (!IsIgnored(name)) {
      return Fault(name, "not a tensor of this " + config.architecture + " config", source.path);
    }
  }
  checkpoint->Summarise();
  return std::shared_ptr<const Checkpoint>(std::move(checkpoint));
}

void Checkpoint::Summarise() {
  std::map<DType, int64_t> elements;
  std::map<std::string_view, int64_t> stored;
  stored_bytes_ = 0;
  for (const auto& [name, tensor] : tensors_) {
    elements[tensor.dtype] += tensor.element_count();
    stored[NameOf(tensor.dtype)] += tensor.element_count();
    stored_bytes_ += std::ssize(tensor.bytes);
  }
  for (const auto& [name, weight] : quantised_) {
    elements[DType::kF32] += weight.blocks.element_count();
    stored[FormatOf(weight.blocks.type).name] += weight.blocks.element_count();
    stored_bytes_ += std::ssize(weight.blocks.bytes);
  }
  const auto most = [](const auto& counts) {
    return std::max_element(counts.begin(), counts.end(),
                            [](auto& a, auto& b) { return a.second < b.second; })
        ->first;
  };
  dtype_ = most(elements);
  stored_type_ = most(stored);
}

// The config enters with the numbers that the forward pass uses, in a fixed order: neither the
// context nor the special tokens change what a prompt was trained on.
const std::string& Checkpoint::Fingerprint() const {
  std::call_once(fingerprint_once_, [this] {
    const ModelConfig& c = config_;
    const std::array<int64_t, 13> sizes = {c.vocab_size,
                                           c.width,
                                           c.layers,
                                           c.heads,
                                           c.kv_heads,
                                           c.head_dim,
                                           c.feed_forward,
                                           c.tied_head,
                                           c.qkv_bias,
                                           c.output_bias,
                                           c.mlp_bias,
                                           static_cast<int64_t>(c.rope_scaling),
                                           c.rope_original_positions};
    const std::array<double, 5> numbers = {c.norm_eps, c.rope_theta, c.rope_factor,
                                           c.rope_low_freq_factor, c.rope_high_freq_factor};
    uint64_t hash = HashText(c.architecture);
    hash = HashBytes(std::as_bytes(std::span(sizes)), hash);
    hash = HashBytes(std::as_bytes(std::span(numbers)), hash);
    if (!c.rope_factors.empty()) hash = HashBytes(std::as_bytes(std::span(c.rope_factors)), hash);
    for (const TensorSpec& spec : ExpectedTensors(c)) {
      const BlockTensor* in_blocks = blocks(spec.name);
      hash = HashText(spec.name, hash);
      hash = HashText(in_blocks ? FormatOf(in_blocks->type).name : NameOf(tensor(spec.name).dtype),
                      hash);
      hash = HashBytes(std::as_bytes(std::span(spec.shape)), hash);
      hash = HashBytes(in_blocks ? in_blocks->bytes : tensor(spec.name).bytes, hash);
    }
    fingerprint_ = HexDigits(hash);
  });
  return fingerprint_;
}

std::string BlocksName(const std::string& name, BlockType type) {
  return name + "." + std::string(FormatOf(type).name);
}

std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config) {
  const int64_t width = config.width;
  const int64_t query = config.heads * config.head_dim;
  const int64_t kv = config.kv_heads * config.head_dim;
  std::vector<TensorSpec> specs;
  specs.push_back({kEmbedding, {config.vocab_size, width}});
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    const auto matrix = [&](const char* name, int64_t rows, int64_t cols, bool bias) {
      specs.push_back({prefix + name + ".weight", {rows, cols}});
      if (bias) specs.push_back({prefix + name + ".bias", {rows}});
    };
    specs.push_back({prefix + "input_layernorm.weight", {width}});
    matrix("self_attn.q_proj", query, width, config.qkv_bias);
    matrix("self_attn.k_proj", kv, width, config.qkv_bias);
    matrix("self_attn.v_proj", kv, width, config.qkv_bias);
    matrix("self_attn.o_proj", width, query, config.output_bias);
    specs.push_back({prefix + "post_attention_layernorm.weight", {width}});
    matrix("mlp.gate_proj", config.feed_forward, width, config.mlp_bias);
    matrix("mlp.up_proj", config.feed_forward, width, config.mlp_bias);
    matrix("mlp.down_proj", width, config.feed_forward, config.mlp_bias);
  }
  specs.push_back({"model.norm.weight", {width}});
  if (!config.tied_head) specs.push_back({kHead, {config.vocab_size, width}});
  return specs;
}

}  // namespace onepass
