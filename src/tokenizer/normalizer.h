// The "normalizer" of a tokenizer.json: text in, text out, before anything is split.
// Immutable; thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/status.h"
#include "tokenizer/json_node.h"

namespace onepass {

// A text on its way from the file's spelling to words.
struct SourceText {
  std::string text;  // valid UTF-8
  // How many bytes at the front stem from the original text's first character: prepending is "only
  // at the very start" for some tokenizers.
  size_t at_origin = 0;
};

class NormalizerStep {
 public:
  virtual ~NormalizerStep() = default;
  virtual void Apply(SourceText* source) const = 0;
};

class Normalizer {
 public:
  // The node may be absent: then nothing is changed.
  static Result<Normalizer> Parse(const JsonNode& node);

  bool empty() const { return steps_.empty(); }
  // Whether a step writes bytes as byte-level characters.
  bool writes_byte_level() const { return writes_byte_level_; }
  void Apply(SourceText* source) const {
    for (const auto& step : steps_) step->Apply(source);
  }
  std::string Apply(std::string_view text) const;

 private:
  Status Add(const JsonNode& node);

  std::vector<std::unique_ptr<const NormalizerStep>> steps_;
  bool writes_byte_level_ = false;
};

}  // namespace onepass
