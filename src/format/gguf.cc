#include "format/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <tuple>
#include <utility>

#include "core/quote.h"
#include "format/gguf_cursor.h"

namespace onepass {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF is read little-endian");

constexpr std::string_view kMagic = "GGUF";
constexpr std::string_view kAlignmentKey = "general.alignment";
constexpr int64_t kDefaultAlignment = 32;
constexpr int64_t kMaxAlignment = int64_t{1} << 16;
constexpr uint64_t kMaxKeyBytes = 65535;
constexpr uint64_t kMaxNameBytes = 64;
constexpr uint32_t kMaxDimensions = 4;
// The least that one of them takes in the file: counts above what is left lie.
constexpr uint64_t kMinValueBytes = 8 + 1 + 4 + 1;       // name of one byte, kind, a byte
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 4 + 8;  // name of one byte, no dimension

struct TensorPlace {
  uint64_t begin = 0;  // from the data's start
  uint64_t size = 0;
  const std::string* name = nullptr;
  BlockTensor* tensor = nullptr;
};

}  // namespace

// Walks the bytes once, from front to back. The first fault ends the walk.
class GgufReader {
 public:
  GgufReader(std::span<const std::byte> bytes, const std::string& name)
      : bytes_(bytes), name_(name), in_(bytes, name), file_(new GgufFile) {
    file_->name_ = name;
  }

  Result<std::shared_ptr<const GgufFile>> Read(std::shared_ptr<const MappedFile> mapping) {
    file_->file_ = std::move(mapping);
    uint64_t tensor_count = 0;
    uint64_t value_count = 0;
    RETURN_IF_ERROR(ReadHeader(&tensor_count, &value_count));
    for (uint64_t i = 0; i < value_count; ++i) RETURN_IF_ERROR(ReadValue(i));
    RETURN_IF_ERROR(ReadAlignment());
    for (uint64_t i = 0; i < tensor_count; ++i) RETURN_IF_ERROR(ReadTensor(i));
    RETURN_IF_ERROR(PlaceTensors());
    return std::shared_ptr<const GgufFile>(std::move(file_));
  }

 private:
  Status ReadHeader(uint64_t* tensor_count, uint64_t* value_count) {
    if (!GgufFile::HasMagic(bytes_)) {
      const std::string_view found(reinterpret_cast<const char*>(bytes_.data()),
                                   std::min<size_t>(bytes_.size(), kMagic.size()));
      return in_.Fault("want a file that begins with " + Quote(kMagic) + ", found " + Quote(found));
    }
    in_.Skip(kMagic.size());
    RETURN_IF_ERROR(in_.Take("version", &file_->version_));
    const uint32_t version = file_->version_;
    if (version != 2 && version != 3) {
      const bool big_endian = version != 0 && (version & 0xffff) == 0;
      return Unsupported("gguf: version: want 2 or 3, little-endian, found " +
                         std::to_string(version) + (big_endian ? " (big-endian?)" : "") + " (" +
                         name_ + ")");
    }
    RETURN_IF_ERROR(in_.Take("tensor count", tensor_count));
    RETURN_IF_ERROR(in_.Take("value count", value_count));
    RETURN_IF_ERROR(in_.CheckCount("tensor count", *tensor_count, kMinTensorBytes));
    return in_.CheckCount("value count", *value_count, kMinValueBytes);
  }

  Status ReadValue(uint64_t index) {
    const std::string number = "value " + std::to_string(index);
    std::string_view key;
    RETURN_IF_ERROR(in_.TakeName(number, kMaxKeyBytes, &key));
    const std::string place = Quote(key, 200);
    if (file_->metadata_.contains(key)) return in_.Fault(place, "the key stands twice");
    GgufValue value;
    RETURN_IF_ERROR(in_.TakeValue(place, &value));
    file_->metadata_.emplace(std::string(key), std::move(value));
    return Status::Ok();
  }

  Status ReadAlignment() {
    file_->alignment_ = kDefaultAlignment;
    const auto it = file_->metadata_.find(kAlignmentKey);
    if (it == file_->metadata_.end()) return Status::Ok();
    const auto* number = std::get_if<int64_t>(&it->second.value);
    if (it->second.kind != GgufKind::kU32 || *number < 1 || *number > kMaxAlignment ||
        !std::has_single_bit(static_cast<uint64_t>(*number))) {
      return file_->Want(kAlignmentKey,
                         "a power of two of 32 bits, at most " + std::to_string(kMaxAlignment));
    }
    file_->alignment_ = *number;
    return Status::Ok();
  }

