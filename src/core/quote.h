// How text from outside appears in a one-line message, and whether it is UTF-8 at all.
#pragma once

#include <string>
#include <string_view>

namespace onepass {

// Whether `text` is well-formed UTF-8 (no surrogates, no overlong forms).
bool IsUtf8(std::string_view text);

// `text` between double quotes: control characters, quotes and malformed bytes are escaped, and a
// text of more than max_bytes is cut with "...". Always one line of valid UTF-8.
std::string Quote(std::string_view text, size_t max_bytes = 80);

}  // namespace onepass
