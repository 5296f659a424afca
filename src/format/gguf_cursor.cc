#include "format/gguf_cursor.h"

#include <utility>

#include "core/quote.h"

namespace onepass {
namespace {

// Bytes of one element; 0: not of one size.
uint64_t SizeOfKind(GgufKind kind) {
  switch (kind) {
    case GgufKind::kU8:
    case GgufKind::kI8:
    case GgufKind::kBool:
      return 1;
    case GgufKind::kU16:
    case GgufKind::kI16:
      return 2;
    case GgufKind::kU32:
    case GgufKind::kI32:
    case GgufKind::kF32:
      return 4;
    case GgufKind::kU64:
    case GgufKind::kI64:
    case GgufKind::kF64:
      return 8;
    case GgufKind::kString:
    case GgufKind::kArray:
      return 0;
  }
  return 0;
}

}  // namespace

Status GgufCursor::Fault(const std::string& text) const {
  return InvalidArgument("gguf: " + text + " (" + *name_ + ")");
}

Status GgufCursor::Fault(const std::string& place, const std::string& text) const {
  return Fault(place + ": " + text);
}

Status GgufCursor::CutOff(const std::string& place, const std::string& wanted) const {
  return Fault(place, "want " + wanted + " at byte " + std::to_string(at_) + ", found " +
                          std::to_string(Left()) + " bytes left");
}

Status GgufCursor::TakeString(const std::string& place, uint64_t max_bytes, std::string_view* out) {
  uint64_t size = 0;
  RETURN_IF_ERROR(Take(place, &size));
  if (size > max_bytes) {
    return Fault(place, "want a string of at most " + std::to_string(max_bytes) + " bytes, found " +
                            std::to_string(size));
  }
  if (size > Left()) return CutOff(place, "a string of " + std::to_string(size) + " bytes");
  *out = {reinterpret_cast<const char*>(bytes_.data()) + at_, size};
  at_ += size;
  return Status::Ok();
}

Status GgufCursor::TakeName(const std::string& place, uint64_t max_bytes, std::string_view* out) {
  RETURN_IF_ERROR(TakeString(place, max_bytes, out));
  if (out->empty() || !IsUtf8(*out)) {
    return Fault(place, "want a name in UTF-8, found " + Quote(*out));
  }
  return Status::Ok();
}

Status GgufCursor::CheckCount(const std::string& place, uint64_t count,
                              uint64_t least_bytes) const {
  if (count <= Left() / least_bytes) return Status::Ok();
  return Fault(place, "want at most " + std::to_string(Left() / least_bytes) +
                          " in what is left of the file, found " + std::to_string(count));
}

Status GgufCursor::TakeKind(const std::string& place, GgufKind* kind) {
  uint32_t number = 0;
  RETURN_IF_ERROR(Take(place, &number));
  if (number > static_cast<uint32_t>(GgufKind::kF64)) {
    return Fault(place, "want a kind of value from 0 to 12, found " + std::to_string(number));
  }
  *kind = static_cast<GgufKind>(number);
  return Status::Ok();
}

template <class T>
Status GgufCursor::TakeInteger(const std::string& place, GgufValue* value) {
  T number = 0;
  RETURN_IF_ERROR(Take(place, &number));
  value->value = static_cast<int64_t>(number);
  return Status::Ok();
}

template <class T>
Status GgufCursor::TakeFloat(const std::string& place, GgufValue* value) {
  T number = 0;
  RETURN_IF_ERROR(Take(place, &number));
  value->value = static_cast<double>(number);
  return Status::Ok();
}

Status GgufCursor::TakeScalar(const std::string& place, GgufValue* value) {
  switch (value->kind) {
    case GgufKind::kU8:
      return TakeInteger<uint8_t>(place, value);
    case GgufKind::kI8:
      return TakeInteger<int8_t>(place, value);
    case GgufKind::kU16:
      return TakeInteger<uint16_t>(place, value);
    case GgufKind::kI16:
      return TakeInteger<int16_t>(place, value);
    case GgufKind::kU32:
      return TakeInteger<uint32_t>(place, value);
    case GgufKind::kI32:
      return TakeInteger<int32_t>(place, value);
    case GgufKind::kI64:
      return TakeInteger<int64_t>(place, value);
    case GgufKind::kF32:
      return TakeFloat<float>(place, value);
    case GgufKind::kF64:
      return TakeFloat<double>(place, value);
    case GgufKind::kU64: {
      uint64_t number = 0;
      RETURN_IF_ERROR(Take(place, &number));
      value->value = number;
      return Status::Ok();
    }
    case GgufKind::kBool: {
      uint8_t byte = 0;
      RETURN_IF_ERROR(Take(place, &byte));
      if (byte > 1) return Fault(place, "want a boolean, 0 or 1, found " + std::to_string(byte));
      value->value = byte == 1;
      return Status::Ok();
    }
    case GgufKind::kString: {
      std::string_view text;
      RETURN_IF_ERROR(TakeString(place, kMaxGgufInt, &text));
      value->value = text;
      return Status::Ok();
    }
    case GgufKind::kArray:
      break;
  }
  ONEPASS_CHECK(false, "not a scalar");
}

Status GgufCursor::TakeArray(const std::string& place, GgufArray* array) {
  RETURN_IF_ERROR(TakeKind(place, &array->kind));
  if (array->kind == GgufKind::kArray) {
    return Unsupported("gguf: " + place +
                       ": want a list of numbers or strings, found a list of lists (" + *name_ +
                       ")");
  }
  uint64_t count = 0;
  RETURN_IF_ERROR(Take(place, &count));
  const uint64_t size = SizeOfKind(array->kind);
  RETURN_IF_ERROR(CheckCount(place, count, size == 0 ? sizeof(uint64_t) : size));
  array->count = static_cast<int64_t>(count);
  if (array->kind == GgufKind::kString) {
    array->strings.reserve(count);
    for (uint64_t i = 0; i < count; ++i) {
      std::string_view text;
      RETURN_IF_ERROR(TakeString(place, kMaxGgufInt, &text));
      array->strings.push_back(text);
    }
    return Status::Ok();
  }
  array->bytes = bytes_.subspan(at_, count * size);
  at_ += count * size;
  if (array->kind == GgufKind::kBool) {
    for (const std::byte b : array->bytes) {
      if (std::to_integer<int>(b) > 1) {
        return Fault(place,
                     "want booleans, 0 or 1, found " + std::to_string(std::to_integer<int>(b)));
      }
    }
  }
  return Status::Ok();
}

Status GgufCursor::TakeValue(const std::string& place, GgufValue* value) {
  RETURN_IF_ERROR(TakeKind(place, &value->kind));
  if (value->kind != GgufKind::kArray) return TakeScalar(place, value);
  GgufArray array;
  RETURN_IF_ERROR(TakeArray(place, &array));
  value->value = std::move(array);
  return Status::Ok();
}

}  // namespace onepass
