#include "model/convert.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "core/file.h"
#include "core/quote.h"
#include "format/safetensors.h"
#include "format/strict_json.h"
#include "model/weights.h"
#include "tensor/quantise.h"

namespace onepass {
namespace {

constexpr int64_t kMaxTokenizerBytes = int64_t{1} << 28;
// Elements that are converted at a time, about.
constexpr int64_t kPieceElements = int64_t{1} << 22;

// What a tokenizer and its users may need beside the weights.
constexpr const char* kCopiedFiles[] = {"tokenizer.json", "tokenizer.model",
                                        "tokenizer_config.json", "special_tokens_map.json",
                                        "generation_config.json"};

bool IsFile(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

bool IsDense(BlockType type) { return DenseDType(type).has_value(); }

// How a tensor is to be stored.
struct Target {
  TensorSpec spec;
  const RawTensor* kept = nullptr;    // as it is
  BlockType type = BlockType::kQ8_0;  // otherwise

  int64_t cols() const { return spec.shape.back(); }
  int64_t rows() const { return spec.shape.size() == 1 ? 1 : spec.shape[0]; }
  int64_t row_bytes() const { return cols() / FormatOf(type).elements * FormatOf(type).bytes; }
};

TensorHeader HeaderOf(const Target& target) {
  if (target.kept != nullptr) return {target.spec.name, target.kept->dtype, target.spec.shape};
  if (const auto dtype = DenseDType(target.type)) {
    return {target.spec.name, *dtype, target.spec.shape};
  }
  return {
      BlocksName(target.spec.name, target.type), DType::kU8, {target.rows(), target.row_bytes()}};
}

std::vector<Target> TargetsOf(const Checkpoint& base, const ConvertOptions& options,
                              ConvertReport& report) {
  std::vector<Target> targets;
  for (const TensorSpec& spec : ExpectedTensors(base.config())) {
    Target target{.spec = spec};
    const bool is_embedding = spec.name == "model.embed_tokens.weight";
    const bool is_head = spec.name == "lm_head.weight" || (is_embedding && base.config().tied_head);
    target.type = is_head ? options.head : options.weights;
    const bool is_product = spec.shape.size() == 2 && (is_head || !is_embedding);
    const bool fits = target.cols() % FormatOf(target.type).elements == 0;
    if (!fits || !(is_product || IsDense(target.type))) {
      target.kept = &base.tensor(spec.name);
      report.dense_matrix_count += is_product;
    } else if (!IsDense(target.type)) {
      ++report.quantised_count;
    }
    targets.push_back(std::move(target));
  }
  return targets;
}

// A row as it is to be stored, in F32, in BF16, or as Quantise writes it, whose errors it
// shares: a value that is no number, or that no number of the type holds.
Status StoreRow(BlockType type, std::span<const float> row, std::span<std::byte> out) {
  if (!IsDense(type)) return Quantise(type, row, out);
  const bool is_bf16 = type == BlockType::kBF16;
  for (size_t i = 0; i < row.size(); ++i) {
    const BF16 rounded = ToBF16(row[i]);
    if (!std::isfinite(is_bf16 ? ToFloat(rounded) : row[i])) {
      return InvalidArgument("want numbers that " + std::string(FormatOf(type).name) +
                             " holds, found " + std::to_string(row[i]));
    }
    if (is_bf16) std::memcpy(&out[i * sizeof(rounded)], &rounded, sizeof(rounded));
  }
  if (!is_bf16) std::ranges::copy(std::as_bytes(row), out.begin());
  return Status::Ok();
}

// Converts and appends a tensor, some rows at a time.
Status WriteRows(const Checkpoint& base, const Target& target, ThreadPool& pool,
                 SafetensorsWriter& writer) {
  const StoredTensor stored = StoredAs(base, target.spec.name);
  const BlockTensor* blocks = stored.blocks;
  if (blocks != nullptr && blocks->type == target.type) return writer.Append(blocks->bytes);
  const int64_t rows = target.rows();
  const int64_t cols = target.cols();
  const int64_t row_bytes = target.row_bytes();
  const int64_t piece_rows = std::clamp<int64_t>(kPieceElements / cols, 1, rows);
  std::vector<std::byte> piece;
  for (int64_t begin = 0; begin < rows; begin += piece_rows) {
    const int64_t count = std::min(piece_rows, rows - begin);
    piece.resize(static_cast<size_t>(count * row_bytes));
    Status fault;
    std::mutex mutex;
    pool.ParallelFor(count, 1, [&](int64_t from, int64_t to, int) {
      std::vector<float> row(static_cast<size_t>(cols));
      for (int64_t r = from; r < to; ++r) {
        ConvertTo<float>(stored, (begin + r) * cols, cols, row.data());
        const Status status = StoreRow(target.type, row,
                                       std::span(piece).subspan(static_cast<size_t>(r * row_bytes),
                                                                static_cast<size_t>(row_bytes)));
        if (status.ok()) continue;
        const std::lock_guard lock(mutex);
        if (fault.ok()) {
          fault = status.WithPrefix("convert: " + Quote(target.spec.name) + ": row " +
                                    std::to_string(begin + r));
        }
        return;
      }
    });
    RETURN_IF_ERROR(fault);
    RETURN_IF_ERROR(writer.Append(piece));
  }
  return Status::Ok();
}

// The base's config.json, with what was done to its weights.
Result<std::string> ConfigText(const Checkpoint& base, const ConvertOptions& options) {
  const std::string path = base.path() + "/config.json";
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  ASSIGN_OR_RETURN(nlohmann::json config, ParseStrictJson(text, path, {}));
  config.erase("quantization_config");
  if (!IsDense(options.weights) || !IsDense(options.head)) {
    config["quantization_config"] = {{"quant_method", "onepass"},
                                     {"weights", std::string(FormatOf(options.weights).name)},
                                     {"head", std::string(FormatOf(options.head).name)}};
  }
  if (IsDense(options.weights)) {
    const char* name = options.weights == BlockType::kF32 ? "float32" : "bfloat16";
    // Newer files have the shorter key, some have both.
    const bool is_new = config.contains("dtype");
    if (is_new) config["dtype"] = name;
    if (!is_new || config.contains("torch_dtype")) config["torch_dtype"] = name;
  }
  return config.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

Status CopyFile(const std::string& from, const std::string& to) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(from, kMaxTokenizerBytes));
  return WriteFileAtomically(to, bytes);
}

}  // namespace

Status ConvertOptions::Validate() const {
  for (const BlockType type : {weights, head}) {
    if (type != BlockType::kQ8_0 && type != BlockType::kQ4_0 && type != BlockType::kF32 &&
        type != BlockType::kBF16) {
      return Unsupported("convert: want Q8_0, Q4_0, F32 or BF16, found " +
                         std::string(FormatOf(type).name));
    }
  }
  return Status::Ok();
}

Result<ConvertReport> ConvertBase(
    const Checkpoint& base, const ConvertOptions& options, const std::string& dir, ThreadPool& pool,
    const std::function<void(int64_t done, int64_t total)>& on_progress) {
  RETURN_IF_ERROR(options.Validate());
  if (IsFile(base.path())) {
    return Unsupported(
        "convert: want a folder, found a GGUF file, whose tokenizer is not written as "
        "tokenizer.json; run it as it is, or convert the folder that it was made of (" +
        base.path() + ")");
  }
  RETURN_IF_ERROR(MakeDirectories(dir));
  struct stat from, to;
  if (::stat(base.path().c_str(), &from) == 0 && ::stat(dir.c_str(), &to) == 0 &&
      from.st_dev == to.st_dev && from.st_ino == to.st_ino) {
    return InvalidArgument("convert: want another folder than the base's, found " + Quote(dir));
  }
  ASSIGN_OR_RETURN(const std::string config, ConfigText(base, options));

  ConvertReport report;
  const std::vector<Target> targets = TargetsOf(base, options, report);
  std::vector<TensorHeader> headers;
  for (const Target& target : targets) headers.push_back(HeaderOf(target));
  ASSIGN_OR_RETURN(auto writer, SafetensorsWriter::Create(dir + "/model.safetensors", headers, {}));
  for (size_t i = 0; i < targets.size(); ++i) {
    const Target& target = targets[i];
    RETURN_IF_ERROR(target.kept != nullptr ? writer->Append(target.kept->bytes)
                                           : WriteRows(base, target, pool, *writer));
    int64_t bytes = SizeOf(headers[i].dtype);
    for (const int64_t extent : headers[i].shape) bytes *= extent;
    report.bytes += bytes;
    if (on_progress) on_progress(static_cast<int64_t>(i) + 1, std::ssize(targets));
  }
  ASSIGN_OR_RETURN(const auto config_file, AtomicFileWriter::Create(dir + "/config.json"));
  RETURN_IF_ERROR(config_file->Write(config));
  // A folder with a config is whole, so that of another base goes first and ours comes last.
  RETURN_IF_ERROR(RemoveFile(dir + "/config.json"));
  for (const char* name : kCopiedFiles) {
    const std::string path = base.path() + "/" + name;
    RETURN_IF_ERROR(RemoveFile(dir + "/" + name));
    if (IsFile(path)) RETURN_IF_ERROR(CopyFile(path, dir + "/" + name));
  }
  RETURN_IF_ERROR(writer->Commit());
  RETURN_IF_ERROR(config_file->Commit());
  return report;
}

}  // namespace onepass
