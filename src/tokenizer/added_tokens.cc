#include "tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "tokenizer/json_document.h"
#include "tokenizer/unicode.h"

namespace onepass {
namespace {

constexpr size_t kMaxContentBytes = 4096;

// Where the character before `end` begins. REQUIRES: end > 0, valid UTF-8.
size_t PreviousChar(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  return begin;
}

size_t SpacesBefore(std::string_view text, size_t end) {
  while (end > 0) {
    size_t begin = PreviousChar(text, end);
    size_t pos = begin;
    if (!IsWhitespace(NextCodePoint(text, &pos))) break;
    end = begin;
  }
  return end;
}

size_t SpacesBehind(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    size_t pos = begin;
    if (!IsWhitespace(NextCodePoint(text, &pos))) break;
    begin = pos;
  }
  return begin;
}

}  // namespace

Result<std::vector<AddedToken>> ParseAddedTokens(const JsonNode& list) {
  std::vector<AddedToken> tokens;
  if (!list.present()) return tokens;
  RETURN_IF_ERROR(list.ExpectArray());
  for (size_t i = 0; i < list.size(); ++i) {
    const JsonNode node = list.Element(i);
    RETURN_IF_ERROR(node.ExpectObject());
    AddedToken token;
    ASSIGN_OR_RETURN(const int64_t id, node.Member("id").Integer(0, kMaxTokenId));
    token.id = static_cast<TokenId>(id);
    ASSIGN_OR_RETURN(token.content, node.Member("content").String());
    ASSIGN_OR_RETURN(token.single_word, node.Member("single_word").BoolOr(false));
    ASSIGN_OR_RETURN(token.lstrip, node.Member("lstrip").BoolOr(false));
    ASSIGN_OR_RETURN(token.rstrip, node.Member("rstrip").BoolOr(false));
    ASSIGN_OR_RETURN(token.special, node.Member("special").BoolOr(false));
    ASSIGN_OR_RETURN(token.normalized, node.Member("normalized").BoolOr(!token.special));
    if (token.content.size() > kMaxContentBytes) {
      return node.Member("content").WantNot(
          "at most " + std::to_string(kMaxContentBytes) + " bytes",
          std::to_string(token.content.size()));
    }
    if (!token.content.empty()) tokens.push_back(std::move(token));
  }
  return tokens;
}

void TextTrie::Insert(std::string_view text, int32_t value) {
  if (nodes_.empty()) nodes_.emplace_back();
  int32_t at = 0;
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    int32_t next = Step(at, byte);
    if (next < 0) {
      next = static_cast<int32_t>(nodes_.size());
      nodes_.emplace_back();
      auto& edges = nodes_[static_cast<size_t>(at)].next;
      edges.insert(std::lower_bound(edges.begin(), edges.end(), std::pair(byte, int32_t{0})),
                   {byte, next});
    }
    at = next;
  }
  int32_t& slot = nodes_[static_cast<size_t>(at)].value;
  if (slot < 0) slot = value;
}

int32_t TextTrie::Step(int32_t node, uint8_t byte) const {
  const auto& edges = nodes_[static_cast<size_t>(node)].next;
  const auto found = std::lower_bound(edges.begin(), edges.end(), std::pair(byte, int32_t{0}));
  return found == edges.end() || found->first != byte ? -1 : found->second;
}

int32_t TextTrie::LongestAt(std::string_view subject, size_t at, size_t* length) const {
  int32_t value = -1;
  int32_t node = 0;
  for (size_t i = at; i < subject.size(); ++i) {
    node = Step(node, static_cast<uint8_t>(subject[i]));
    if (node < 0) break;
    if (nodes_[static_cast<size_t>(node)].value >= 0) {
      value = nodes_[static_cast<size_t>(node)].value;
      *length = i + 1 - at;
    }
  }
  return value;
}

Result<AddedTokenMatcher> AddedTokenMatcher::Create(
    const std::vector<AddedToken>& tokens,
    const std::function<std::string(const AddedToken&)>& text_of, bool normalized) {
  ASSIGN_OR_RETURN(Regex word, Regex::Compile(R"(\w)", RegexDialect::kRust));
  AddedTokenMatcher matcher(std::move(word));
  for (const AddedToken& token : tokens) {
    if (token.normalized != normalized) continue;
    const std::string text = text_of(token);
    if (text.empty()) continue;  // nothing to look for
    matcher.trie_.Insert(text, static_cast<int32_t>(matcher.tokens_.size()));
    matcher.tokens_.push_back(token);
  }
  return matcher;
}

bool AddedTokenMatcher::IsWord(uint32_t c) const {
  if (c < 0x80) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  }
  std::string text;
  AppendUtf8(c, &text);
  return word_.Matches(text);
}

bool AddedTokenMatcher::StandsAlone(std::string_view text, size_t begin, size_t end) const {
  if (begin > 0) {
    size_t pos = PreviousChar(text, begin);
    if (IsWord(NextCodePoint(text, &pos))) return false;
  }
  if (end < text.size()) {
    if (IsWord(NextCodePoint(text, &end))) return false;
  }
  return true;
}

void AddedTokenMatcher::ForEachPart(
    std::string_view text, bool parse_special,
    const std::function<void(size_t, size_t, const AddedToken*)>& on_part) const {
  size_t done = 0;  // everything before is handed out
  size_t at = 0;
  while (!trie_.empty() && at < text.size()) {
    size_t length = 0;
    const int32_t index = trie_.LongestAt(text, at, &length);
    if (index < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(index)];
    size_t begin = at;
    size_t end = at + length;
    at = end;
    // A match that does not count still uses its text up, as the reference matcher has it.
    if (token.special && !parse_special) continue;
    if (token.single_word && !StandsAlone(text, begin, end)) continue;
    // Spaces that the token before has taken are gone.
    if (token.lstrip) begin = std::max(SpacesBefore(text, begin), done);
    if (token.rstrip) end = SpacesBehind(text, end);
    if (done < begin) on_part(done, begin, nullptr);
    on_part(begin, std::max(begin, end), &token);
    done = end;
  }
  if (done != text.size()) on_part(done, text.size(), nullptr);
}

}  // namespace onepass
