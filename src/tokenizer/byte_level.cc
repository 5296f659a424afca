#include "tokenizer/byte_level.h"

#include <array>

#include "tokenizer/unicode.h"

namespace onepass {
namespace {

constexpr uint32_t kAlphabetEnd = 256 + 68;  // 68 bytes are not printable by themselves

struct Alphabet {
  std::array<std::string, 256> chars;
  std::array<int16_t, kAlphabetEnd> bytes;
};

const Alphabet& GetAlphabet() {
  static const Alphabet alphabet = [] {
    Alphabet a;
    a.bytes.fill(-1);
    uint32_t next = 256;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const bool printable =
          (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      const uint32_t code_point = printable ? byte : next++;
      AppendUtf8(code_point, &a.chars[byte]);
      a.bytes[code_point] = static_cast<int16_t>(byte);
    }
    return a;
  }();
  return alphabet;
}

}  // namespace

std::string_view ByteLevelChar(uint8_t byte) { return GetAlphabet().chars[byte]; }

std::optional<uint8_t> ByteLevelByte(uint32_t code_point) {
  if (code_point >= kAlphabetEnd) return std::nullopt;
  const int16_t byte = GetAlphabet().bytes[code_point];
  if (byte < 0) return std::nullopt;
  return static_cast<uint8_t>(byte);
}

void AppendByteLevel(std::string_view bytes, std::string* out) {
  const Alphabet& alphabet = GetAlphabet();
  for (const char c : bytes) out->append(alphabet.chars[static_cast<uint8_t>(c)]);
}

void AppendByteLevelBytes(std::string_view token, std::string* out) {
  const size_t start = out->size();
  size_t pos = 0;
  while (pos < token.size()) {
    const std::optional<uint8_t> byte = ByteLevelByte(NextCodePoint(token, &pos));
    if (!byte) {
      out->resize(start);
      out->append(token);
      return;
    }
    out->push_back(static_cast<char>(*byte));
  }
}

}  // namespace onepass
