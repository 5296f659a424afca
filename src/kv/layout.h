// The shape of KV memory. Knows no model.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/status.h"
#include "tensor/dtype.h"
#include "tensor/narrow_row.h"

namespace onepass {

// A page holds page_tokens tokens of all layers: [L][K, V][G][page_tokens][row], so that the rows
// of one layer, one head are contiguous. A row is D elements of dtype, which of kI8 are followed by
// the row's scale (tensor/narrow_row.h). F32, or F64 in the oracle; what only reads and writes KV,
// without a gradient, may store it in BF16 or I8.
struct KvLayout {
  int64_t layers = 0;    // L
  int64_t kv_heads = 0;  // G
  int64_t head_dim = 0;  // D
  int64_t page_tokens = 32;
  DType dtype = DType::kF32;

  int64_t RowElements() const { return StoredElements(dtype, head_dim); }
  int64_t RowBytes() const { return RowElements() * SizeOf(dtype); }
  int64_t HeadStride() const { return page_tokens * RowElements(); }  // elements between heads
  int64_t PlaneElements() const { return kv_heads * HeadStride(); }   // K or V of one layer
  int64_t PageElements() const { return layers * 2 * PlaneElements(); }
  int64_t PlaneBytes() const { return PlaneElements() * SizeOf(dtype); }
  int64_t PageBytes() const { return PageElements() * SizeOf(dtype); }
  int64_t TokenBytes() const { return PageBytes() / page_tokens; }
  friend bool operator==(const KvLayout&, const KvLayout&) = default;
};

// "f32", "bf16" or "int8": how a user says in what KV is stored.
Result<DType> ParseKvType(std::string_view name);
// The reverse; also "f64".
std::string_view KvTypeName(DType dtype);
// kInvalidArgument: what a user cannot choose.
Status CheckKvType(DType dtype);

}  // namespace onepass
