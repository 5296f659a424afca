// GGUF files, versions 2 and 3, little-endian: hostile bytes become typed metadata and named block
// tensors over a mapped file. Layout and limits: docs/formats/gguf.md. Knows no model: what keys
// and tensors must be there is their reader's matter.
//
// Checked at opening: counts and sizes against the bytes that are there, products without overflow,
// known types, UTF-8 names that stand once, strings, lists that hold no lists, the alignment (a
// power of two), and that every tensor begins aligned, lies inside the file and shares no byte with
// another one.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/file.h"
#include "core/status.h"
#include "tensor/blocks.h"

namespace onepass {

// Kinds of metadata values, with their numbers in files.
enum class GgufKind : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};
// "a 32-bit float", "a list"
std::string_view NameOf(GgufKind kind);

// A list of one kind, which is never kArray. Borrows from the file.
struct GgufArray {
  GgufKind kind = GgufKind::kU8;
  int64_t count = 0;
  std::span<const std::byte> bytes;       // the elements of a list of numbers, not aligned
  std::vector<std::string_view> strings;  // the elements of a list of strings

  // REQUIRES: a whole-number kind, index < count. The value of a kU64 is cut to 63 bits.
  int64_t Integer(int64_t index) const;
  // REQUIRES: kF32 or kF64, index < count.
  double Number(int64_t index) const;
};

// A value; strings and lists borrow from the file. Whole numbers up to 32 bits and I64 are int64_t.
struct GgufValue {
  GgufKind kind = GgufKind::kU8;
  std::variant<int64_t, uint64_t, double, bool, std::string_view, GgufArray> value;
};

// Immutable; thread-safe. What it gives borrows from the mapping, which this keeps alive.
class GgufFile {
 public:
  static Result<std::shared_ptr<const GgufFile>> Open(const std::string& path);
  // Checks `bytes` (borrowed) as a file called `name`; for tests and fuzzing.
  static Result<std::shared_ptr<const GgufFile>> Parse(std::span<const std::byte> bytes,
                                                       const std::string& name);
  // Whether bytes begin as a GGUF file does.
  static bool HasMagic(std::span<const std::byte> bytes);

  // Shapes as this program has them: the file's dimensions in reverse, columns last.
  const std::map<std::string, BlockTensor>& tensors() const { return tensors_; }
  const std::map<std::string, GgufValue, std::less<>>& metadata() const { return metadata_; }
  uint32_t version() const { return version_; }
  int64_t alignment() const { return alignment_; }
  const std::string& name() const { return name_; }

  // Typed look-ups. A key that is absent gives nothing; one of another kind or out of range is an
  // error that names key and file.
  Result<std::optional<int64_t>> Integer(std::string_view key, int64_t low, int64_t high) const;
  // A 32-bit float is taken as the shortest decimal that names it, since that is what was meant:
  // 1e-05 and not 9.99999974e-06.
  Result<std::optional<double>> Number(std::string_view key) const;
  Result<std::optional<bool>> Bool(std::string_view key) const;
  Result<std::optional<std::string_view>> Text(std::string_view key) const;
  // A list whose kind is one of `kinds`; null if absent. The file owns it.
  Result<const GgufArray*> Array(std::string_view key, std::span<const GgufKind> kinds) const;

  // `gguf: "key": want ..., found ... (file)`; for absent keys the found is "nothing".
  Status Want(std::string_view key, const std::string& wanted) const;
  // The same as kUnsupported.
  Status WantSupported(std::string_view key, const std::string& wanted) const;

 private:
  friend class GgufReader;
  GgufFile() = default;
  std::string Message(std::string_view key, const std::string& wanted) const;

  std::string name_;
  std::shared_ptr<const MappedFile> file_;  // null for Parse
  uint32_t version_ = 0;
  int64_t alignment_ = 0;
  std::map<std::string, BlockTensor> tensors_;
  std::map<std::string, GgufValue, std::less<>> metadata_;
};

}  // namespace onepass
