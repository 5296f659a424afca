#include "tokenizer/decoder_steps.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "core/quote.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/unicode.h"

namespace onepass {
namespace {

// A step whose sink is made by a function.
template <class MakeSink>
class SimpleStep : public DecoderStep {
 public:
  SimpleStep(MakeSink make, bool joins) : make_(std::move(make)), joins_(joins) {}
  std::unique_ptr<TextSink> Start(bool, TextSink* next) const override { return make_(next); }
  bool Joins() const override { return joins_; }

 private:
  MakeSink make_;
  bool joins_;
};

template <class MakeSink>
std::unique_ptr<const DecoderStep> MakeStep(MakeSink make, bool joins) {
  return std::make_unique<SimpleStep<MakeSink>>(std::move(make), joins);
}

// For steps that must see a token whole: a chunked one is kept until it ends.
class WholeTokenSink : public TextSink {
 public:
  explicit WholeTokenSink(TextSink* next) : next_(next) {}
  void Chunk(std::string_view text) override {
    chunked_ = true;
    whole_.append(text);
  }
  void Finish() override {
    if (chunked_) Token(whole_);
    End();
    next_->Finish();
  }

 protected:
  virtual void End() {}
  // To the next sink, in the manner in which this one is fed.
  void Send(std::string_view text) {
    if (chunked_) {
      next_->Chunk(text);
    } else {
      next_->Token(text);
    }
  }
  TextSink* next_;

 private:
  bool chunked_ = false;
  std::string whole_;
};

class ByteLevelSink : public WholeTokenSink {
 public:
  using WholeTokenSink::WholeTokenSink;
  void Token(std::string_view text) override {
    bytes_.clear();
    AppendByteLevelBytes(text, &bytes_);
    text_.clear();
    assembler_.Push(bytes_, &text_);
    if (!text_.empty()) next_->Chunk(text_);
  }

 protected:
  void End() override {
    text_.clear();
    assembler_.Finish(&text_);
    if (!text_.empty()) next_->Chunk(text_);
  }

 private:
  Utf8Assembler assembler_;
  std::string bytes_;
  std::string text_;
};

// The byte of a token like <0x0A>.
std::optional<char> ByteOfToken(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  int byte = 0;
  for (const char c : token.substr(3, 2)) {
    int digit;
    if (c >= '0' && c <= '9') {
      digit = c - '0';
    } else if (c >= 'a' && c <= 'f') {
      digit = c - 'a' + 10;
    } else if (c >= 'A' && c <= 'F') {
      digit = c - 'A' + 10;
    } else if (c == '+' && &c == &token[3]) {
      digit = 0;  // the reference parser takes a sign
    } else {
      return std::nullopt;
    }
    byte = byte * 16 + digit;
  }
  return static_cast<char>(byte);
}

// A run of byte tokens is text if all of it is UTF-8, else U+FFFD for each byte. So a run is
// certain only when it ends.
class ByteFallbackSink : public WholeTokenSink {
 public:
  using WholeTokenSink::WholeTokenSink;
  void Token(std::string_view text) override {
    if (const std::optional<char> byte = ByteOfToken(text)) {
      run_.push_back(*byte);
      return;
    }
    Flush();
    Send(text);
  }

 protected:
  void End() override { Flush(); }

 private:
  void Flush() {
    if (run_.empty()) return;
    if (IsUtf8(run_)) {
      Send(run_);
    } else {
      for (size_t i = 0; i < run_.size(); ++i) Send(kReplacementText);
    }
    run_.clear();
  }
  std::string run_;
};

class FuseSink : public TextSink {
 public:
  explicit FuseSink(TextSink* next) : next_(next) {}
  void Token(std::string_view text) override { next_->Chunk(text); }
  void Chunk(std::string_view text) override { next_->Chunk(text); }
  void Finish() override { next_->Finish(); }

 private:
  TextSink* next_;
};

// An expression may look anywhere, so a chunked token waits for its end.
class RegexReplaceSink : public WholeTokenSink {
 public:
  RegexReplaceSink(const Regex* regex, const std::string* content, TextSink* next)
      : WholeTokenSink(next), regex_(regex), content_(content) {}
  void Token(std::string_view text) override { Send(ReplaceMatches(*regex_, text, *content_)); }

