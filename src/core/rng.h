// A small deterministic random generator: xoshiro256** seeded through SplitMix64.
// Not for cryptography. No std:: distribution is used anywhere, so a seed gives the same numbers on
// every platform and compiler. Thread-compatible; copying is cheap and copies the whole state.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

namespace onepass {

// One step of SplitMix64: advances `state` and returns a well mixed word.
inline uint64_t SplitMix64(uint64_t& state) {
  state += 0x9e3779b97f4a7c15ULL;
  uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

class Rng {
 public:
  explicit Rng(uint64_t seed) {
    for (uint64_t& word : words_) word = SplitMix64(seed);
  }

  // A uniform 64-bit word.
  uint64_t Next() {
    std::array<uint64_t, 4>& s = words_;
    const uint64_t result = RotateLeft(s[1] * 5, 7) * 9;
    const uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = RotateLeft(s[3], 45);
    return result;
  }

  // Uniform in [0, n), without bias. REQUIRES: n > 0.
  uint64_t Uniform(uint64_t n) {
    const uint64_t reject_below = (0 - n) % n;  // 2^64 mod n
    uint64_t word = Next();
    while (word < reject_below) word = Next();
    return word % n;
  }

  // Uniform in [low, high], both included. REQUIRES: low <= high.
  int64_t UniformInt(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(Uniform(static_cast<uint64_t>(high - low) + 1));
  }

  // Uniform in [0, 1), with 53 random bits.
  double UniformDouble() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }

  // True with this probability.
  bool Chance(double probability) { return UniformDouble() < probability; }

  // Normal with mean 0 and variance 1 (polar method of Marsaglia).
  double Normal();

  // Fisher-Yates.
  template <typename T>
  void Shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[Uniform(i)]);
  }

  // A uniform element. REQUIRES: not empty.
  template <typename Container>
  const auto& Pick(const Container& items) {
    return *(std::begin(items) + static_cast<std::ptrdiff_t>(Uniform(std::size(items))));
  }

  // An independent generator for a numbered stream; does not advance this one.
  Rng Fork(uint64_t stream) const {
    uint64_t seed = words_[0] ^ RotateLeft(words_[2], 23);
    const uint64_t mixed = SplitMix64(seed);
    uint64_t stream_seed = stream ^ 0xd1b54a32d192ed03ULL;
    return Rng(mixed ^ SplitMix64(stream_seed));
  }

 private:
  static uint64_t RotateLeft(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

  std::array<uint64_t, 4> words_{};
  // Normal() makes values in pairs; the second one waits here.
  double spare_ = 0;
  bool has_spare_ = false;
};

inline double Rng::Normal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  double u;
  double v;
  double radius;
  do {
    u = 2 * UniformDouble() - 1;
    v = 2 * UniformDouble() - 1;
    radius = u * u + v * v;
  } while (radius >= 1 || radius == 0);
  const double scale = std::sqrt(-2 * std::log(radius) / radius);
  spare_ = v * scale;
  has_spare_ = true;
  return u * scale;
}

}  // namespace onepass
