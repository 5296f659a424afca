// The byte-level alphabet of GPT-2: every byte is written as one printable character, so that a
// vocabulary of text can hold any bytes. Pure functions; thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace onepass {

// The character that stands for a byte.
std::string_view ByteLevelChar(uint8_t byte);

// The byte that a character stands for, if it is one of the 256.
std::optional<uint8_t> ByteLevelByte(uint32_t code_point);

// Every byte of `bytes` as its character.
void AppendByteLevel(std::string_view bytes, std::string* out);

// The bytes that a token's characters stand for; the token's own bytes if any character is none of
// the 256.
void AppendByteLevelBytes(std::string_view token, std::string* out);

}  // namespace onepass
