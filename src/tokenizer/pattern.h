// A "pattern" of a tokenizer.json: {"String": text} or {"Regex": expression}.
#pragma once

#include "core/status.h"
#include "tokenizer/json_node.h"
#include "tokenizer/regex.h"

namespace onepass {

struct Pattern {
  Regex regex;
  std::string literal;  // of {"String": ...}
  bool is_literal = false;
};

Result<Pattern> ParsePattern(const JsonNode& node);

// text with every match replaced by content, letter for letter.
std::string ReplaceMatches(const Regex& regex, std::string_view text, std::string_view content);

}  // namespace onepass
