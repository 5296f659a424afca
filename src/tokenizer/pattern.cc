#include "tokenizer/pattern.h"

namespace onepass {

Result<Pattern> ParsePattern(const JsonNode& node) {
  if (!node.is_object() || node.size() != 1) {
    return node.Want("{\"String\": ...} or {\"Regex\": ...}");
  }
  if (node.Member("String").present()) {
    ASSIGN_OR_RETURN(std::string text, node.Member("String").String());
    ASSIGN_OR_RETURN(Regex regex, Regex::CompileLiteral(text));
    // An empty text matches between all characters, which only the expression can say.
    const bool is_literal = !text.empty();
    return Pattern{std::move(regex), std::move(text), is_literal};
  }
  const JsonNode expression = node.Member("Regex");
  if (!expression.present()) return node.Want("{\"String\": ...} or {\"Regex\": ...}");
  ASSIGN_OR_RETURN(const std::string text, expression.String());
  Result<Regex> regex = Regex::Compile(text, RegexDialect::kOniguruma);
  if (!regex.ok()) {
    const Status place = expression.Want("a regular expression");
    return Status(regex.status().code(), place.message() + ": " + regex.status().message());
  }
  return Pattern{std::move(regex).value(), {}, false};
}

std::string ReplaceMatches(const Regex& regex, std::string_view text, std::string_view content) {
  std::string out;
  size_t last = 0;
  regex.ForEachMatch(text, [&](size_t begin, size_t end) {
    out.append(text.substr(last, begin - last));
    out.append(content);
    last = end;
  });
  out.append(text.substr(last));
  return out;
}

}  // namespace onepass
