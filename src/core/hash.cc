#include "core/hash.h"

#include <bit>
#include <cstring>

namespace onepass {
namespace {

static_assert(std::endian::native == std::endian::little, "words are read as they lie in memory");

constexpr uint64_t kA = 0x9e3779b97f4a7c15ULL;
constexpr uint64_t kB = 0xd6e8feb86659fd93ULL;

uint64_t Absorb(uint64_t lane, uint64_t word) { return std::rotl(lane ^ (word * kA), 31) * kB; }

uint64_t Finish(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

uint64_t Load(const std::byte* at, size_t count) {
  uint64_t word = 0;
  std::memcpy(&word, at, count);
  return word;
}

}  // namespace

uint64_t HashBytes(std::span<const std::byte> bytes, uint64_t seed) {
  uint64_t lanes[4] = {seed + kA, seed ^ kB, seed - kB, ~seed};
  const std::byte* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 32; left -= 32, at += 32) {
    for (size_t i = 0; i < 4; ++i) lanes[i] = Absorb(lanes[i], Load(at + 8 * i, 8));
  }
  for (size_t i = 0; left > 0; ++i) {
    const size_t count = left < 8 ? left : 8;
    lanes[i] = Absorb(lanes[i], Load(at, count));
    at += count;
    left -= count;
  }
  uint64_t hash = Finish(bytes.size() + seed);
  for (uint64_t lane : lanes) hash = Finish(Absorb(hash, lane));
  return hash;
}

uint64_t HashText(std::string_view text, uint64_t seed) {
  return HashBytes(std::as_bytes(std::span(text.data(), text.size())), seed);
}

uint64_t HashCombine(uint64_t hash, uint64_t value) {
  return Finish(hash * kA + value + 0x632be59bd9b4e019ULL);
}

std::string HexDigits(uint64_t value) {
  std::string text(16, '0');
  for (size_t i = 16; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  return text;
}

}  // namespace onepass