 private:
  const Regex* regex_;
  const std::string* content_;
};

class LiteralReplaceSink : public TextSink {
 public:
  LiteralReplaceSink(const Pattern* pattern, const std::string* content, TextSink* next)
      : pattern_(pattern), content_(content), next_(next) {}
  void Token(std::string_view text) override {
    next_->Token(ReplaceMatches(pattern_->regex, text, *content_));
  }
  void Chunk(std::string_view text) override {
    const std::string& wanted = pattern_->literal;
    pending_.append(text);
    std::string out;
    size_t done = 0;
    for (size_t at = pending_.find(wanted); at != std::string::npos;
         at = pending_.find(wanted, done)) {
      out.append(pending_, done, at - done);
      out.append(*content_);
      done = at + wanted.size();
    }
    // What could still begin a match stays, from the start of a character on.
    size_t keep = std::max(done, pending_.size() - std::min(pending_.size(), wanted.size() - 1));
    while (keep < pending_.size() && (static_cast<uint8_t>(pending_[keep]) & 0xC0) == 0x80) ++keep;
    out.append(pending_, done, keep - done);
    pending_.erase(0, keep);
    if (!out.empty()) next_->Chunk(out);
  }
  void Finish() override {
    if (!pending_.empty()) next_->Chunk(pending_);
    next_->Finish();
  }

