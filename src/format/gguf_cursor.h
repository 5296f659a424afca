// Walks the bytes of a GGUF file from front to back and takes typed pieces off them, each checked
// against what is left. Knows how single values look, not what stands where.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "core/status.h"
#include "format/gguf.h"

namespace onepass {

// Extents, and lengths of strings, are at most this.
inline constexpr uint64_t kMaxGgufInt = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());

// `place` says in messages where a piece stands. After a fault the position is of no use.
// Borrows bytes and name. Thread-compatible; cheap to copy.
class GgufCursor {
 public:
  GgufCursor(std::span<const std::byte> bytes, const std::string& name)
      : bytes_(bytes), name_(&name) {}

  uint64_t at() const { return at_; }
  uint64_t Left() const { return bytes_.size() - at_; }
  // REQUIRES: as many are left.
  void Skip(uint64_t bytes) { at_ += bytes; }

  // A number.
  template <class T>
  Status Take(const std::string& place, T* out) {
    if (Left() < sizeof(T)) return CutOff(place, std::to_string(sizeof(T)) + " bytes");
    std::memcpy(out, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return Status::Ok();
  }
  Status TakeString(const std::string& place, uint64_t max_bytes, std::string_view* out);
  // The name of a value or a tensor: not empty, UTF-8.
  Status TakeName(const std::string& place, uint64_t max_bytes, std::string_view* out);
  // Kind and value.
  Status TakeValue(const std::string& place, GgufValue* value);

  // Whether so many things can be there that take at least so many bytes each.
  Status CheckCount(const std::string& place, uint64_t count, uint64_t least_bytes) const;

  // `gguf: text (file)`, `gguf: place: text (file)`
  Status Fault(const std::string& text) const;
  Status Fault(const std::string& place, const std::string& text) const;

 private:
  Status CutOff(const std::string& place, const std::string& wanted) const;
  Status TakeKind(const std::string& place, GgufKind* kind);
  Status TakeScalar(const std::string& place, GgufValue* value);
  Status TakeArray(const std::string& place, GgufArray* array);
  template <class T>
  Status TakeInteger(const std::string& place, GgufValue* value);
  template <class T>
  Status TakeFloat(const std::string& place, GgufValue* value);

  std::span<const std::byte> bytes_;
  const std::string* name_;
  uint64_t at_ = 0;
};

}  // namespace onepass
