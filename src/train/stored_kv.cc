#include "train/stored_kv.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "core/file.h"
#include "core/stopwatch.h"
#include "kernels/registry.h"
#include "train/train_state.h"

namespace onepass {
namespace {

constexpr char kIdentityKey[] = "onepass.kv";

std::string NameOf(int64_t sample, int id) {
  return std::to_string(sample) + "/" + std::to_string(id);
}

std::vector<int64_t> ShapeOf(const KvLayout& layout, int64_t tokens) {
  return {layout.layers, 2, layout.kv_heads, tokens, layout.head_dim};
}

// Calls `copy` with every stretch of rows that lies in one page: page plane element, tensor
// element, count.
template <class Copy>
void ForEachStretch(const Segment& segment, const Copy& copy) {
  const KvLayout& layout = segment.pool().layout();
  const int64_t tokens = segment.token_count();
  const int64_t head_elements = tokens * layout.head_dim;
  for (int64_t layer = 0; layer < layout.layers; ++layer) {
    for (int64_t part = 0; part < 2; ++part) {
      for (int64_t head = 0; head < layout.kv_heads; ++head) {
        const int64_t to = ((layer * 2 + part) * layout.kv_heads + head) * head_elements;
        for (int64_t token = 0; token < tokens; token += layout.page_tokens) {
          const int64_t page = token / layout.page_tokens;
          float* plane =
              part == 0 ? segment.k_plane<float>(page, layer) : segment.v_plane<float>(page, layer);
          copy(plane + head * layout.page_tokens * layout.head_dim, to + token * layout.head_dim,
               std::min(layout.page_tokens, tokens - token) * layout.head_dim);
        }
      }
    }
  }
}

// All that the stored KV depends on.
std::string IdentityOf(const TrainingSetup& setup, const Dataset& dataset) {
  const nlohmann::json run = nlohmann::json::parse(setup.identity);
  nlohmann::json identity;
  for (const char* key :
       {"backend", "base_fingerprint", "bf16", "plan_hash", "upstream_prompts_hash"}) {
    identity[key] = run.at(key);
  }
  identity["data_hash"] = dataset.content_hash;
  identity["instruction_set"] = InstructionSetOf(setup.recipe.backend);
  return identity.dump();
}

Status CheckStoresAny(const TrainingSetup& setup) {
  if (!setup.gradient->StoredSegments().empty()) return Status::Ok();
  return InvalidArgument(setup.recipe.file +
                         ": want constant segments that the trained stage reads, found none");
}

}  // namespace

Result<StoredKvReport> StoreKv(
    TrainingSetup& setup, const Dataset& dataset, const std::string& path,
    const std::function<void(int64_t done, int64_t total)>& on_progress) {
  const Stopwatch watch;
  RETURN_IF_ERROR(CheckStoresAny(setup));
  const std::vector<int>& ids = setup.gradient->StoredSegments();
  const KvLayout& layout = setup.pool->layout();
  StoredKvReport report{.samples = std::ssize(dataset.samples)};
  std::vector<TensorHeader> headers;
  for (const TrainSample& sample : dataset.samples) {
    for (const int id : ids) {
      const int64_t tokens = setup.gradient->LengthOf(sample, id);
      if (tokens == 0) continue;
      headers.push_back({NameOf(sample.index, id), DType::kF32, ShapeOf(layout, tokens)});
      report.tokens += tokens;
    }
  }
  if (report.tokens == 0) {
    return InvalidArgument(setup.recipe.file + ": want tokens to store in " + path +
                           ", found none: what the trained stage reads is empty in every sample");
  }
  RETURN_IF_ERROR(MakeDirectories(std::filesystem::path(path).parent_path().string()));
  ASSIGN_OR_RETURN(
      const auto writer,
      SafetensorsWriter::Create(path, headers, {{kIdentityKey, IdentityOf(setup, dataset)}}));
  for (int64_t begin = 0; begin < report.samples; begin += setup.recipe.batch_size) {
    std::vector<const TrainSample*> batch;
    for (int64_t i = begin; i < std::min(begin + setup.recipe.batch_size, report.samples); ++i) {
      batch.push_back(&dataset.samples[i]);
    }
    std::map<std::pair<int64_t, int>, std::vector<float>> tensors;  // in the headers' order
    RETURN_IF_ERROR(setup.gradient->WriteConstants(
        batch, [&](const TrainSample& sample, int id, const Segment& segment) {
          std::vector<float>& tensor = tensors[{sample.index, id}];
          tensor.resize(segment.token_count() * layout.TokenBytes() /
                        static_cast<int64_t>(sizeof(float)));
          ForEachStretch(segment, [&](const float* from, int64_t to, int64_t count) {
            std::copy_n(from, count, tensor.data() + to);
          });
        }));
    for (const auto& [key, tensor] : tensors) {
      RETURN_IF_ERROR(writer->Append(std::as_bytes(std::span(tensor))));
    }
    if (on_progress) on_progress(begin + std::ssize(batch), report.samples);
  }
  RETURN_IF_ERROR(writer->Commit());
  report.bytes = report.tokens * layout.TokenBytes();
  report.seconds = watch.Seconds();
  return report;
}

Result<std::unique_ptr<StoredKv>> StoredKv::Open(const std::string& path,
                                                 const TrainingSetup& setup,
                                                 const Dataset& dataset) {
  RETURN_IF_ERROR(CheckStoresAny(setup));
  ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open(path));
  const auto identity = file->metadata().find(kIdentityKey);
  if (identity == file->metadata().end()) {
    return InvalidArgument(path + ": want KV that `onepass kv dump` wrote, found another file");
  }
  RETURN_IF_ERROR(CheckSameIdentity(
      identity->second, IdentityOf(setup, dataset), path,
      {.noun = "KV", .made = "stored", .remedy = "make it again with onepass kv dump"}));
  for (const TrainSample& sample : dataset.samples) {
    for (const int id : setup.gradient->StoredSegments()) {
      const int64_t tokens = setup.gradient->LengthOf(sample, id);
      if (tokens == 0) continue;
      const std::string name = NameOf(sample.index, id);
      const auto found = file->tensors().find(name);
      const std::vector<int64_t> shape = ShapeOf(setup.pool->layout(), tokens);
      if (found == file->tensors().end() || found->second.dtype != DType::kF32 ||
          found->second.shape != shape) {
        return InvalidArgument(
            path + ": \"" + name + "\": want F32 " + ShapeToString(shape) + ", found " +
            (found == file->tensors().end() ? "nothing" : ShapeToString(found->second.shape)));
      }
    }
  }
  return std::unique_ptr<StoredKv>(new StoredKv(std::move(file)));
}

void StoredKv::CopyTo(int64_t sample, int id, const Segment& segment) const {
  const std::span<const std::byte> bytes = file_->tensors().at(NameOf(sample, id)).bytes;
  ForEachStretch(segment, [&](float* to, int64_t from, int64_t count) {
    std::memcpy(to, bytes.data() + from * static_cast<int64_t>(sizeof(float)),
                count * sizeof(float));
  });
}

}  // namespace onepass
