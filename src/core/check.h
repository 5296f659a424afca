// ONEPASS_CHECK: stops the program when one of our own invariants is broken. Never for outside
// input. EndOutOfMemory: what ends it where there is no memory.
#pragma once

#include <cstdint>
#include <string_view>

namespace onepass {

// Prints place and message to stderr and aborts.
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition,
                              std::string_view message);

// Prints "onepass: out of memory: wanted N more bytes" to stderr (0: the number is not known) and
// exits with 1, as after any fault from outside. Nothing is cleaned up: what was being written is
// no file yet (AtomicFileWriter). Thread-safe.
[[noreturn]] void EndOutOfMemory(int64_t wanted_bytes);

}  // namespace onepass

#define ONEPASS_CHECK(condition, message)                              \
  do {                                                                 \
    if (!(condition)) {                                                \
      ::onepass::CheckFailed(__FILE__, __LINE__, #condition, message); \
    }                                                                  \
  } while (false)
