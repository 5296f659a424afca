#include "kv/layout.h"

#include <string>

#include "core/check.h"
#include "core/quote.h"

namespace onepass {

Result<DType> ParseKvType(std::string_view name) {
  std::string names;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
    if (KvTypeName(dtype) == name) return dtype;
    names += (names.empty() ? "" : ", ") + std::string(KvTypeName(dtype));
  }
  return InvalidArgument("kv: want one of " + names + ", found " + Quote(name));
}

Status CheckKvType(DType dtype) {
  if (dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kI8) return Status::Ok();
  return InvalidArgument("kv: want f32, bf16 or int8, found " + std::string(NameOf(dtype)));
}

std::string_view KvTypeName(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return "f64";
    case DType::kF32:
      return "f32";
    case DType::kBF16:
      return "bf16";
    case DType::kI8:
      return "int8";
    default:
      ONEPASS_CHECK(false, "KV is never stored in this type");
  }
}

}  // namespace onepass
