#include "core/check.h"

#include <cstdio>
#include <cstdlib>

namespace onepass {

void CheckFailed(const char* file, int line, const char* condition, std::string_view message) {
  std::fprintf(stderr, "%s:%d: CHECK(%s) failed: %.*s\n", file, line, condition,
               static_cast<int>(message.size()), message.data());
  std::abort();
}

void EndOutOfMemory(int64_t wanted_bytes) {
  if (wanted_bytes > 0) {
    std::fprintf(stderr, "onepass: out of memory: wanted %lld more bytes\n",
                 static_cast<long long>(wanted_bytes));
  } else {
    std::fputs("onepass: out of memory\n", stderr);
  }
  std::_Exit(1);
}

}  // namespace onepass
