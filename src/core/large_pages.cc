#include "core/large_pages.h"

#include <sys/mman.h>

#include "core/check.h"

namespace onepass {

LargePages AllocateLargePages(int64_t bytes) {
  const int64_t pages = (bytes + kLargePageBytes - 1) / kLargePageBytes;
  const auto size = static_cast<size_t>(pages * kLargePageBytes);
  LargePages memory(static_cast<std::byte*>(std::aligned_alloc(kLargePageBytes, size)));
  if (memory == nullptr) EndOutOfMemory(bytes);
  // A wish: without large pages everything works as well.
  (void)::madvise(memory.get(), size, MADV_HUGEPAGE);
  return memory;
}

}  // namespace onepass
