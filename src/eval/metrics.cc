#include "eval/metrics.h"

#include <utf8proc.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>

namespace onepass {
namespace {

// One character of a text, or one byte that is not UTF-8 (code point -1).
struct Character {
  int32_t code_point = -1;
  std::string_view bytes;
};

std::vector<Character> SplitCharacters(std::string_view text) {
  std::vector<Character> characters;
  while (!text.empty()) {
    utf8proc_int32_t code_point = -1;
    const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
    const auto length = static_cast<utf8proc_ssize_t>(text.size());
    const utf8proc_ssize_t read = utf8proc_iterate(bytes, length, &code_point);
    const size_t size = read > 0 ? static_cast<size_t>(read) : 1;
    characters.push_back({read > 0 ? code_point : -1, text.substr(0, size)});
    text.remove_prefix(size);
  }
  return characters;
}

bool IsAsciiPunctuation(int32_t c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
         (c >= '{' && c <= '~');
}

bool IsSpace(int32_t c) {
  if (c < 0) return false;
  if ((c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x1f) || c == 0x85) return true;
  const utf8proc_category_t category = utf8proc_category(c);
  return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
         category == UTF8PROC_CATEGORY_ZP;
}

// A character of a word, as a regular expression's \w means it (the underscore is gone by then).
bool IsWordCharacter(int32_t c) {
  if (c < 0) return false;
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return true;
    default:
      return false;
  }
}

std::string Lower(const Character& character) {
  if (character.code_point < 0) return std::string(character.bytes);
  utf8proc_uint8_t out[4];
  const utf8proc_ssize_t size = utf8proc_encode_char(utf8proc_tolower(character.code_point), out);
  return {reinterpret_cast<const char*>(out), static_cast<size_t>(size)};
}

bool IsArticle(std::string_view run) { return run == "a" || run == "an" || run == "the"; }

// Splits normalized text at its spaces.
std::vector<std::string_view> Words(std::string_view text) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    words.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return words;
}

double F1(const std::string& found, const std::string& wanted) {
  const std::vector<std::string_view> found_words = Words(found);
  const std::vector<std::string_view> wanted_words = Words(wanted);
  std::map<std::string_view, int> left;
  for (const std::string_view word : wanted_words) ++left[word];
  int same = 0;
  for (const std::string_view word : found_words) {
    const auto it = left.find(word);
    if (it == left.end() || it->second == 0) continue;
    --it->second;
    ++same;
  }
  if (same == 0) return 0;
  const double precision = static_cast<double>(same) / static_cast<double>(found_words.size());
  const double recall = static_cast<double>(same) / static_cast<double>(wanted_words.size());
  return 2 * precision * recall / (precision + recall);
}

bool IsClosedAnswer(std::string_view text) {
  return text == "yes" || text == "no" || text == "noanswer";
}

}  // namespace

std::string NormalizeAnswer(std::string_view text) {
  // Runs of word characters are gathered so that an article is dropped only where it is a whole run
  // ("a" and "a-b" but not "ab"): it then leaves a space behind, as the official script does.
  std::string out;
  std::string run;
  bool space_due = false;
  const auto append = [&](std::string_view piece) {
    if (space_due && !out.empty()) out += ' ';
    space_due = false;
    out += piece;
  };
  const auto end_run = [&] {
    if (run.empty()) return;
    if (IsArticle(run)) {
      space_due = true;
    } else {
      append(run);
    }
    run.clear();
  };
  for (const Character& character : SplitCharacters(text)) {
    const int32_t c = character.code_point;
    if (IsAsciiPunctuation(c)) continue;
    if (IsWordCharacter(c)) {
      run += Lower(character);
      continue;
    }
    end_run();
    if (IsSpace(c)) {
      space_due = true;
    } else {
      append(Lower(character));
    }
  }
  end_run();
  return out;
}

AnswerScore ScoreAnswer(std::string_view found, std::string_view wanted, AnswerRule rule) {
  const std::string a = NormalizeAnswer(found);
  const std::string b = NormalizeAnswer(wanted);
  AnswerScore score;
  score.exact_match = a == b ? 1 : 0;
  const bool closed = IsClosedAnswer(a) || IsClosedAnswer(b);
  score.f1 = rule == AnswerRule::kHotpotQa && closed && a != b ? 0 : F1(a, b);
  return score;
}

AnswerScore ScoreAnswer(std::string_view found, std::span<const std::string> wanted,
                        AnswerRule rule) {
  AnswerScore best;
  for (const std::string& one : wanted) {
    const AnswerScore score = ScoreAnswer(found, one, rule);
    best.exact_match = std::max(best.exact_match, score.exact_match);
    best.f1 = std::max(best.f1, score.f1);
  }
  return best;
}

MeanAndSpread MeanAndSpreadOf(std::span<const double> values) {
  MeanAndSpread result;
  if (values.empty()) return result;
  for (const double value : values) result.mean += value;
  result.mean /= static_cast<double>(values.size());
  if (values.size() < 2) return result;
  double squares = 0;
  for (const double value : values) squares += (value - result.mean) * (value - result.mean);
  result.spread = std::sqrt(squares / static_cast<double>(values.size() - 1));
  return result;
}

}  // namespace onepass
