// Typed metadata of a GGUF file: kinds, look-ups, and how they say what they wanted and found.
#include <charconv>
#include <cstring>
#include <limits>

#include "core/quote.h"
#include "format/gguf.h"

namespace onepass {
namespace {

constexpr int64_t kMaxNumber = std::numeric_limits<int64_t>::max();

template <class Stored>
Stored LoadAt(std::span<const std::byte> bytes, int64_t index) {
  Stored value;
  std::memcpy(&value, bytes.data() + index * static_cast<int64_t>(sizeof(Stored)), sizeof(Stored));
  return value;
}

// A value as a message's "found".
std::string Describe(const GgufValue& value) {
  struct Visitor {
    std::string operator()(int64_t v) const { return std::to_string(v); }
    std::string operator()(uint64_t v) const { return std::to_string(v); }
    std::string operator()(double v) const {
      char text[32];
      const auto end = std::to_chars(text, text + sizeof(text), v);
      return {text, end.ptr};
    }
    std::string operator()(bool v) const { return v ? "true" : "false"; }
    std::string operator()(std::string_view v) const { return Quote(v); }
    std::string operator()(const GgufArray& v) const {
      return "a list of " + std::to_string(v.count) + ", each " + std::string(NameOf(v.kind));
    }
  };
  return std::visit(Visitor{}, value.value);
}

std::string RangeText(int64_t low, int64_t high) {
  return "a whole number from " + std::to_string(low) + " to " + std::to_string(high);
}

}  // namespace

std::string_view NameOf(GgufKind kind) {
  switch (kind) {
    case GgufKind::kU8:
      return "an unsigned 8-bit number";
    case GgufKind::kI8:
      return "a signed 8-bit number";
    case GgufKind::kU16:
      return "an unsigned 16-bit number";
    case GgufKind::kI16:
      return "a signed 16-bit number";
    case GgufKind::kU32:
      return "an unsigned 32-bit number";
    case GgufKind::kI32:
      return "a signed 32-bit number";
    case GgufKind::kF32:
      return "a 32-bit float";
    case GgufKind::kBool:
      return "a boolean";
    case GgufKind::kString:
      return "a string";
    case GgufKind::kArray:
      return "a list";
    case GgufKind::kU64:
      return "an unsigned 64-bit number";
    case GgufKind::kI64:
      return "a signed 64-bit number";
    case GgufKind::kF64:
      return "a 64-bit float";
  }
  ONEPASS_CHECK(false, "unknown metadata kind");
}

int64_t GgufArray::Integer(int64_t index) const {
  ONEPASS_CHECK(index >= 0 && index < count, "index outside the list");
  switch (kind) {
    case GgufKind::kU8:
      return LoadAt<uint8_t>(bytes, index);
    case GgufKind::kI8:
      return LoadAt<int8_t>(bytes, index);
    case GgufKind::kU16:
      return LoadAt<uint16_t>(bytes, index);
    case GgufKind::kI16:
      return LoadAt<int16_t>(bytes, index);
    case GgufKind::kU32:
      return LoadAt<uint32_t>(bytes, index);
    case GgufKind::kI32:
      return LoadAt<int32_t>(bytes, index);
    case GgufKind::kU64:
      return static_cast<int64_t>(LoadAt<uint64_t>(bytes, index) &
                                  static_cast<uint64_t>(kMaxNumber));
    case GgufKind::kI64:
      return LoadAt<int64_t>(bytes, index);
    default:
      ONEPASS_CHECK(false, "not a list of whole numbers");
  }
}

double GgufArray::Number(int64_t index) const {
  ONEPASS_CHECK(index >= 0 && index < count, "index outside the list");
  if (kind == GgufKind::kF64) return LoadAt<double>(bytes, index);
  ONEPASS_CHECK(kind == GgufKind::kF32, "not a list of floats");
  return LoadAt<float>(bytes, index);
}

std::string GgufFile::Message(std::string_view key, const std::string& wanted) const {
  const auto it = metadata_.find(key);
  return "gguf: " + Quote(key, 200) + ": want " + wanted + ", found " +
         (it == metadata_.end() ? "nothing" : Describe(it->second)) + " (" + name_ + ")";
}

Status GgufFile::Want(std::string_view key, const std::string& wanted) const {
  return InvalidArgument(Message(key, wanted));
}

Status GgufFile::WantSupported(std::string_view key, const std::string& wanted) const {
  return Unsupported(Message(key, wanted));
}

Result<std::optional<int64_t>> GgufFile::Integer(std::string_view key, int64_t low,
                                                 int64_t high) const {
  const auto it = metadata_.find(key);
  if (it == metadata_.end()) return std::optional<int64_t>();
  std::optional<int64_t> number;
  if (const auto* v = std::get_if<int64_t>(&it->second.value)) number = *v;
  if (const auto* v = std::get_if<uint64_t>(&it->second.value)) {
    if (*v <= static_cast<uint64_t>(kMaxNumber)) number = static_cast<int64_t>(*v);
  }
  if (!number || *number < low || *number > high) return Want(key, RangeText(low, high));
  return number;
}

Result<std::optional<double>> GgufFile::Number(std::string_view key) const {
  const auto it = metadata_.find(key);
  if (it == metadata_.end()) return std::optional<double>();
  const auto* number = std::get_if<double>(&it->second.value);
  if (number == nullptr) return Want(key, "a float");
  if (it->second.kind == GgufKind::kF64) return std::optional<double>(*number);
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), static_cast<float>(*number));
  double meant = *number;
  // What from_chars does not take (a NaN with a sign, say) stays as it is.
  if (std::from_chars(text, end.ptr, meant).ec != std::errc()) meant = *number;
  return std::optional<double>(meant);
}

Result<std::optional<bool>> GgufFile::Bool(std::string_view key) const {
  const auto it = metadata_.find(key);
  if (it == metadata_.end()) return std::optional<bool>();
  if (const auto* v = std::get_if<bool>(&it->second.value)) return std::optional<bool>(*v);
  return Want(key, "true or false");
}

Result<std::optional<std::string_view>> GgufFile::Text(std::string_view key) const {
  const auto it = metadata_.find(key);
  if (it == metadata_.end()) return std::optional<std::string_view>();
  if (const auto* v = std::get_if<std::string_view>(&it->second.value)) {
    return std::optional<std::string_view>(*v);
  }
  return Want(key, "a string");
}

Result<const GgufArray*> GgufFile::Array(std::string_view key,
                                         std::span<const GgufKind> kinds) const {
  const auto it = metadata_.find(key);
  if (it == metadata_.end()) return static_cast<const GgufArray*>(nullptr);
  std::string wanted;
  const auto* array = std::get_if<GgufArray>(&it->second.value);
  for (const GgufKind kind : kinds) {
    if (array != nullptr && array->kind == kind) return array;
    wanted += (wanted.empty() ? "a list, each " : " or ") + std::string(NameOf(kind));
  }
  return Want(key, wanted);
}

}  // namespace onepass
