#include "chain/cut.h"

#include <gtest/gtest.h>

#include <string>

namespace onepass {
namespace {

// Cuts to at most `room` bytes; the last prefix that was said to fit.
std::string Cut(const std::string& text, size_t room, size_t guess, int* calls = nullptr) {
  std::string kept = "none";
  const auto size = CutToFit(text, guess, [&](std::string_view prefix) -> Result<bool> {
    if (calls != nullptr) ++*calls;
    if (prefix.size() > room) return false;
    kept = prefix;
    return true;
  });
  EXPECT_TRUE(size.ok());
  EXPECT_EQ(size->has_value() ? **size : 4, kept.size());
  return kept;
}

TEST(CutToFit, FindsTheLongestPrefixWhateverTheGuess) {
  const std::string text(1000, 'x');
  for (const size_t guess : {1, 7, 99, 100, 101, 999, 5000}) {
    for (const size_t room : {0, 1, 99, 100, 998, 999}) {
      EXPECT_EQ(Cut(text, room, guess).size(), room) << "guess " << guess;
    }
  }
}

TEST(CutToFit, NeverSplitsACharacter) {
  const std::string text = "\xe2\x82\xac\xc3\xa9\xf0\x9f\x98\x80";  // of 3, 2 and 4 bytes
  const size_t wanted[] = {0, 0, 0, 3, 3, 5, 5, 5, 5};
  for (size_t room = 0; room < 9; ++room) {
    for (const size_t guess : {1, 2, 4, 8, 100}) {
      EXPECT_EQ(Cut(text, room, guess).size(), wanted[room]) << room << ", guess " << guess;
    }
  }
}

TEST(CutToFit, SaysWhenNothingFitsAndPassesFaultsOn) {
  const auto never = [](std::string_view) -> Result<bool> { return false; };
  EXPECT_FALSE(CutToFit("text", 1, never)->has_value());
  const auto fault = [](std::string_view) -> Result<bool> { return InvalidArgument("why"); };
  EXPECT_EQ(CutToFit("text", 1, fault).status().message(), "why");
}

TEST(CutToFit, AGuessSavesTheTriesOfAFarTooLongText) {
  int calls = 0;
  EXPECT_EQ(Cut(std::string(1 << 20, 'x'), 150, 100, &calls).size(), 150u);
  EXPECT_LE(calls, 12);  // 20 and more by bisection alone
}

}  // namespace
}  // namespace onepass
