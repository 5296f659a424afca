// The "added_tokens" of a tokenizer.json, and finding them in a text: the longest one that starts
// leftmost, with the spaces around it where the token says so.
// Immutable once built; thread-safe.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/status.h"
#include "tokenizer/json_node.h"
#include "tokenizer/regex.h"
#include "tokenizer/tokenizer.h"

namespace onepass {

struct AddedToken {
  TokenId id;
  std::string content;
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = true;
  bool special = false;
};

// Reads the list; the node may be absent. Tokens with no content are left out.
Result<std::vector<AddedToken>> ParseAddedTokens(const JsonNode& node);

// A set of texts, and the longest of them that starts at a place.
class TextTrie {
 public:
  // The first value given to a text stays. REQUIRES: text is not empty.
  void Insert(std::string_view text, int32_t value);
  bool empty() const { return nodes_.empty(); }
  // The value of the longest text that `subject` has at `at`, and its length; -1 if there is none.
  int32_t LongestAt(std::string_view subject, size_t at, size_t* length) const;

 private:
  struct Node {
    std::vector<std::pair<uint8_t, int32_t>> next;  // sorted by byte
    int32_t value = -1;
  };
  int32_t Step(int32_t node, uint8_t byte) const;

  std::vector<Node> nodes_;
};

class AddedTokenMatcher {
 public:
  // `text_of` gives the text a token is looked for as (its normalized content, for one).
  static Result<AddedTokenMatcher> Create(
      const std::vector<AddedToken>& tokens,
      const std::function<std::string(const AddedToken&)>& text_of, bool normalized);

  bool empty() const { return trie_.empty(); }

  // Calls on_part(begin, end, token) over all of the text, token null for what is no added token.
  // Without parse_special the special ones stay text. REQUIRES: text is valid UTF-8.
  void ForEachPart(
      std::string_view text, bool parse_special,
      const std::function<void(size_t begin, size_t end, const AddedToken* token)>& on_part) const;

 private:
  explicit AddedTokenMatcher(Regex word) : word_(std::move(word)) {}

  bool IsWord(uint32_t code_point) const;
  bool StandsAlone(std::string_view text, size_t begin, size_t end) const;

  std::vector<AddedToken> tokens_;
  TextTrie trie_;
  Regex word_;  // one word character
};

}  // namespace onepass
