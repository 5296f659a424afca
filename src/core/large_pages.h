// Memory for what a decode step streams through, weights and KV: with pages of 4 KB a good part of
// its time goes into finding the pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace onepass {

struct FreeMemory {
  void operator()(std::byte* memory) const { std::free(memory); }
};
using LargePages = std::unique_ptr<std::byte, FreeMemory>;

constexpr int64_t kLargePageBytes = int64_t{2} << 20;

// `bytes`, rounded up to whole large pages, aligned to one and not initialised, in large pages
// where the system has them. What is never touched costs no memory. Ends the program where there is
// none, as Buffer does. Thread-safe.
LargePages AllocateLargePages(int64_t bytes);

}  // namespace onepass
