// Code points, their classes and their normal forms: the little of Unicode that tokenizers need.
// Not a text library. Pure functions; thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace onepass {

inline constexpr uint32_t kReplacementCodePoint = 0xFFFD;
inline constexpr std::string_view kReplacementText = "\xEF\xBF\xBD";

// The code point that starts at text[*pos], and moves *pos behind it. Bytes that are not UTF-8 give
// U+FFFD, one for each maximal ill-formed part (as Python's errors="replace" counts them).
// REQUIRES: *pos < text.size().
uint32_t NextCodePoint(std::string_view text, size_t* pos);

// The length of the valid UTF-8 character that starts at text[0]; 0 if text is empty.
// REQUIRES: text is valid UTF-8.
size_t FirstCharLength(std::string_view text);

void AppendUtf8(uint32_t code_point, std::string* out);

// text with every ill-formed part replaced by U+FFFD.
std::string ReplaceInvalidUtf8(std::string_view text);

// Turns bytes that arrive in parts into text, each ill-formed part into U+FFFD, holding back a
// character that may still be completed. Thread-compatible.
class Utf8Assembler {
 public:
  void Push(std::string_view bytes, std::string* out);
  void Finish(std::string* out);

 private:
  std::string pending_;  // at most 3 bytes: the start of a character
};

bool IsWhitespace(uint32_t code_point);   // Unicode White_Space
bool IsNumeric(uint32_t code_point);      // Nd, Nl, No
bool IsPunctuation(uint32_t code_point);  // P*, and ASCII punctuation
bool IsMark(uint32_t code_point);         // Mn, Mc, Me

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

// REQUIRES: text is valid UTF-8.
std::string Normalize(std::string_view text, NormalForm form);

// The full lower case of each character by itself. REQUIRES: text is valid UTF-8.
std::string Lowercase(std::string_view text);

}  // namespace onepass
