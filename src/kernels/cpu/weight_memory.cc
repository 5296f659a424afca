#include "kernels/cpu/weight_memory.h"

#include <algorithm>
#include <cstring>

#include "core/large_pages.h"
#include "kernels/cpu/blocking.h"

namespace onepass {
namespace {

// What is not used of a chunk's end is never touched, and so costs no memory.
constexpr int64_t kChunk = 32 * kLargePageBytes;

}  // namespace

std::byte* WeightMemory::Find(int64_t bytes) {
  bytes = RoundUp(std::max<int64_t>(bytes, 1), 64);
  if (chunk_ == nullptr || chunk_bytes_ - used_ < bytes) {
    chunk_bytes_ = std::max(bytes, kChunk);
    chunk_ = AllocateLargePages(chunk_bytes_);
    used_ = 0;
  }
  std::byte* piece = chunk_.get() + used_;
  used_ += bytes;
  std::memset(piece, 0, static_cast<size_t>(bytes));
  return piece;
}

}  // namespace onepass
