#include "chain/template.h"

#include <algorithm>

namespace onepass {
namespace {

Status BadTemplate(size_t at, const std::string& what) {
  return InvalidArgument("template: byte " + std::to_string(at + 1) + ": " + what);
}

}  // namespace

Result<std::vector<TemplatePiece>> ParseTemplate(std::string_view text) {
  constexpr size_t kMaxFieldName = 256;
  std::vector<TemplatePiece> pieces;
  std::string literal;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool doubled = i + 1 < text.size() && text[i + 1] == c;
    if ((c == '{' || c == '}') && doubled) {
      literal += c;
      ++i;
      continue;
    }
    if (c == '}') return BadTemplate(i, "want \"}}\" for a brace, found a lone \"}\"");
    if (c != '{') {
      literal += c;
      continue;
    }
    const size_t end = text.find_first_of("{}\n", i + 1);
    if (end == std::string_view::npos || text[end] != '}') {
      return BadTemplate(i,
                         "want {FIELD} or \"{{\" for a brace, found a \"{\" that nothing closes");
    }
    const std::string_view name = text.substr(i + 1, end - i - 1);
    if (name.empty()) return BadTemplate(i, "want a field's name, found \"{}\"");
    if (name.size() > kMaxFieldName)
      return BadTemplate(i, "want a field name of at most 256 bytes");
    if (!literal.empty()) pieces.push_back({false, std::move(literal)});
    literal.clear();
    pieces.push_back({true, std::string(name)});
    i = end;
  }
  if (!literal.empty()) pieces.push_back({false, std::move(literal)});
  return pieces;
}

TemplateEncoder::TemplateEncoder(const Tokenizer& tokenizer,
                                 const std::vector<std::pair<std::string, TokenId>>& added)
    : tokenizer_(&tokenizer) {
  for (const auto& [text, id] : added) specials_.push_back({text, id});
  const int64_t count = tokenizer.Info().vocab_size;
  for (int64_t id = 0; id < count; ++id) {
    const TokenId token = static_cast<TokenId>(id);
    if (!tokenizer.IsSpecial(token)) continue;
    std::string text = tokenizer.TokenOf(token);
    if (!text.empty()) specials_.push_back({std::move(text), token});
  }
  std::ranges::stable_sort(
      specials_, [](const Special& a, const Special& b) { return a.text.size() > b.text.size(); });
}

std::vector<TokenId> TemplateEncoder::Encode(std::span<const TemplatePiece> filled) const {
  std::vector<TokenId> ids;
  std::string run;
  const auto flush = [&] {
    if (run.empty()) return;
    const std::vector<TokenId> plain = tokenizer_->Encode(run, {});
    ids.insert(ids.end(), plain.begin(), plain.end());
    run.clear();
  };
  for (const TemplatePiece& piece : filled) {
    if (piece.is_field) {
      run += piece.text;
      continue;
    }
    const std::string_view text = piece.text;
    for (size_t i = 0; i < text.size();) {
      const auto special = std::ranges::find_if(specials_, [&](const Special& candidate) {
        return text.substr(i).starts_with(candidate.text);
      });
      if (special == specials_.end()) {
        run += text[i++];
        continue;
      }
      flush();
      ids.push_back(special->id);
      i += special->text.size();
    }
  }
  flush();
  return ids;
}

}  // namespace onepass
