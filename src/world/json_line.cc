#include "world/json_line.h"

namespace onepass {

std::string JsonString(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += "\\u00";
      out += kHex[static_cast<unsigned char>(c) >> 4];
      out += kHex[static_cast<unsigned char>(c) & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

JsonLine& JsonLine::Add(std::string_view key, std::string_view text) {
  return AddJson(key, JsonString(text));
}

JsonLine& JsonLine::Add(std::string_view key, const std::vector<std::string>& texts) {
  std::string list = "[";
  for (const std::string& text : texts) list += (list.size() == 1 ? "" : ", ") + JsonString(text);
  return AddJson(key, list + ']');
}

JsonLine& JsonLine::Add(std::string_view key, int64_t number) {
  return AddJson(key, std::to_string(number));
}

JsonLine& JsonLine::AddJson(std::string_view key, std::string_view json) {
  members_.append(members_.empty() ? "" : ", ").append(JsonString(key)).append(": ").append(json);
  return *this;
}

}  // namespace onepass
