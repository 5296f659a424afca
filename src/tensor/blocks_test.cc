// What the reference package of the format reads from random blocks: tests/golden/gguf/blocks.txt,
// made by tools/make_goldens_gguf.py. A line a type: name, elements, the blocks in hex, the values'
// bits in hex.
#include "tensor/blocks.h"

#include <gtest/gtest.h>

#include <bit>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

namespace onepass {
namespace {

std::vector<std::byte> FromHex(const std::string& hex) {
  std::vector<std::byte> bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

const BlockFormat* FormatNamed(const std::string& name) {
  for (uint32_t type = 0; type < 64; ++type) {
    const BlockFormat* format = FindBlockFormat(type);
    if (format != nullptr && format->name == name) return format;
  }
  return nullptr;
}

TEST(Blocks, ValuesAreThoseOfTheReferenceBitForBit) {
  std::ifstream lines(ONEPASS_SOURCE_DIR "/tests/golden/gguf/blocks.txt");
  std::set<std::string> seen;
  std::string name, blocks_hex, values_hex;
  size_t count = 0;
  while (lines >> name >> count >> blocks_hex >> values_hex) {
    SCOPED_TRACE(name);
    const BlockFormat* format = FormatNamed(name);
    ASSERT_NE(format, nullptr);
    ASSERT_TRUE(CanDequantise(format->type));
    const std::vector<std::byte> blocks = FromHex(blocks_hex);
    std::vector<float> values(count);
    Dequantise(format->type, blocks, values);
    ASSERT_EQ(values_hex.size(), 8 * count);
    for (size_t i = 0; i < count; ++i) {
      const auto want = static_cast<uint32_t>(std::stoul(values_hex.substr(8 * i, 8), nullptr, 16));
      ASSERT_EQ(std::bit_cast<uint32_t>(values[i]), want) << "element " << i;
    }
    seen.insert(name);
  }
  EXPECT_EQ(seen, (std::set<std::string>{"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K"}));
}

TEST(Blocks, EverySizeIsThatOfTheReference) {
  std::ifstream lines(ONEPASS_SOURCE_DIR "/tests/golden/gguf/types.txt");
  uint32_t type = 0;
  std::string name;
  int64_t elements = 0, bytes = 0;
  int known = 0;
  while (lines >> type >> name >> elements >> bytes) {
    const BlockFormat* format = FindBlockFormat(type);
    if (format == nullptr) continue;  // newer than ours
    ++known;
    EXPECT_EQ(format->name, name);
    EXPECT_EQ(format->elements, elements) << name;
    EXPECT_EQ(format->bytes, bytes) << name;
  }
  int ours = 0;
  for (uint32_t number = 0; number < 64; ++number) ours += FindBlockFormat(number) != nullptr;
  EXPECT_EQ(known, ours);
  EXPECT_GE(known, 30);
}

// By hand: one Q8_0 block of scale 0.5 and one Q4_0 block of scale -2.
TEST(Blocks, SmallBlocksByHand) {
  std::vector<std::byte> q8(34);
  q8[1] = std::byte(0x38);  // 0.5
  q8[2] = std::byte(0xff);
  q8[33] = std::byte(100);
  std::vector<float> values(32);
  Dequantise(BlockType::kQ8_0, q8, values);
  EXPECT_EQ(values[0], -0.5f);
  EXPECT_EQ(values[1], 0.0f);
  EXPECT_EQ(values[31], 50.0f);
  std::vector<std::byte> q4(18, std::byte(0x88));
  q4[0] = std::byte(0);
  q4[1] = std::byte(0xc0);  // -2
  q4[2] = std::byte(0x9f);  // element 0: 15 - 8, element 16: 9 - 8
  Dequantise(BlockType::kQ4_0, q4, values);
  EXPECT_EQ(values[0], -14.0f);
  EXPECT_EQ(values[16], -2.0f);
  EXPECT_EQ(values[1], 0.0f);
}

}  // namespace
}  // namespace onepass
