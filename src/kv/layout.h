// The shape of KV memory. Knows no model.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace onepass {

// A page holds page_tokens tokens of all layers: [L][K, V][G][page_tokens][D], so that the rows of
// one layer, one head are contiguous.
struct KvLayout {
  int64_t layers = 0;    // L
  int64_t kv_heads = 0;  // G
  int64_t head_dim = 0;  // D
  int64_t page_tokens = 32;
  DType dtype = DType::kF32;

  int64_t HeadStride() const { return page_tokens * head_dim; }      // elements between heads
  int64_t PlaneElements() const { return kv_heads * HeadStride(); }  // K or V of one layer
  int64_t PageElements() const { return layers * 2 * PlaneElements(); }
  int64_t PageBytes() const { return PageElements() * SizeOf(dtype); }
  int64_t TokenBytes() const { return PageBytes() / page_tokens; }
  friend bool operator==(const KvLayout&, const KvLayout&) = default;
};

}  // namespace onepass