  Status ReadTensor(uint64_t index) {
    std::string_view name;
    RETURN_IF_ERROR(in_.TakeName("tensor " + std::to_string(index), kMaxNameBytes, &name));
    const std::string place = Quote(name);
    uint32_t dimension_count = 0;
    RETURN_IF_ERROR(in_.Take(place, &dimension_count));
    if (dimension_count > kMaxDimensions) {
      return in_.Fault(place, "want at most " + std::to_string(kMaxDimensions) +
                                  " dimensions, found " + std::to_string(dimension_count));
    }
    BlockTensor tensor;
    for (uint32_t d = 0; d < dimension_count; ++d) {
      uint64_t extent = 0;
      RETURN_IF_ERROR(in_.Take(place, &extent));
      if (extent > kMaxGgufInt) {
        return in_.Fault(place, "want dimensions below 2^63, found " + std::to_string(extent));
      }
      tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(extent));
    }
    uint32_t type = 0;
    TensorPlace where;
    RETURN_IF_ERROR(in_.Take(place, &type));
    RETURN_IF_ERROR(in_.Take(place, &where.begin));
    const BlockFormat* format = FindBlockFormat(type);
    if (format == nullptr) {
      return Unsupported("gguf: " + place + ": want a known type of blocks, found number " +
                         std::to_string(type) + " (" + name_ + ")");
    }
    tensor.type = format->type;
    RETURN_IF_ERROR(SizeTensor(place, tensor, *format, &where.size));
    if (where.begin % static_cast<uint64_t>(file_->alignment_) != 0) {
      return in_.Fault(place, "want an offset that is a multiple of the alignment, " +
                                  std::to_string(file_->alignment_) + ", found " +
                                  std::to_string(where.begin));
    }
    const auto [it, is_new] = file_->tensors_.emplace(std::string(name), std::move(tensor));
    if (!is_new) return in_.Fault(place, "the tensor stands twice");
    where.name = &it->first;
    where.tensor = &it->second;
    places_.push_back(where);
    return Status::Ok();
  }

  Status SizeTensor(const std::string& place, const BlockTensor& tensor, const BlockFormat& format,
                    uint64_t* size) const {
    int64_t count = 1;
    for (const int64_t extent : tensor.shape) {
      if (__builtin_mul_overflow(count, extent, &count)) {
        return in_.Fault(place, "the shape overflows");
      }
    }
    const int64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
    if (row % format.elements != 0) {
      return in_.Fault(place, "want rows of whole " + std::string(format.name) + " blocks of " +
                                  std::to_string(format.elements) + ", found rows of " +
                                  std::to_string(row));
    }
    int64_t bytes = 0;
    if (__builtin_mul_overflow(count / format.elements, format.bytes, &bytes)) {
      return in_.Fault(place, "the shape times " + std::string(format.name) + " overflows");
    }
    *size = static_cast<uint64_t>(bytes);
    return Status::Ok();
  }

  // The data begin at the next aligned byte behind the tensors' list.
  Status PlaceTensors() {
    const auto alignment = static_cast<uint64_t>(file_->alignment_);
    const uint64_t start = (in_.at() + alignment - 1) / alignment * alignment;
    const std::span<const std::byte> data =
        start < bytes_.size() ? bytes_.subspan(start) : std::span<const std::byte>();
    for (const TensorPlace& place : places_) {
      if (place.begin > data.size() || place.size > data.size() - place.begin) {
        return in_.Fault(Quote(*place.name), "want " + std::to_string(place.size) +
                                                 " bytes of data from " +
                                                 std::to_string(place.begin) + ", found " +
                                                 std::to_string(data.size()) + " in all");
      }
      place.tensor->bytes = data.subspan(place.begin, place.size);
    }
    std::sort(places_.begin(), places_.end(), [](const TensorPlace& a, const TensorPlace& b) {
      return std::tie(a.begin, a.size, *a.name) < std::tie(b.begin, b.size, *b.name);
    });
    for (size_t i = 1; i < places_.size(); ++i) {
      const TensorPlace& before = places_[i - 1];
      if (before.begin + before.size > places_[i].begin) {
        return in_.Fault(Quote(*places_[i].name),
                         "overlap: want an offset from " +
                             std::to_string(before.begin + before.size) + ", behind " +
                             Quote(*before.name) + ", found " + std::to_string(places_[i].begin));
      }
    }
    return Status::Ok();
  }

  std::span<const std::byte> bytes_;
  const std::string& name_;
  GgufCursor in_;
  std::shared_ptr<GgufFile> file_;
  std::vector<TensorPlace> places_;
};

bool GgufFile::HasMagic(std::span<const std::byte> bytes) {
  return bytes.size() >= kMagic.size() &&
         std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0;
}

Result<std::shared_ptr<const GgufFile>> GgufFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(auto mapping, MappedFile::Open(path));
  const std::span<const std::byte> bytes = mapping->bytes();
  return GgufReader(bytes, path).Read(std::move(mapping));
}

Result<std::shared_ptr<const GgufFile>> GgufFile::Parse(std::span<const std::byte> bytes,
                                                        const std::string& name) {
  return GgufReader(bytes, name).Read(nullptr);
}

}  // namespace onepass
