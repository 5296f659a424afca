#include "core/quote.h"

#include <gtest/gtest.h>

namespace onepass {
namespace {

TEST(Quote, KeepsPrintableTextAndEscapesTheRest) {
  EXPECT_EQ(Quote("plain \xc3\xa9"), "\"plain \xc3\xa9\"");
  EXPECT_EQ(Quote("a\"b\\c"), R"("a\"b\\c")");
  EXPECT_EQ(Quote("line\nnext\x01\x7f"), R"("line\nnext\x01\x7f")");
  EXPECT_EQ(Quote("\xff\xc3"), R"("\xff\xc3")");
  EXPECT_EQ(Quote(std::string_view("\0", 1)), R"("\x00")");
}

TEST(Quote, CutsLongTextBetweenCharacters) {
  EXPECT_EQ(Quote("12345", 5), "\"12345\"");
  EXPECT_EQ(Quote("123456", 5), "\"12345...\"");
  EXPECT_EQ(Quote("1234\xc3\xa9", 5), "\"1234...\"");
}

TEST(Quote, IsUtf8FollowsTheStandard) {
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

}  // namespace
}  // namespace onepass
