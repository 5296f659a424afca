#include "core/utf8.h"

#include <gtest/gtest.h>

#include <string>

#include "core/quote.h"

namespace onepass {
namespace {

TEST(Utf8, IsUtf8FollowsTheStandard) {
  for (const char* good : {"", "a", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf",
                           "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(IsUtf8(good)) << Quote(good);
  }
  for (const char* bad :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x41", "\xe0\x9f\xbf", "\xed\xa0\x80",
        "\xe1\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "a\xff"}) {
    EXPECT_FALSE(IsUtf8(bad)) << Quote(bad);
  }
}

TEST(Utf8, AnIllFormedPartEndsBeforeTheFirstByteThatDoesNotBelong) {
  const auto check = [](std::string_view text, size_t length, bool open) {
    const Utf8Part part = FirstUtf8Part(text);
    EXPECT_FALSE(part.complete) << Quote(text);
    EXPECT_EQ(part.length, length) << Quote(text);
    EXPECT_EQ(part.open, open) << Quote(text);
  };
  check("\xf0\x9f\x98", 3, true);
  check("\xf0\x9f\x98x", 3, false);
  check("\xe0\x80\x80", 1, false);
  check("\x80\x80", 1, false);
}

TEST(Utf8, CharacterCountCountsNoBytes) {
  EXPECT_EQ(CharacterCount(""), 0);
  EXPECT_EQ(CharacterCount("a\xe2\x82\xac!\xf0\x9f\x98\x80"), 4);
}

TEST(Utf8, ACharacterBorderNeverSplitsACharacter) {
  const std::string text = "a\xe2\x82\xac!";
  for (const auto& [size, border] :
       {std::pair<size_t, size_t>{0, 0}, {1, 1}, {2, 1}, {3, 1}, {4, 4}, {5, 5}, {9, 5}}) {
    EXPECT_EQ(CharacterBorder(text, size), border) << size;
  }
}

}  // namespace
}  // namespace onepass
