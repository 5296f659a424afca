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

}  // namespace
}  // namespace onepass
