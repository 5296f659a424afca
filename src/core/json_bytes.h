// What a JSON parser lets pass before it sees a value. The library's parser skips a byte order
// mark, which JSON does not have, and takes a zero byte for the end of the text, whatever follows.
#pragma once

#include <string_view>

#include "core/status.h"

namespace onepass {

// kInvalidArgument: "byte 3: a zero byte". To be asked before every parse of bytes from outside.
Status CheckJsonBytes(std::string_view text);

}  // namespace onepass
