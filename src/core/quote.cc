#include "core/quote.h"

#include <cstdint>

namespace onepass {
namespace {

void AppendEscaped(char c, std::string& out) {
  constexpr char kDigits[] = "0123456789abcdef";
  const uint8_t byte = static_cast<uint8_t>(c);
  out += "\\x";
  out += kDigits[byte >> 4];
  out += kDigits[byte & 15];
}

}  // namespace

std::string Quote(std::string_view text, size_t max_bytes) {
  std::string out = "\"";
  size_t at = 0;
  while (at < text.size()) {
    const Utf8Part part = FirstUtf8Part(text.substr(at));
    const size_t length = part.complete ? part.length : 1;
    if (at + length > max_bytes) {
      out += "...";
      break;
    }
    const char c = text[at];
    if (c == '\n') {
      out += "\\n";
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (!part.complete || static_cast<uint8_t>(c) < 0x20 || c == 0x7f) {
      AppendEscaped(c, out);
    } else {
      out += text.substr(at, length);
    }
    at += length;
  }
  return out + "\"";
}

}  // namespace onepass
