#include "core/json_bytes.h"

#include <string>

namespace onepass {

Status CheckJsonBytes(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) return InvalidArgument("byte 0: a byte order mark");
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos) {
    return InvalidArgument("byte " + std::to_string(zero) + ": a zero byte");
  }
  return Status::Ok();
}

}  // namespace onepass
