#include "format/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "core/quote.h"
#include "format/strict_json.h"

namespace onepass {
namespace {

using Json = nlohmann::json;

static_assert(std::endian::native == std::endian::little, "tensors are stored little-endian");

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr char kMetadataKey[] = "__metadata__";

// Faults of one file: `safetensors: [place: ]text (name)`.
class Fault {
 public:
  explicit Fault(const std::string& file) : file_(file) {}

  Status File(const std::string& text) const {
    return InvalidArgument("safetensors: " + text + " (" + file_ + ")");
  }
  Status At(const std::string& place, const std::string& text) const {
    return File(Quote(place, 200) + ": " + text);
  }
  Status UnsupportedDType(const std::string& place, const Json& found) const {
    return Unsupported("safetensors: " + Quote(place, 200) +
                       ": want dtype F64, F32, F16, BF16, an integer of 8 to 64 bits, BOOL, "
                       "F8_E4M3 or F8_E5M2, found " +
                       DescribeJson(found) + " (" + file_ + ")");
  }

 private:
  const std::string& file_;
};

// Product of the shape times the element size, or nothing where it does not fit 63 bits.
std::optional<int64_t> ByteCount(const std::vector<int64_t>& shape, DType dtype) {
  int64_t count = 1;
  for (int64_t extent : shape) {
    if (__builtin_mul_overflow(count, extent, &count)) return std::nullopt;
  }
  if (__builtin_mul_overflow(count, SizeOf(dtype), &count)) return std::nullopt;
  return count;
}

// A JSON list of whole numbers from 0 to 2^63 - 1, or nothing.
std::optional<std::vector<int64_t>> SizeList(const Json& value) {
  if (!value.is_array()) return std::nullopt;
  std::vector<int64_t> sizes;
  for (const Json& item : value) {
    if (!item.is_number_unsigned()) return std::nullopt;
    const uint64_t size = item.get<uint64_t>();
    if (size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    sizes.push_back(static_cast<int64_t>(size));
  }
  return sizes;
}

struct Entry {
  int64_t begin = 0;
  int64_t end = 0;
  const std::string* name = nullptr;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
};

Result<Entry> ReadEntry(const std::string& name, const Json& info, const Fault& fault) {
  if (!info.is_object()) return fault.At(name, "want an object, found " + DescribeJson(info));
  for (const char* key : {"dtype", "shape", "data_offsets"}) {
    if (!info.contains(key)) {
      return fault.At(name, "want dtype, shape and data_offsets, found no " + std::string(key));
    }
  }
  Entry entry;
  entry.name = &name;
  const Json& dtype_name = info["dtype"];
  if (!dtype_name.is_string()) {
    return fault.At(name, "want dtype as a string, found " + DescribeJson(dtype_name));
  }
  const auto dtype = ParseDType(dtype_name.get_ref<const std::string&>());
  if (!dtype.has_value()) return fault.UnsupportedDType(name, dtype_name);
  entry.dtype = *dtype;
  auto shape = SizeList(info["shape"]);
  if (!shape.has_value()) return fault.At(name, "want shape as a list of sizes below 2^63");
  entry.shape = std::move(*shape);
  const auto offsets = SizeList(info["data_offsets"]);
  if (!offsets.has_value() || offsets->size() != 2 || (*offsets)[0] > (*offsets)[1]) {
    return fault.At(name, "want data_offsets [begin, end] with begin <= end");
  }
  entry.begin = (*offsets)[0];
  entry.end = (*offsets)[1];
  const auto bytes = ByteCount(entry.shape, entry.dtype);
  if (!bytes.has_value()) {
    return fault.At(name, "shape times " + std::string(NameOf(entry.dtype)) + " overflows");
  }
  if (*bytes != entry.end - entry.begin) {
    std::string shape_text = ShapeToString(entry.shape);
    if (shape_text.size() > 100) shape_text = std::to_string(entry.shape.size()) + " dimensions";
    return fault.At(name, "want " + std::to_string(*bytes) + " bytes for " +
                              std::string(NameOf(entry.dtype)) + " " + shape_text + ", found " +
                              std::to_string(entry.end - entry.begin));
  }
  return entry;
}

Status ReadMetadata(const Json& value, const Fault& fault,
                    std::map<std::string, std::string>& metadata) {
  if (value.is_null()) return Status::Ok();
  if (!value.is_object()) {
    return fault.At(kMetadataKey, "want an object, found " + DescribeJson(value));
  }
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) {
      return fault.At(kMetadataKey,
                      "want a string for " + Quote(key) + ", found " + DescribeJson(text));
    }
    metadata[key] = text.get<std::string>();
  }
  return Status::Ok();
}

}  // namespace

Result<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(auto mapping, MappedFile::Open(path));
  const std::span<const std::byte> bytes = mapping->bytes();
  return Read(bytes, path, std::move(mapping));
}

Result<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::Parse(
    std::span<const std::byte> bytes, const std::string& name) {
  return Read(bytes, name, nullptr);
}

