// Templates: literal text with {FIELD} placeholders, and how a filled template becomes tokens.
// Special tokens spelled in the template are tokens; what fills a field is data and never is.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/status.h"
#include "tokenizer/tokenizer.h"

namespace onepass {

// A stretch of a template: literal text, or the name of a field. Once filled, a field piece holds
// the field's text instead.
struct TemplatePiece {
  bool is_field = false;
  std::string text;
};

// Splits a template. "{{" and "}}" are braces; a lone brace, an empty name and a name with a brace
// or a line break are errors that give the byte's place.
Result<std::vector<TemplatePiece>> ParseTemplate(std::string_view text);

// Turns filled templates into tokens. Immutable; thread-safe. Keeps a reference to the tokenizer.
class TemplateEncoder {
 public:
  // Collects the tokenizer's special tokens (walks the vocabulary once). `added` are special too,
  // and come before others of the same text, the first of them first.
  explicit TemplateEncoder(const Tokenizer& tokenizer,
                           const std::vector<std::pair<std::string, TokenId>>& added = {});

  // Special tokens in literals become their ids and are the only borders: the plain text between
  // two of them, literals and fields together, is tokenised as one piece of text.
  std::vector<TokenId> Encode(std::span<const TemplatePiece> filled) const;

  const Tokenizer& tokenizer() const { return *tokenizer_; }

 private:
  struct Special {
    std::string text;
    TokenId id;
  };
  const Tokenizer* tokenizer_;
  std::vector<Special> specials_;  // longest first
};

}  // namespace onepass
