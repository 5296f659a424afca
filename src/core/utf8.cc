#include "core/utf8.h"

#include <algorithm>
#include <cstdint>

namespace onepass {
namespace {

// What a lead byte promises: the length, and the range of its second byte.
struct Lead {
  size_t length = 0;  // 0: cannot start a character
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
};

Lead LeadOf(uint8_t byte) {
  if (byte < 0x80) return {1};
  if (byte < 0xC2) return {0};
  if (byte < 0xE0) return {2};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};  // overlong
  if (byte == 0xED) return {3, 0x80, 0x9F};  // surrogates
  if (byte < 0xF0) return {3};
  if (byte == 0xF0) return {4, 0x90, 0xBF};  // overlong
  if (byte < 0xF4) return {4};
  if (byte == 0xF4) return {4, 0x80, 0x8F};  // above U+10FFFF
  return {0};
}

}  // namespace

Utf8Part FirstUtf8Part(std::string_view text) {
  const Lead lead = LeadOf(static_cast<uint8_t>(text[0]));
  if (lead.length == 0) return {.length = 1};
  for (size_t i = 1; i < lead.length; ++i) {
    if (i >= text.size()) return {.length = i, .open = true};
    const auto byte = static_cast<uint8_t>(text[i]);
    const uint8_t low = i == 1 ? lead.low : 0x80;
    const uint8_t high = i == 1 ? lead.high : 0xBF;
    if (byte < low || byte > high) return {.length = i};
  }
  return {.length = lead.length, .complete = true};
}

bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const Utf8Part part = FirstUtf8Part(text);
    if (!part.complete) return false;
    text.remove_prefix(part.length);
  }
  return true;
}

size_t CharacterCount(std::string_view text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](unsigned char byte) { return (byte & 0xC0) != 0x80; }));
}

size_t CharacterBorder(std::string_view text, size_t size) {
  size = std::min(size, text.size());
  while (size > 0 && size < text.size() && (static_cast<uint8_t>(text[size]) & 0xC0) == 0x80) {
    --size;
  }
  return size;
}

}  // namespace onepass
