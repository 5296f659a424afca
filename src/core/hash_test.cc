#include "core/hash.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace onepass {
namespace {

TEST(Hash, ValuesNeverChange) {
  // Fingerprints in shipped prompts depend on these.
  EXPECT_EQ(HexDigits(HashText("")), "c1e21e7f4002966a");
  EXPECT_EQ(HexDigits(HashText("onepass")), "5d8178fd02035c77");
  EXPECT_EQ(HexDigits(HashText(std::string(1000, 'a'), 7)), "0ed50fe286334f05");
}

TEST(Hash, EveryByteLengthAndSeedCounts) {
  std::set<uint64_t> seen;
  std::vector<std::byte> bytes(100);
  for (size_t size = 0; size <= bytes.size(); ++size) {
    EXPECT_TRUE(seen.insert(HashBytes(std::span(bytes).first(size))).second) << size;
  }
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      bytes[i] = std::byte(1 << bit);
      EXPECT_TRUE(seen.insert(HashBytes(bytes)).second) << i;
    }
    bytes[i] = std::byte(0);
  }
  for (uint64_t seed = 1; seed < 100; ++seed) {
    EXPECT_TRUE(seen.insert(HashBytes(bytes, seed)).second) << seed;
  }
}

TEST(Hash, SwappedWordsDiffer) {
  const std::vector<uint64_t> a = {1, 2, 3, 4, 5, 6, 7, 8};
  const std::vector<uint64_t> lanes_swapped = {2, 1, 3, 4, 5, 6, 7, 8};
  const std::vector<uint64_t> rounds_swapped = {5, 6, 7, 8, 1, 2, 3, 4};
  const uint64_t hash = HashBytes(std::as_bytes(std::span(a)));
  EXPECT_NE(hash, HashBytes(std::as_bytes(std::span(lanes_swapped))));
  EXPECT_NE(hash, HashBytes(std::as_bytes(std::span(rounds_swapped))));
}

TEST(Hash, AlignmentDoesNotMatter) {
  std::vector<std::byte> bytes(64 + 8);
  for (size_t i = 0; i < 64; ++i) bytes[i] = std::byte(i);
  const uint64_t hash = HashBytes(std::span(bytes).first(64));
  for (size_t shift = 1; shift < 8; ++shift) {
    std::copy_backward(bytes.begin() + static_cast<std::ptrdiff_t>(shift) - 1,
                       bytes.begin() + 63 + static_cast<std::ptrdiff_t>(shift),
                       bytes.begin() + 64 + static_cast<std::ptrdiff_t>(shift));
    EXPECT_EQ(HashBytes(std::span(bytes).subspan(shift, 64)), hash);
  }
}

TEST(Hash, CombiningKeepsTheOrder) {
  EXPECT_NE(HashCombine(HashCombine(1, 2), 3), HashCombine(HashCombine(1, 3), 2));
}

}  // namespace
}  // namespace onepass
