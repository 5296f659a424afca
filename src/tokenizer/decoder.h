// The "decoder" of a tokenizer.json: token texts in, text out. One streaming implementation serves
// both a whole list of ids and a stream of them, so that the two cannot differ.
// A Decoder is immutable and thread-safe; the sinks that it makes are thread-compatible.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "tokenizer/json_node.h"

namespace onepass {

// Takes texts one after another. A step that joins all tokens into one hands it on in chunks: then
// Chunk is called instead of Token, any number of times, for a single token that ends at Finish.
class TextSink {
 public:
  virtual ~TextSink() = default;
  virtual void Token(std::string_view text) = 0;
  // REQUIRES: text ends between two characters.
  virtual void Chunk(std::string_view text) = 0;
  virtual void Finish() = 0;
};

class DecoderStep {
 public:
  virtual ~DecoderStep() = default;
  // `chunked`: the step before joins the tokens. `next` must outlive the sink, as must this step.
  virtual std::unique_ptr<TextSink> Start(bool chunked, TextSink* next) const = 0;
  // Whether what leaves this step is chunked.
  virtual bool Joins() const { return false; }
};

// A decoder at work: the sinks of one stream.
class DecoderRun {
 public:
  void Token(std::string_view text) { sinks_.back()->Token(text); }
  void Finish() { sinks_.back()->Finish(); }
  // The text that became certain since the last call; valid until the next one.
  std::string_view Take();

 private:
  friend class Decoder;
  class Collector;
  std::vector<std::unique_ptr<TextSink>> sinks_;  // from the last step to the first
  std::string* text_ = nullptr;                   // in the collector
  std::string taken_;
};

class Decoder {
 public:
  // The node may be absent: then tokens are joined with spaces.
  static Result<Decoder> Parse(const JsonNode& node);

  DecoderRun Start() const;

 private:
  Status Add(const JsonNode& node);

  std::vector<std::unique_ptr<const DecoderStep>> steps_;
};

}  // namespace onepass
