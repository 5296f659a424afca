#include <algorithm>
#include <vector>

#include "core/file.h"
#include "core/rng.h"
#include "core/thread_pool.h"
#include "model/checkpoint.h"

namespace onepass {
namespace {

// Every block of a tensor has its own random stream, so that threads can share the work.
constexpr int64_t kBlock = 1 << 14;
constexpr int64_t kBlocksPerPiece = 1 << 10;
constexpr float kDeviation = 0.02f;

void Store(float value, float& out) { out = value; }
void Store(float value, BF16& out) { out = ToBF16(value); }
void Store(float value, F16& out) { out = ToF16(value); }

// Elements [begin, begin + out.size()) of a tensor whose random stream is `rng`; begin is a
// multiple of kBlock.
template <class T>
void Fill(const Rng& rng, bool is_norm, int64_t begin, std::span<T> out, ThreadPool& pool) {
  pool.ParallelFor(std::ssize(out), kBlock, [&](int64_t from, int64_t to, int) {
    for (int64_t block = from; block < to; block += kBlock) {
      Rng stream = rng.Fork(static_cast<uint64_t>((begin + block) / kBlock));
      for (int64_t i = block; i < std::min(block + kBlock, to); ++i) {
        const float value = is_norm ? 1.0f : kDeviation * static_cast<float>(stream.Normal());
        Store(value, out[static_cast<size_t>(i)]);
      }
    }
  });
}

template <class T>
Status WriteTensors(const std::vector<TensorSpec>& specs, uint64_t seed,
                    SafetensorsWriter& writer) {
  ThreadPool pool;
  const Rng root(seed);
  std::vector<T> piece;
  for (size_t t = 0; t < specs.size(); ++t) {
    const Rng rng = root.Fork(t);
    const bool is_norm = specs[t].name.ends_with("norm.weight");
    int64_t count = 1;
    for (int64_t extent : specs[t].shape) count *= extent;
    for (int64_t begin = 0; begin < count; begin += kBlock * kBlocksPerPiece) {
      piece.resize(static_cast<size_t>(std::min(count - begin, kBlock * kBlocksPerPiece)));
      Fill(rng, is_norm, begin, std::span(piece), pool);
      RETURN_IF_ERROR(writer.Append(std::as_bytes(std::span(piece))));
    }
  }
  return Status::Ok();
}

}  // namespace

Status InitBase(const ModelConfig& config, DType dtype, uint64_t seed, const std::string& dir,
                const std::string& tokenizer_json) {
  RETURN_IF_ERROR(config.Validate());
  if (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16) {
    return Unsupported("init-base: want F32, F16 or BF16, found " + std::string(NameOf(dtype)));
  }
  RETURN_IF_ERROR(MakeDirectories(dir));
  const std::vector<TensorSpec> specs = ExpectedTensors(config);
  std::vector<TensorHeader> headers;
  for (const TensorSpec& spec : specs) headers.push_back({spec.name, dtype, spec.shape});
  ASSIGN_OR_RETURN(auto writer, SafetensorsWriter::Create(dir + "/model.safetensors", headers, {}));
  RETURN_IF_ERROR(dtype == DType::kF32    ? WriteTensors<float>(specs, seed, *writer)
                  : dtype == DType::kBF16 ? WriteTensors<BF16>(specs, seed, *writer)
                                          : WriteTensors<F16>(specs, seed, *writer));
  const std::string config_path = dir + "/config.json";
  ASSIGN_OR_RETURN(const auto config_file, AtomicFileWriter::Create(config_path));
  RETURN_IF_ERROR(config_file->Write(ConfigToJson(config, dtype)));
  std::unique_ptr<AtomicFileWriter> tokenizer_file;
  if (!tokenizer_json.empty()) {
    ASSIGN_OR_RETURN(tokenizer_file, AtomicFileWriter::Create(dir + "/tokenizer.json"));
    RETURN_IF_ERROR(tokenizer_file->Write(tokenizer_json));
  }
  // A folder with a config is whole, so that of another base goes first and ours comes last.
  RETURN_IF_ERROR(RemoveFile(config_path));
  RETURN_IF_ERROR(writer->Commit());
  if (tokenizer_file != nullptr) RETURN_IF_ERROR(tokenizer_file->Commit());
  return config_file->Commit();
}

}  // namespace onepass
