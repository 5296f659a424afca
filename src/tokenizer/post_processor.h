// The "post_processor" of a tokenizer.json: which ids stand around a text's own.
// Immutable; thread-safe.
#pragma once

#include <vector>

#include "core/status.h"
#include "tokenizer/json_node.h"
#include "tokenizer/tokenizer.h"

namespace onepass {

class PostProcessor {
 public:
  // The node may be absent: then nothing is added.
  static Result<PostProcessor> Parse(const JsonNode& node);

  // The ids with what the templates put around them; without add_special_tokens only the ids.
  std::vector<TokenId> Apply(std::vector<TokenId> ids, bool add_special_tokens) const;

  // Every id that a template may add.
  std::vector<TokenId> AddedIds() const;

 private:
  struct Piece {
    bool is_text = false;        // the text's own ids
    std::vector<TokenId> added;  // else these
  };
  Status Add(const JsonNode& node);
  Status AddTemplate(const JsonNode& node);
  Status AddClassifierTemplate(const JsonNode& node);

  std::vector<std::vector<Piece>> templates_;  // applied in turn
};

}  // namespace onepass
