// Where the sentences of English prose are. By rules, not by a model: where a dot may as well stand
// behind an abbreviation as end a sentence, two sentences stay one rather than one becomes two.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace onepass {

// Bytes [begin, end) of a text.
struct TextSpan {
  size_t begin = 0;
  size_t end = 0;

  std::string_view In(std::string_view text) const { return text.substr(begin, end - begin); }
  bool operator==(const TextSpan&) const = default;
};

// The sentences in order, without the white space between them; together they hold all else.
// A sentence ends behind ".", "!" or "?" (and quotes, brackets and notes like "[4]" or ":79" that
// follow it) where white space and something other than a small letter follow. A dot does not end
// one
//   - behind a title or the like ("Dr.", "St.", "vs.", "Fig.") or a single letter ("J. Smith");
//   - behind an abbreviation that may also stand last ("U.S.", "p.m.", "Inc."), unless a word
//     follows that usually begins a sentence ("The", "In", "He");
//   - behind a number with which the sentence would begin and end ("1. One").
// REQUIRES: text is well-formed UTF-8.
std::vector<TextSpan> SplitSentences(std::string_view text);

}  // namespace onepass
