// Writes one object as a line of JSON, its keys in the order in which they are added.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace onepass {

// The text as a JSON string, in quotes.
std::string JsonString(std::string_view text);

// Thread-compatible.
class JsonLine {
 public:
  JsonLine& Add(std::string_view key, std::string_view text);
  JsonLine& Add(std::string_view key, const std::vector<std::string>& texts);
  JsonLine& Add(std::string_view key, int64_t number);
  // The value as it is. REQUIRES: JSON.
  JsonLine& AddJson(std::string_view key, std::string_view json);

  // Without the newline.
  std::string Text() const { return '{' + members_ + '}'; }

 private:
  std::string members_;
};

}  // namespace onepass