Result<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::Read(
    std::span<const std::byte> bytes, const std::string& name,
    std::shared_ptr<const MappedFile> mapping) {
  const Fault fault(name);
  if (bytes.size() < 8) {
    return fault.File("want at least 8 bytes, found " + std::to_string(bytes.size()));
  }
  uint64_t header_bytes;
  std::memcpy(&header_bytes, bytes.data(), 8);
  if (header_bytes > kMaxHeaderBytes) {
    return fault.File("want a header of at most " + std::to_string(kMaxHeaderBytes) +
                      " bytes, found " + std::to_string(header_bytes));
  }
  if (header_bytes > bytes.size() - 8) {
    return fault.File("want a header of " + std::to_string(header_bytes) + " bytes, found " +
                      std::to_string(bytes.size() - 8) + " left in the file");
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, header_bytes);
  if (!IsUtf8(text)) return fault.File("the header is not UTF-8");
  if (!text.starts_with('{')) return fault.File("want a header that begins with {");
  ASSIGN_OR_RETURN(const Json header, ParseStrictJson(text, "header of " + name, {.max_depth = 3}));

  std::shared_ptr<SafetensorsFile> file(new SafetensorsFile);
  file->name_ = name;
  file->file_ = std::move(mapping);
  std::vector<Entry> entries;
  for (const auto& [key, value] : header.items()) {
    if (key == kMetadataKey) {
      RETURN_IF_ERROR(ReadMetadata(value, fault, file->metadata_));
    } else {
      ASSIGN_OR_RETURN(Entry entry, ReadEntry(key, value, fault));
      entries.push_back(std::move(entry));
    }
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, *a.name) < std::tie(b.begin, b.end, *b.name);
  });
  const std::span<const std::byte> data = bytes.subspan(8 + header_bytes);
  const int64_t data_bytes = static_cast<int64_t>(data.size());
  int64_t at = 0;
  for (Entry& entry : entries) {
    if (entry.begin != at) {
      return fault.At(*entry.name, std::string(entry.begin < at ? "overlap" : "gap") +
                                       ": want data_offsets from " + std::to_string(at) +
                                       ", found " + std::to_string(entry.begin));
    }
    if (entry.end > data_bytes) {
      return fault.At(*entry.name, "want data up to byte " + std::to_string(entry.end) +
                                       ", found " + std::to_string(data_bytes) + " bytes");
    }
    file->tensors_[*entry.name] = {entry.dtype, std::move(entry.shape),
                                   data.subspan(static_cast<size_t>(entry.begin),
                                                static_cast<size_t>(entry.end - entry.begin))};
    at = entry.end;
  }
  if (at != data_bytes) {
    return fault.File("want " + std::to_string(at) + " bytes of data, found " +
                      std::to_string(data_bytes));
  }
  return std::shared_ptr<const SafetensorsFile>(std::move(file));
}

Result<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::Create(
    const std::string& path, std::span<const TensorHeader> tensors,
    const std::map<std::string, std::string>& metadata) {
  const Fault fault(path);
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  header[kMetadataKey]["format"] = "pt";
  for (const auto& [key, value] : metadata) {
    if (!IsUtf8(key) || !IsUtf8(value)) return fault.At(key, "metadata is not UTF-8");
    header[kMetadataKey][key] = value;
  }
  std::set<std::string> names = {kMetadataKey};
  int64_t at = 0;
  // Thousands of insertions into an ordered_json would each search it: the list is written by hand.
  std::string list = header.dump();
  list.pop_back();
  for (const TensorHeader& tensor : tensors) {
    if (!IsUtf8(tensor.name)) return fault.At(tensor.name, "want a name in UTF-8");
    if (!names.insert(tensor.name).second) return fault.At(tensor.name, "the name stands twice");
    const auto bytes = ByteCount(tensor.shape, tensor.dtype);
    int64_t end = 0;
    if (!bytes.has_value() || __builtin_add_overflow(at, *bytes, &end)) {
      return fault.At(tensor.name, "the shape overflows");
    }
    const nlohmann::ordered_json info = {{"dtype", std::string(NameOf(tensor.dtype))},
                                         {"shape", tensor.shape},
                                         {"data_offsets", {at, end}}};
    list += ',';
    list += Json(tensor.name).dump();
    list += ':';
    list += info.dump();
    at = end;
  }
  list += "}";
  list.resize((list.size() + 7) / 8 * 8, ' ');  // the data begins aligned
  if (list.size() > kMaxHeaderBytes) return fault.File("too many tensors for one header");
  ASSIGN_OR_RETURN(auto file, AtomicFileWriter::Create(path));
  const uint64_t header_bytes = list.size();
  RETURN_IF_ERROR(file->Write(std::as_bytes(std::span(&header_bytes, 1))));
  RETURN_IF_ERROR(file->Write(list));
  return std::unique_ptr<SafetensorsWriter>(new SafetensorsWriter(std::move(file), at));
}

Status SafetensorsWriter::Append(std::span<const std::byte> bytes) {
  bytes_left_ -= static_cast<int64_t>(bytes.size());
  ONEPASS_CHECK(bytes_left_ >= 0, "more bytes than the header promises");
  return file_->Write(bytes);
}

Status SafetensorsWriter::Commit() {
  ONEPASS_CHECK(bytes_left_ == 0, "fewer bytes than the header promises");
  return file_->Commit();
}

Status WriteSafetensors(const std::string& path, std::span<const NamedTensor> tensors,
                        const std::map<std::string, std::string>& metadata) {
  std::vector<TensorHeader> headers;
  for (const NamedTensor& named : tensors) {
    const auto bytes = ByteCount(named.tensor.shape, named.tensor.dtype);
    ONEPASS_CHECK(bytes == std::ssize(named.tensor.bytes), "bytes do not fit the shape");
    headers.push_back({named.name, named.tensor.dtype, named.tensor.shape});
  }
  ASSIGN_OR_RETURN(auto writer, SafetensorsWriter::Create(path, headers, metadata));
  for (const NamedTensor& named : tensors) RETURN_IF_ERROR(writer->Append(named.tensor.bytes));
  return writer->Commit();
}

}  // namespace onepass
