#include "eval/sentences.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <string>

namespace onepass {
namespace {

constexpr std::string_view kSpace = " \t\r\n\v\f";
// What may stand between a sentence's end mark and the white space behind it.
constexpr std::array kClosers =
    std::to_array<std::string_view>({"\"", "'", ")", "]", "}", "”", "’", "»"});

// Words in small letters, without their last dot: never the end of a sentence.
constexpr std::array kNeverLast = std::to_array<std::string_view>(
    {"adm",  "approx", "asst", "brig", "c",   "ca", "capt", "cf",  "cmdr", "col", "cpl",
     "dept", "dr",     "e.g",  "ed",   "fig", "fr", "gen",  "gov", "hon",  "i.e", "lt",
     "maj",  "messrs", "mr",   "mrs",  "ms",  "mt", "op",   "p",   "ph",   "pp",  "pres",
     "prof", "rep",    "rev",  "sen",  "sgt", "st", "supt", "viz", "vol",  "vs"});

// The same, where a number follows.
constexpr std::array kBeforeNumbers = std::to_array<std::string_view>({"no", "nos", "ch", "sec"});

// The same: may stand last.
constexpr std::array kMayBeLast = std::to_array<std::string_view>(
    {"al",  "apr", "aug", "ave", "blvd", "bros", "co",  "corp", "dec", "esq", "est",
     "etc", "feb", "ft",  "inc", "jan",  "jr",   "jul", "jun",  "llc", "ltd", "mar",
     "nov", "oct", "phd", "rd",  "sep",  "sept", "sq",  "sr",   "univ"});

// Words that usually begin a sentence where they have a capital letter.
constexpr std::array kFirstWords = std::to_array<std::string_view>(
    {"A",    "After", "All",    "Although", "An",   "And",  "As",    "At",    "Because",
     "But",  "By",    "During", "For",      "From", "He",   "Her",   "His",   "However",
     "If",   "In",    "It",     "Its",      "Many", "Most", "On",    "One",   "Other",
     "She",  "Since", "Some",   "Such",     "That", "The",  "Their", "There", "These",
     "They", "This",  "Those",  "To",       "We",   "When", "While"});

template <size_t n>
bool Contains(const std::array<std::string_view, n>& words, std::string_view word) {
  return std::ranges::find(words, word) != words.end();
}

bool IsSpace(char c) { return kSpace.find(c) != std::string_view::npos; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::string ToSmall(std::string_view text) {
  std::string small(text);
  for (char& c : small) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return small;
}

// The length of a note at the front of a text: "[4]", "[note 2]", "[citation needed]", or a page,
// ":79"; 0: there is none.
size_t NoteSize(std::string_view text) {
  constexpr size_t kLongestNote = 20;
  if (text.starts_with('[')) {
    const size_t close = text.substr(0, kLongestNote).find(']');
    if (close == std::string_view::npos) return 0;
    const std::string_view inside = text.substr(1, close - 1);
    const bool is_note = !inside.empty() && (IsDigit(inside.back()) || inside == "citation needed");
    return is_note ? close + 1 : 0;
  }
  if (!text.starts_with(':')) return 0;
  size_t size = 1;
  while (size < text.size() && (IsDigit(text[size]) || (size > 1 && text[size] == '-'))) ++size;
  return size > 1 ? size : 0;
}

// Behind quotes, brackets and notes that close what ends at `at`.
size_t BehindClosers(std::string_view text, size_t at) {
  while (at < text.size()) {
    const std::string_view rest = text.substr(at);
    const size_t note = NoteSize(rest);
    const auto closer = std::ranges::find_if(
        kClosers, [&](std::string_view candidate) { return rest.starts_with(candidate); });
    if (note == 0 && closer == kClosers.end()) return at;
    at += note > 0 ? note : closer->size();
  }
  return at;
}

// The word that a dot stands behind, from white space or an opening bracket or quote on.
std::string_view WordBefore(std::string_view text, size_t begin, size_t dot) {
  size_t from = dot;
  while (from > begin && !IsSpace(text[from - 1]) && text[from - 1] != '(' &&
         text[from - 1] != '[' && text[from - 1] != '"') {
    --from;
  }
  return text.substr(from, dot - from);
}

bool BeginsWithSmallLetter(std::string_view text) {
  utf8proc_int32_t code_point = -1;
  utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &code_point);
  return code_point >= 0 && utf8proc_category(code_point) == UTF8PROC_CATEGORY_LL;
}

// Whether what follows begins with one of the words that usually begin a sentence.
bool BeginsAsSentencesDo(std::string_view text) {
  const size_t size = std::ranges::find_if_not(text, IsLetter) - text.begin();
  return Contains(kFirstWords, text.substr(0, size));
}

// Whether the dot behind `word`, which may be the whole sentence so far, ends it where `next`
// follows. REQUIRES: next is not empty.
bool DotEnds(std::string_view word, bool word_is_all, std::string_view next) {
  const std::string small = ToSmall(word);
  if (small.empty()) return true;
  if (Contains(kNeverLast, small)) return false;
  if (Contains(kBeforeNumbers, small) && IsDigit(next[0])) return false;
  if (small.size() == 1 && IsLetter(small[0])) return false;
  if (word_is_all && std::ranges::all_of(small, IsDigit)) return false;
  // "U.S", "p.m", "D.C": letters with dots between them.
  const bool dotted = small.find('.') != std::string::npos && IsLetter(small[0]) &&
                      std::ranges::all_of(small, [](char c) { return IsLetter(c) || c == '.'; }) &&
                      !small.ends_with('.');
  if (dotted || Contains(kMayBeLast, small)) return BeginsAsSentencesDo(next);
  return true;
}

}  // namespace

std::vector<TextSpan> SplitSentences(std::string_view text) {
  std::vector<TextSpan> sentences;
  size_t begin = std::min(text.find_first_not_of(kSpace), text.size());
  for (size_t at = begin; at < text.size();) {
    const char mark = text[at];
    if (mark != '.' && mark != '!' && mark != '?') {
      ++at;
      continue;
    }
    const size_t end = BehindClosers(text, at + 1);
    const size_t next = std::min(text.find_first_not_of(kSpace, end), text.size());
    bool ends_here =
        next == text.size() || (next > end && !BeginsWithSmallLetter(text.substr(next)));
    if (ends_here && mark == '.' && next < text.size()) {
      const std::string_view word = WordBefore(text, begin, at);
      const bool whole = word.data() == text.data() + begin;
      ends_here = DotEnds(word, whole, text.substr(next));
    }
    if (!ends_here) {
      ++at;
      continue;
    }
    sentences.push_back({begin, end});
    begin = at = next;
  }
  if (begin < text.size()) {
    sentences.push_back({begin, text.find_last_not_of(kSpace) + 1});
  }
  return sentences;
}

}  // namespace onepass
