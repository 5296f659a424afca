#include "tokenizer/decoder.h"

#include <utility>

#include "tokenizer/decoder_steps.h"
#include "tokenizer/unicode.h"

namespace onepass {
namespace {

constexpr std::string_view kKnownDecoders =
    "one of Sequence, ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip, BPEDecoder";

// Joins tokens with spaces.
class SpaceJoin : public DecoderStep {
 public:
  std::unique_ptr<TextSink> Start(bool, TextSink* next) const override {
    class Sink : public TextSink {
     public:
      explicit Sink(TextSink* next) : next_(next) {}
      void Token(std::string_view text) override {
        if (!first_) next_->Chunk(" ");
        first_ = false;
        next_->Chunk(text);
      }
      void Chunk(std::string_view text) override { next_->Chunk(text); }
      void Finish() override { next_->Finish(); }

     private:
      TextSink* next_;
      bool first_ = true;
    };
    return std::make_unique<Sink>(next);
  }
  bool Joins() const override { return true; }
};

}  // namespace

class DecoderRun::Collector : public TextSink {
 public:
  void Token(std::string_view text) override { text_.append(text); }
  void Chunk(std::string_view text) override { text_.append(text); }
  void Finish() override {}
  std::string* text() { return &text_; }

 private:
  std::string text_;
};

std::string_view DecoderRun::Take() {
  taken_.clear();
  taken_.swap(*text_);
  return taken_;
}

Status Decoder::Add(const JsonNode& node) {
  RETURN_IF_ERROR(node.ExpectObject());
  ASSIGN_OR_RETURN(const std::string type, node.Member("type").String());
  if (type == "Sequence") {
    const JsonNode list = node.Member("decoders");
    RETURN_IF_ERROR(list.ExpectArray());
    for (size_t i = 0; i < list.size(); ++i) RETURN_IF_ERROR(Add(list.Element(i)));
  } else if (type == "ByteLevel") {
    steps_.push_back(MakeByteLevelDecoder());
  } else if (type == "ByteFallback") {
    steps_.push_back(MakeByteFallbackDecoder());
  } else if (type == "Fuse") {
    steps_.push_back(MakeFuseDecoder());
  } else if (type == "Metaspace") {
    ASSIGN_OR_RETURN(MetaspaceOptions options, ParseMetaspace(node));
    steps_.push_back(MakeMetaspaceDecoder(std::move(options)));
  } else if (type == "Replace") {
    ASSIGN_OR_RETURN(Pattern pattern, ParsePattern(node.Member("pattern")));
    ASSIGN_OR_RETURN(std::string content, node.Member("content").String());
    steps_.push_back(MakeReplaceDecoder(std::move(pattern), std::move(content)));
  } else if (type == "Strip") {
    ASSIGN_OR_RETURN(std::string content, node.Member("content").String());
    if (content.empty() || FirstCharLength(content) != content.size()) {
      return node.Member("content").Want("one character");
    }
    ASSIGN_OR_RETURN(const int64_t start, node.Member("start").Integer(0, 1 << 20));
    ASSIGN_OR_RETURN(const int64_t stop, node.Member("stop").Integer(0, 1 << 20));
    steps_.push_back(MakeStripDecoder(std::move(content), start, stop));
  } else if (type == "BPEDecoder") {
    ASSIGN_OR_RETURN(std::string suffix, node.Member("suffix").StringOr("</w>"));
    steps_.push_back(MakeBpeDecoder(std::move(suffix)));
  } else {
    return node.Member("type").UnsupportedHere(kKnownDecoders);
  }
  return Status::Ok();
}

Result<Decoder> Decoder::Parse(const JsonNode& node) {
  Decoder decoder;
  if (node.present()) {
    RETURN_IF_ERROR(decoder.Add(node));
  } else {
    decoder.steps_.push_back(std::make_unique<SpaceJoin>());
  }
  return decoder;
}

DecoderRun Decoder::Start() const {
  DecoderRun run;
  auto collector = std::make_unique<DecoderRun::Collector>();
  run.text_ = collector->text();
  run.sinks_.push_back(std::move(collector));
  size_t first_join = 0;  // the first step that joins; behind it all is chunked
  while (first_join < steps_.size() && !steps_[first_join]->Joins()) ++first_join;
  for (size_t i = steps_.size(); i-- > 0;) {
    run.sinks_.push_back(steps_[i]->Start(i > first_join, run.sinks_.back().get()));
  }
  return run;
}

}  // namespace onepass
