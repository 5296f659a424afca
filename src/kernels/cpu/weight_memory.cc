#include "kernels/cpu/weight_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/check.h"
#include "kernels/cpu/blocking.h"

namespace onepass {
namespace {

constexpr int64_t kLargePage = int64_t{2} << 20;
// What is not used of a chunk's end is never touched, and so costs no memory.
constexpr int64_t kChunk = 32 * kLargePage;

}  // namespace

std::byte* WeightMemory::Find(int64_t bytes) {
  bytes = RoundUp(std::max<int64_t>(bytes, 1), 64);
  if (chunk_ == nullptr || chunk_bytes_ - used_ < bytes) {
    chunk_bytes_ = RoundUp(std::max(bytes, kChunk), kLargePage);
    void* memory = std::aligned_alloc(kLargePage, static_cast<size_t>(chunk_bytes_));
    if (memory == nullptr) EndOutOfMemory(chunk_bytes_);
    // A wish: without large pages everything works as well.
    (void)::madvise(memory, static_cast<size_t>(chunk_bytes_), MADV_HUGEPAGE);
    chunk_.reset(static_cast<std::byte*>(memory), std::free);
    used_ = 0;
  }
  std::byte* piece = chunk_.get() + used_;
  used_ += bytes;
  std::memset(piece, 0, static_cast<size_t>(bytes));
  return piece;
}

}  // namespace onepass
