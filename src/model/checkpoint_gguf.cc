// A base from a GGUF file: its tensors under our names, the rows of query and key weights in our
// order, and the values of quantised blocks.
#include <bit>
#include <cstring>
#include <set>
#include <utility>

#include "core/quote.h"
#include "core/thread_pool.h"
#include "model/checkpoint.h"
#include "model/gguf_base.h"

namespace onepass {
namespace {

// Fewer elements than this are not worth a second thread.
constexpr int64_t kManyElements = 1 << 20;

Status Fault(const GgufFile& file, const std::string& tensor, const std::string& text) {
  return InvalidArgument("gguf: " + Quote(tensor) + ": " + text + " (" + file.name() + ")");
}

Status CheckTensor(const GgufFile& file, const std::string& name, const TensorSpec& spec) {
  const auto it = file.tensors().find(name);
  if (it == file.tensors().end()) {
    return Fault(file, name, "want " + ShapeToString(spec.shape) + ", found nothing");
  }
  const BlockTensor& tensor = it->second;
  if (tensor.shape != spec.shape) {
    return Fault(file, name,
                 "want " + ShapeToString(spec.shape) + ", found " + ShapeToString(tensor.shape));
  }
  if (!CanDequantise(tensor.type)) {
    return Unsupported("gguf: " + Quote(name) +
                       ": want F32, F16, BF16, Q8_0, Q4_0, Q4_K or Q6_K, found " +
                       std::string(FormatOf(tensor.type).name) + " (" + file.name() + ")");
  }
  if (spec.shape.size() < 2 && !DenseDType(tensor.type)) {
    return Unsupported("gguf: " + Quote(name) + ": want a vector in F32, F16 or BF16, found " +
                       std::string(FormatOf(tensor.type).name) + " (" + file.name() + ")");
  }
  return Status::Ok();
}

// Rows of `heads` heads, each from pairs of neighbours to first all first halves of the pairs, then
// all second halves.
Buffer<std::byte> Deinterleaved(std::span<const std::byte> rows, int64_t row_count, int64_t heads) {
  const int64_t row_bytes = std::ssize(rows) / row_count;
  const int64_t head_rows = row_count / heads;
  Buffer<std::byte> out(1, std::ssize(rows));
  for (int64_t row = 0; row < row_count; ++row) {
    const int64_t head = row / head_rows;
    const int64_t in_head = row % head_rows;
    const int64_t to = head * head_rows + in_head % 2 * (head_rows / 2) + in_head / 2;
    std::memcpy(out.data() + to * row_bytes, rows.data() + row * row_bytes,
                static_cast<size_t>(row_bytes));
  }
  return out;
}

// out = a tensor's values in 16 bits; whether every one of them is the same.
template <class Stored>
bool Narrow(const RawTensor& tensor, Stored (*narrow)(float), std::byte* out) {
  for (int64_t i = 0; i < tensor.element_count(); ++i) {
    float value = 0;
    ConvertTo(tensor, i, 1, &value);
    const Stored stored = narrow(value);
    if (std::bit_cast<uint32_t>(ToFloat(stored)) != std::bit_cast<uint32_t>(value)) return false;
    std::memcpy(out + 2 * i, &stored, 2);
  }
  return true;
}

}  // namespace

Result<std::shared_ptr<const Checkpoint>> Checkpoint::FromGguf(
    std::shared_ptr<const GgufFile> file) {
  std::shared_ptr<Checkpoint> checkpoint(new Checkpoint);
  checkpoint->path_ = file->name();
  checkpoint->gguf_ = file;
  ASSIGN_OR_RETURN(checkpoint->config_, GgufConfig(*file));
  std::set<std::string> wanted;
  for (const TensorSpec& spec : ExpectedTensors(checkpoint->config_)) {
    const std::string name = GgufTensorName(spec.name);
    RETURN_IF_ERROR(CheckTensor(*file, name, spec));
    checkpoint->AddGgufTensor(spec.name, file->tensors().at(name));
    wanted.insert(name);
  }
  for (const auto& [name, tensor] : file->tensors()) {
    if (wanted.contains(name) || IsIgnoredGgufTensor(name)) continue;
    return Fault(*file, name,
                 "not a tensor of this " + checkpoint->config_.architecture + " model");
  }
  checkpoint->Summarise();
  checkpoint->NarrowVectors();
  checkpoint->Summarise();
  return std::shared_ptr<const Checkpoint>(std::move(checkpoint));
}

void Checkpoint::AddGgufTensor(const std::string& name, const BlockTensor& stored) {
  BlockTensor tensor = stored;
  const int64_t heads = InterleavedHeads(config_, name);
  if (heads > 0) {
    owned_.push_back(Deinterleaved(stored.bytes, stored.shape[0], heads));
    tensor.bytes = owned_.back().span();
  }
  if (const auto dtype = DenseDType(tensor.type)) {
    tensors_[name] = {*dtype, std::move(tensor.shape), tensor.bytes};
  } else {
    quantised_[name].blocks = std::move(tensor);
  }
}

// Converters widen every vector to F32. What they widened is the folder's weight again afterwards,
// byte for byte, so that the base has its folder's fingerprint.
void Checkpoint::NarrowVectors() {
  if (dtype_ != DType::kBF16 && dtype_ != DType::kF16) return;
  for (auto& [name, tensor] : tensors_) {
    if (tensor.dtype != DType::kF32 || tensor.shape.size() != 1) continue;
    Buffer<std::byte> narrow(1, 2 * tensor.element_count());
    const bool same = dtype_ == DType::kBF16 ? Narrow(tensor, ToBF16, narrow.data())
                                             : Narrow(tensor, ToF16, narrow.data());
    if (!same) continue;
    tensor.dtype = dtype_;
    tensor.bytes = narrow.span();
    owned_.push_back(std::move(narrow));
  }
}

const BlockTensor* Checkpoint::blocks(const std::string& name) const {
  const auto it = quantised_.find(name);
  if (it != quantised_.end()) return &it->second.blocks;
  ONEPASS_CHECK(tensors_.contains(name), name);
  return nullptr;
}

const RawTensor& Checkpoint::tensor(const std::string& name) const {
  if (const auto dense = tensors_.find(name); dense != tensors_.end()) return dense->second;
  const auto it = quantised_.find(name);
  ONEPASS_CHECK(it != quantised_.end(), name);
  const Quantised& weight = it->second;
  std::call_once(weight.once, [&weight] {
    const BlockTensor& in_blocks = weight.blocks;
    const BlockFormat& format = FormatOf(in_blocks.type);
    const int64_t count = in_blocks.element_count();
    weight.values = Buffer<float>(1, count);
    ThreadPool pool(count < kManyElements ? 1 : 0);
    pool.ParallelFor(count / format.elements, 1, [&](int64_t begin, int64_t end, int) {
      const auto part = [](auto span, int64_t from, int64_t size) {
        return span.subspan(static_cast<size_t>(from), static_cast<size_t>(size));
      };
      Dequantise(
          in_blocks.type, part(in_blocks.bytes, begin * format.bytes, (end - begin) * format.bytes),
          part(weight.values.span(), begin * format.elements, (end - begin) * format.elements));
    });
    weight.tensor = {DType::kF32, in_blocks.shape, std::as_bytes(weight.values.span())};
  });
  return weight.tensor;
}

}  // namespace onepass