 private:
  const Pattern* pattern_;
  const std::string* content_;
  TextSink* next_;
  std::string pending_;  // shorter than the pattern
};

class ReplaceStep : public DecoderStep {
 public:
  ReplaceStep(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  std::unique_ptr<TextSink> Start(bool, TextSink* next) const override {
    if (pattern_.is_literal)
      return std::make_unique<LiteralReplaceSink>(&pattern_, &content_, next);
    return std::make_unique<RegexReplaceSink>(&pattern_.regex, &content_, next);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

struct StripOptions {
  std::string content;
  int64_t start;
  int64_t stop;
};

class StripSink : public TextSink {
 public:
  StripSink(const StripOptions* options, TextSink* next) : options_(options), next_(next) {}
  void Token(std::string_view text) override {
    const std::string& content = options_->content;
    for (int64_t i = 0; i < options_->start && text.starts_with(content); ++i) {
      text.remove_prefix(content.size());
    }
    for (int64_t i = 0; i < options_->stop && text.ends_with(content); ++i) {
      text.remove_suffix(content.size());
    }
    next_->Token(text);
  }
  void Chunk(std::string_view text) override {
    const std::string& content = options_->content;
    while (stripped_ < options_->start && !text.empty()) {
      if (!text.starts_with(content)) {
        stripped_ = options_->start;
        break;
      }
      text.remove_prefix(content.size());
      ++stripped_;
    }
    if (text.empty()) return;
    // The last characters wait: they may be the ones at the end.
    std::string_view body = text;
    int64_t trailing = 0;
    while (body.ends_with(content)) {
      body.remove_suffix(content.size());
      ++trailing;
    }
    if (!body.empty()) {
      SendContent(held_);
      held_ = 0;
      next_->Chunk(body);
    }
    held_ += trailing;
    if (held_ > options_->stop) {
      SendContent(held_ - options_->stop);
      held_ = options_->stop;
    }
  }
  void Finish() override { next_->Finish(); }

 private:
  void SendContent(int64_t count) {
    std::string text;
    for (int64_t i = 0; i < count; ++i) text += options_->content;
    if (!text.empty()) next_->Chunk(text);
  }

  const StripOptions* options_;
  TextSink* next_;
  int64_t stripped_ = 0;
  int64_t held_ = 0;  // at most stop characters
};

class StripStep : public DecoderStep {
 public:
  explicit StripStep(StripOptions options) : options_(std::move(options)) {}
  std::unique_ptr<TextSink> Start(bool, TextSink* next) const override {
    return std::make_unique<StripSink>(&options_, next);
  }

 private:
  StripOptions options_;
};

class MetaspaceSink : public TextSink {
 public:
  MetaspaceSink(const MetaspaceOptions* options, TextSink* next) : options_(options), next_(next) {}
  void Token(std::string_view text) override {
    next_->Token(Rewrite(text));
    first_ = false;
  }
  void Chunk(std::string_view text) override { next_->Chunk(Rewrite(text)); }
  void Finish() override { next_->Finish(); }

 private:
  std::string Rewrite(std::string_view text) const {
    const bool drop = first_ && options_->prepend != MetaspaceOptions::Prepend::kNever;
    const std::string& mark = options_->replacement;
    std::string out;
    size_t done = 0;
    for (size_t at = text.find(mark); at != std::string_view::npos; at = text.find(mark, done)) {
      out.append(text.substr(done, at - done));
      if (!drop) out.push_back(' ');
      done = at + mark.size();
    }
    out.append(text.substr(done));
    return out;
  }

  const MetaspaceOptions* options_;
  TextSink* next_;
  bool first_ = true;
};

class MetaspaceStep : public DecoderStep {
 public:
  explicit MetaspaceStep(MetaspaceOptions options) : options_(std::move(options)) {}
  std::unique_ptr<TextSink> Start(bool, TextSink* next) const override {
    return std::make_unique<MetaspaceSink>(&options_, next);
  }

 private:
  MetaspaceOptions options_;
};

class BpeDecoderSink : public WholeTokenSink {
 public:
  BpeDecoderSink(const std::string* suffix, TextSink* next)
      : WholeTokenSink(next), suffix_(suffix) {}
  void Token(std::string_view text) override {
    if (held_) Send(Replaced(" "));
    held_ = std::string(text);
  }

 protected:
  void End() override {
    if (held_) Send(Replaced(""));
  }

 private:
  std::string Replaced(std::string_view with) const {
    if (suffix_->empty()) return *held_;
    std::string out;
    size_t done = 0;
    for (size_t at = held_->find(*suffix_); at != std::string::npos;
         at = held_->find(*suffix_, done)) {
      out.append(*held_, done, at - done);
      out.append(with);
      done = at + suffix_->size();
    }
    out.append(*held_, done, std::string::npos);
    return out;
  }

  const std::string* suffix_;
  std::optional<std::string> held_;
};

class BpeDecoderStep : public DecoderStep {
 public:
  explicit BpeDecoderStep(std::string suffix) : suffix_(std::move(suffix)) {}
  std::unique_ptr<TextSink> Start(bool, TextSink* next) const override {
    return std::make_unique<BpeDecoderSink>(&suffix_, next);
  }

 private:
  std::string suffix_;
};

}  // namespace

std::unique_ptr<const DecoderStep> MakeByteLevelDecoder() {
  return MakeStep([](TextSink* next) { return std::make_unique<ByteLevelSink>(next); }, true);
}

std::unique_ptr<const DecoderStep> MakeByteFallbackDecoder() {
  return MakeStep([](TextSink* next) { return std::make_unique<ByteFallbackSink>(next); }, false);
}

std::unique_ptr<const DecoderStep> MakeFuseDecoder() {
  return MakeStep([](TextSink* next) { return std::make_unique<FuseSink>(next); }, true);
}

std::unique_ptr<const DecoderStep> MakeReplaceDecoder(Pattern pattern, std::string content) {
  return std::make_unique<ReplaceStep>(std::move(pattern), std::move(content));
}

std::unique_ptr<const DecoderStep> MakeStripDecoder(std::string content, int64_t start,
                                                    int64_t stop) {
  return std::make_unique<StripStep>(StripOptions{std::move(content), start, stop});
}

std::unique_ptr<const DecoderStep> MakeMetaspaceDecoder(MetaspaceOptions options) {
  return std::make_unique<MetaspaceStep>(std::move(options));
}

std::unique_ptr<const DecoderStep> MakeBpeDecoder(std::string suffix) {
  return std::make_unique<BpeDecoderStep>(std::move(suffix));
}

}  // namespace onepass
