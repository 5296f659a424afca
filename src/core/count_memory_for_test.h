// Counts the memory that a test program takes: every new and every Buffer. Defines the operators,
// so only one file of a program may include it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace onepass {

// What was taken so far, by all threads; what was given back is not taken off.
inline std::atomic<int64_t> allocations{0};
inline std::atomic<int64_t> allocated_bytes{0};

inline void* CountedMemory(std::size_t alignment, std::size_t size) {
  ++allocations;
  allocated_bytes += static_cast<int64_t>(size);
  void* memory = nullptr;
  const int fault = posix_memalign(&memory, std::max(alignment, sizeof(void*)), size);
  return fault == 0 ? memory : nullptr;
}

inline void* CountedMemoryOrThrow(std::size_t alignment, std::size_t size) {
  if (void* memory = CountedMemory(alignment, size)) return memory;
  throw std::bad_alloc();
}

}  // namespace onepass

extern "C" void* aligned_alloc(std::size_t alignment, std::size_t size) {
  return onepass::CountedMemory(alignment, size);
}
void* operator new(std::size_t size) {
  return onepass::CountedMemoryOrThrow(alignof(std::max_align_t), size);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return onepass::CountedMemoryOrThrow(static_cast<std::size_t>(alignment), size);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
