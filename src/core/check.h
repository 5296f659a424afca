// ONEPASS_CHECK: stops the program when one of our own invariants is broken. Never for outside input.
#pragma once

#include <string_view>

namespace onepass {

// Prints place and message to stderr and aborts.
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition,
                              std::string_view message);

}  // namespace onepass

#define ONEPASS_CHECK(condition, message)                              \
  do {                                                                 \
    if (!(condition)) {                                                \
      ::onepass::CheckFailed(__FILE__, __LINE__, #condition, message); \
    }                                                                  \
  } while (false)
