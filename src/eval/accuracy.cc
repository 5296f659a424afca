#include "eval/accuracy.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/quote.h"
#include "eval/metrics.h"

namespace onepass {
namespace {

constexpr std::string_view kAnswerSpace = " \t\r\n";

char Capital(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

std::string_view WithoutLeadingSpace(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kAnswerSpace), text.size()));
  return text;
}

}  // namespace

Status CheckChoices(std::string_view choices) {
  const bool letters = std::ranges::all_of(choices, [](char c) { return c >= 'A' && c <= 'Z'; });
  bool different = true;
  for (size_t i = 0; i < choices.size(); ++i) {
    different = different && choices.find(choices[i], i + 1) == std::string_view::npos;
  }
  if (choices.empty() || (choices.size() >= 2 && letters && different)) return Status::Ok();
  return InvalidArgument("want 2 to 26 different capital letters such as ABCDE, found " +
                         Quote(choices));
}

LabelledAnswer SplitLabel(std::string_view answer, std::string_view choices) {
  const LabelledAnswer none{.label = 0, .text = answer};
  std::string_view rest = WithoutLeadingSpace(answer);
  const bool opened = rest.starts_with('(');
  if (opened) rest.remove_prefix(1);
  if (rest.empty() || choices.find(Capital(rest[0])) == std::string_view::npos) return none;
  const char label = Capital(rest[0]);
  rest.remove_prefix(1);
  const std::string_view marks = opened ? ")" : ".):";
  if (!rest.empty() && marks.find(rest[0]) != std::string_view::npos) {
    return {.label = label, .text = WithoutLeadingSpace(rest.substr(1))};
  }
  rest = WithoutLeadingSpace(rest);
  if (opened || !rest.empty()) return none;
  return {.label = label, .text = rest};
}

bool IsSameAnswer(std::string_view found, std::string_view wanted, std::string_view choices) {
  const LabelledAnswer a = SplitLabel(found, choices);
  const LabelledAnswer b = SplitLabel(wanted, choices);
  if (a.label != 0 && b.label != 0) return a.label == b.label;
  const std::string text = NormalizeAnswer(a.text);
  if (text.empty() && (a.label != 0 || b.label != 0)) return false;
  return text == NormalizeAnswer(b.text);
}

double Accuracy(std::string_view found, std::span<const std::string> wanted,
                std::string_view choices) {
  return std::ranges::any_of(
      wanted, [&](const std::string& one) { return IsSameAnswer(found, one, choices); });
}

}  // namespace onepass
