#include "tokenizer/regex.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace onepass {
namespace {

std::vector<std::string> Matches(const std::string& pattern, const std::string& text,
                                 RegexDialect dialect = RegexDialect::kOniguruma) {
  const Result<Regex> regex = Regex::Compile(pattern, dialect);
  if (!regex.ok()) return {"error: " + regex.status().message()};
  std::vector<std::string> found;
  regex->ForEachMatch(
      text, [&](size_t begin, size_t end) { found.push_back(text.substr(begin, end - begin)); });
  return found;
}

using Words = std::vector<std::string>;

TEST(Regex, SpacesBeforeAWordLeaveItOne) {
  EXPECT_EQ(Matches(R"(\s+(?!\S)|\s+|\S+)", "a   b  "), (Words{"a", "  ", " ", "b", "  "}));
}

TEST(Regex, ShorthandsMeanOnigurumasSets) {
  // U+180E is no white space any more; U+0085 is.
  EXPECT_EQ(Matches(R"(\s)", "\u180e\u0085\u3000"), (Words{"\u0085", "\u3000"}));
  EXPECT_EQ(Matches(R"([^\s])", "\u180e\u0085"), (Words{"\u180e"}));
  EXPECT_EQ(Matches(R"([\S])", "\u180e\u0085"), (Words{"\u180e"}));
  EXPECT_EQ(Matches(R"(\w+)", "e\u0301_\u00b2 \u203f"), (Words{"e\u0301_\u00b2", "\u203f"}));
  EXPECT_EQ(Matches(R"([\w]+)", "a\u00b2"), (Words{"a"}));
  EXPECT_EQ(Matches(R"([^\W\d_]+)", "ab1_c\u00e9"), (Words{"ab", "c\u00e9"}));
  EXPECT_EQ(Matches(R"([\W\d]+)", "ab1 -c"), (Words{"1 -"}));
  EXPECT_EQ(Matches(R"(\h+)", "xFf0 g"), (Words{"Ff0"}));
  EXPECT_EQ(Matches(R"([[:punct:]]+)", "a$+.b"), (Words{"$+."}));
  EXPECT_EQ(Matches(R"(\p{Han}+)", "\u4e2d\u3002"), (Words{"\u4e2d"}));
}

TEST(Regex, WordsEndWhereWordCharactersDo) {
  // A combining mark is part of a word.
  EXPECT_EQ(Matches(R"(\b.)", "ae\u0301t \u00e9-x"), (Words{"a", " ", "\u00e9", "-", "x"}));
  EXPECT_EQ(Matches(R"(\Bt)", "\u0301t t at"), (Words{"t", "t"}));
}

TEST(Regex, CaseIsFoldedBeyondAscii) {
  EXPECT_EQ(Matches(R"((?i:'s|'ll))", "it'S we'LL x'\u017f"), (Words{"'S", "'LL", "'\u017f"}));
}

TEST(Regex, NumbersAreCutInThrees) {
  EXPECT_EQ(Matches(R"(\p{N}{1,3})", "1234567"), (Words{"123", "456", "7"}));
  // Ruby repeats an interval with +, Rust makes it possessive.
  EXPECT_EQ(Matches("a{1,2}+", "aaaaa"), (Words{"aaaaa"}));
  EXPECT_EQ(Matches("a{1,2}+", "aaaaa", RegexDialect::kRust), (Words{"aa", "aa", "a"}));
  EXPECT_EQ(Matches("a{,2}b", "aaab"), (Words{"aab"}));
}

TEST(Regex, LinesHaveAnchorsInOnigurumaOnly) {
  EXPECT_EQ(Matches("^.", "a\nb"), (Words{"a", "b"}));
  EXPECT_EQ(Matches("^.", "a\nb", RegexDialect::kRust), (Words{"a"}));
  EXPECT_EQ(Matches("(?m:.+)", "a\nb"), (Words{"a\nb"}));
}

TEST(Regex, EmptyMatchesMoveOn) { EXPECT_EQ(Matches("x*", "axb"), (Words{"", "x", ""})); }

TEST(Regex, LongRunsDoNotHitTheLimits) {
  const std::string spaces(3 << 20, ' ');
  EXPECT_EQ(Matches(R"(\s*[\r\n]+|\s+(?!\S)|\s+)", spaces + "x"), (Words{spaces.substr(1), " "}));
}

}  // namespace
}  // namespace onepass
