// How text from outside appears in a one-line message.
#pragma once

#include <string>
#include <string_view>

#include "core/utf8.h"

namespace onepass {

// `text` between double quotes: control characters, quotes and malformed bytes are escaped, and a
// text of more than max_bytes is cut with "...". Always one line of valid UTF-8.
std::string Quote(std::string_view text, size_t max_bytes = 80);

}  // namespace onepass
