// Fast 64-bit hashes of bytes and of numbers, to tell contents apart. Not for cryptography: who
// wants two contents of one hash can make them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace onepass {

// The hash of `bytes`, chained after `seed`. Four lanes of 8-byte little-endian words, each
//   lane = rotate(lane xor (word * A), 31) * B
// folded with the length and finished as SplitMix64 does. The value is part of file formats
// (fingerprints): it never changes. About as fast as memory can be read.
uint64_t HashBytes(std::span<const std::byte> bytes, uint64_t seed = 0);
uint64_t HashText(std::string_view text, uint64_t seed = 0);

// Mixes one more number into a hash of numbers; order matters.
uint64_t HashCombine(uint64_t hash, uint64_t value);

// 16 lower-case hex digits.
std::string HexDigits(uint64_t value);

}  // namespace onepass
