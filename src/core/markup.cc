#include "core/markup.h"

#include "core/utf8.h"

namespace onepass {

std::string EscapeMarkup(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const Utf8Part part = FirstUtf8Part(text);
    const std::string_view bytes = text.substr(0, part.length);
    text.remove_prefix(part.length);
    const char first = bytes[0];
    if (first == '<') {
      out += "&lt;";
    } else if (first == '>') {
      out += "&gt;";
    } else if (first == '&') {
      out += "&amp;";
    } else if (first == '"') {
      out += "&quot;";
    } else if (!part.complete || static_cast<unsigned char>(first) < 0x20 ||
               bytes == "\xEF\xBF\xBE" || bytes == "\xEF\xBF\xBF") {
      out += '?';
    } else {
      out += bytes;
    }
  }
  return out;
}

}  // namespace onepass
