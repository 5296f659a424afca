// The "pre_tokenizer" of a tokenizer.json: normalized text in, words out.
// Immutable; thread-safe.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "tokenizer/json_node.h"
#include "tokenizer/tokenizer.h"

namespace onepass {

// The words of a text so far: spans of one buffer, in order. A span may be a token already.
struct Words {
  static constexpr TokenId kNoToken = -1;
  struct Span {
    size_t begin;
    size_t end;
    size_t at_origin;  // bytes at its front that stem from the original text's first character
    TokenId token;     // kNoToken: still text
  };

  std::string_view TextOf(const Span& span) const {
    return std::string_view(buffer).substr(span.begin, span.end - span.begin);
  }
  // Adds a part of `span` that begins and ends at these places of the buffer; empty parts vanish.
  void AddPart(const Span& span, size_t begin, size_t end) {
    if (begin == end) return;
    const size_t offset = begin - span.begin;
    const size_t at_origin = span.at_origin > offset ? span.at_origin - offset : 0;
    spans.push_back({begin, end, std::min(at_origin, end - begin), kNoToken});
  }

  std::string buffer;  // valid UTF-8
  std::vector<Span> spans;
};

class PreTokenizerStep {
 public:
  virtual ~PreTokenizerStep() = default;
  virtual void Apply(Words* words) const = 0;
};

class PreTokenizer {
 public:
  // The node may be absent: then the whole text is one word.
  static Result<PreTokenizer> Parse(const JsonNode& node);

  void Apply(Words* words) const {
    for (const auto& step : steps_) step->Apply(words);
  }

 private:
  Status Add(const JsonNode& node);

  std::vector<std::unique_ptr<const PreTokenizerStep>> steps_;
};

}  // namespace onepass
