// Where the characters of UTF-8 text are (Unicode 15, table 3-7: no surrogates, no overlong forms).
// Not their meaning: tokenizer/unicode.h knows classes and normal forms. Pure; thread-safe.
#pragma once

#include <cstddef>
#include <string_view>

namespace onepass {

// What stands at the front of a text.
struct Utf8Part {
  size_t length = 0;      // bytes of a character, or of the ill-formed start of one; at least 1
  bool complete = false;  // a whole character
  bool open = false;      // the text ended before the character could be completed
};
// REQUIRES: text is not empty.
Utf8Part FirstUtf8Part(std::string_view text);

// Whether `text` is well-formed UTF-8.
bool IsUtf8(std::string_view text);

// REQUIRES: text is well-formed UTF-8.
size_t CharacterCount(std::string_view text);

// The longest prefix of at most `size` bytes that does not split a character, in bytes.
// REQUIRES: text is well-formed UTF-8.
size_t CharacterBorder(std::string_view text, size_t size);

}  // namespace onepass
