#include "tokenizer/pre_tokenizer.h"

#include <utility>

#include "tokenizer/byte_level.h"
#include "tokenizer/metaspace.h"
#include "tokenizer/pattern.h"
#include "tokenizer/split.h"
#include "tokenizer/unicode.h"
#include "tokenizer/word_patterns.h"

namespace onepass {
namespace {

constexpr std::string_view kKnown =
    "one of Sequence, Split, ByteLevel, Digits, Metaspace, Whitespace, WhitespaceSplit, "
    "Punctuation, CharDelimiterSplit, BertPreTokenizer";

constexpr std::string_view kWhitespacePattern = R"(\w+|[^\w\s]+)";

// Cuts every text span into the parts that `find` collects.
template <class Find>
void SplitSpans(Words* words, SplitBehavior behavior, bool invert, Find find) {
  std::vector<Words::Span> old;
  old.swap(words->spans);
  words->spans.reserve(old.size());
  for (const Words::Span& span : old) {
    if (span.token != Words::kNoToken) {
      words->spans.push_back(span);
      continue;
    }
    PartCollector collector(span.end - span.begin, invert);
    find(words->TextOf(span), &collector);
    std::vector<TextPart> parts = collector.Finish();
    ApplySplitBehavior(behavior, &parts);
    for (const TextPart& part : parts) {
      words->AddPart(span, span.begin + part.begin, span.begin + part.end);
    }
  }
}

class RegexSplit : public PreTokenizerStep {
 public:
  RegexSplit(Regex regex, SplitBehavior behavior, bool invert)
      : regex_(std::move(regex)), behavior_(behavior), invert_(invert) {}
  void Apply(Words* words) const override {
    SplitSpans(words, behavior_, invert_, [this](std::string_view text, PartCollector* parts) {
      regex_.ForEachMatch(text, [parts](size_t begin, size_t end) { parts->AddMatch(begin, end); });
    });
  }

 private:
  Regex regex_;
  SplitBehavior behavior_;
  bool invert_;
};

// Every character of a class is a match by itself.
template <class IsMember>
class CharSplit : public PreTokenizerStep {
 public:
  CharSplit(IsMember is_member, SplitBehavior behavior)
      : is_member_(std::move(is_member)), behavior_(behavior) {}
  void Apply(Words* words) const override {
    SplitSpans(words, behavior_, false, [this](std::string_view text, PartCollector* parts) {
      size_t pos = 0;
      while (pos < text.size()) {
        const size_t begin = pos;
        if (is_member_(NextCodePoint(text, &pos))) parts->AddMatch(begin, pos);
      }
    });
  }

 private:
  IsMember is_member_;
  SplitBehavior behavior_;
};

template <class IsMember>
std::unique_ptr<const PreTokenizerStep> MakeCharSplit(IsMember is_member, SplitBehavior behavior) {
  return std::make_unique<CharSplit<IsMember>>(std::move(is_member), behavior);
}

// Writes every text span anew.
template <class Rewrite>
void RewriteSpans(Words* words, Rewrite rewrite) {
  std::string buffer;
  buffer.reserve(words->buffer.size() + words->buffer.size() / 4);
  for (Words::Span& span : words->spans) {
    const size_t begin = buffer.size();
    if (span.token == Words::kNoToken) {
      span.at_origin = rewrite(words->TextOf(span), span.at_origin, &buffer);
    }
    span.begin = begin;
    span.end = buffer.size();
  }
  words->buffer = std::move(buffer);
}

class ByteLevelStep : public PreTokenizerStep {
 public:
  ByteLevelStep(bool add_prefix_space, std::unique_ptr<const PreTokenizerStep> split)
      : add_prefix_space_(add_prefix_space), split_(std::move(split)) {}
  void Apply(Words* words) const override {
    if (add_prefix_space_) {
      RewriteSpans(words, [](std::string_view text, size_t at_origin, std::string* out) {
        const bool add = !text.starts_with(' ');
        if (add) out->push_back(' ');
        out->append(text);
        return at_origin > 0 && add ? at_origin + 1 : at_origin;
      });
    }
    if (split_ != nullptr) split_->Apply(words);
    RewriteSpans(words, [](std::string_view text, size_t at_origin, std::string* out) {
      const size_t begin = out->size();
      AppendByteLevel(text.substr(0, at_origin), out);
      const size_t written = out->size() - begin;
      AppendByteLevel(text.substr(at_origin), out);
      return written;
    });
  }

 private:
  bool add_prefix_space_;
  std::unique_ptr<const PreTokenizerStep> split_;
};

class MetaspacePreTokenizerStep : public PreTokenizerStep {
 public:
  explicit MetaspacePreTokenizerStep(MetaspaceOptions options) : options_(std::move(options)) {}
  void Apply(Words* words) const override {
    const std::string& mark = options_.replacement;
    RewriteSpans(words, [&](std::string_view text, size_t at_origin, std::string* out) {
      const bool has_mark = text.starts_with(' ') || text.starts_with(mark);
      const bool wanted = options_.prepend == MetaspaceOptions::Prepend::kAlways ||
                          (options_.prepend == MetaspaceOptions::Prepend::kFirst && at_origin > 0);
      const size_t begin = out->size();
      if (wanted && !has_mark) out->append(mark);
      size_t new_origin = 0;
      for (size_t i = 0; i < text.size(); ++i) {
        if (i == at_origin) new_origin = out->size() - begin;
        if (text[i] == ' ') {
          out->append(mark);
        } else {
          out->push_back(text[i]);
        }
      }
      if (at_origin >= text.size()) new_origin = out->size() - begin;
      return at_origin == 0 ? 0 : new_origin;
    });
    if (!options_.split) return;
    SplitSpans(words, SplitBehavior::kMergedWithNext, false,
               [&mark](std::string_view text, PartCollector* parts) {
                 for (size_t at = text.find(mark); at != std::string_view::npos;
                      at = text.find(mark, at + mark.size())) {
                   parts->AddMatch(at, at + mark.size());
                 }
               });
  }

 private:
  MetaspaceOptions options_;
};

Result<std::unique_ptr<const PreTokenizerStep>> MakeRegexSplit(std::string_view pattern,
                                                               RegexDialect dialect,
                                                               SplitBehavior behavior,
                                                               bool invert) {
  ASSIGN_OR_RETURN(Regex regex, Regex::Compile(pattern, dialect));
  return std::unique_ptr<const PreTokenizerStep>(
      std::make_unique<RegexSplit>(std::move(regex), behavior, invert));
}

}  // namespace

Status PreTokenizer::Add(const JsonNode& node) {
  RETURN_IF_ERROR(node.ExpectObject());
  ASSIGN_OR_RETURN(const std::string type, node.Member("type").String());
  if (type == "Sequence") {
    const JsonNode list = node.Member("pretokenizers");
    RETURN_IF_ERROR(list.ExpectArray());
    for (size_t i = 0; i < list.size(); ++i) RETURN_IF_ERROR(Add(list.Element(i)));
  } else if (type == "Split") {
    ASSIGN_OR_RETURN(Pattern pattern, ParsePattern(node.Member("pattern")));
    if (!node.Member("behavior").present()) return node.Member("behavior").Want("a behaviour");
    ASSIGN_OR_RETURN(const SplitBehavior behavior,
                     ParseSplitBehavior(node.Member("behavior"), SplitBehavior::kIsolated));
    ASSIGN_OR_RETURN(const bool invert, node.Member("invert").BoolOr(false));
    steps_.push_back(std::make_unique<RegexSplit>(std::move(pattern.regex), behavior, invert));
  } else if (type == "ByteLevel") {
    ASSIGN_OR_RETURN(const bool add_prefix_space, node.Member("add_prefix_space").BoolOr(true));
    ASSIGN_OR_RETURN(const bool use_regex, node.Member("use_regex").BoolOr(true));
    std::unique_ptr<const PreTokenizerStep> split;
    if (use_regex) {
      ASSIGN_OR_RETURN(split, MakeRegexSplit(kGpt2Pattern, RegexDialect::kOniguruma,
                                             SplitBehavior::kIsolated, false));
    }
    steps_.push_back(std::make_unique<ByteLevelStep>(add_prefix_space, std::move(split)));
  } else if (type == "Digits") {
    ASSIGN_OR_RETURN(const bool single, node.Member("individual_digits").BoolOr(false));
    steps_.push_back(
        MakeCharSplit(IsNumeric, single ? SplitBehavior::kIsolated : SplitBehavior::kContiguous));
  } else if (type == "Metaspace") {
    ASSIGN_OR_RETURN(MetaspaceOptions options, ParseMetaspace(node));
    steps_.push_back(std::make_unique<MetaspacePreTokenizerStep>(std::move(options)));
  } else if (type == "Whitespace") {
    ASSIGN_OR_RETURN(auto step, MakeRegexSplit(kWhitespacePattern, RegexDialect::kRust,
                                               SplitBehavior::kRemoved, true));
    steps_.push_back(std::move(step));
  } else if (type == "WhitespaceSplit") {
    steps_.push_back(MakeCharSplit(IsWhitespace, SplitBehavior::kRemoved));
  } else if (type == "Punctuation") {
    ASSIGN_OR_RETURN(const SplitBehavior behavior,
                     ParseSplitBehavior(node.Member("behavior"), SplitBehavior::kIsolated));
    steps_.push_back(MakeCharSplit(IsPunctuation, behavior));
  } else if (type == "CharDelimiterSplit") {
    ASSIGN_OR_RETURN(const std::string text, node.Member("delimiter").String());
    if (text.empty() || FirstCharLength(text) != text.size()) {
      return node.Member("delimiter").Want("one character");
    }
    size_t pos = 0;
    const uint32_t delimiter = NextCodePoint(text, &pos);
    steps_.push_back(
        MakeCharSplit([delimiter](uint32_t c) { return c == delimiter; }, SplitBehavior::kRemoved));
  } else if (type == "BertPreTokenizer") {
    steps_.push_back(MakeCharSplit(IsWhitespace, SplitBehavior::kRemoved));
    steps_.push_back(MakeCharSplit(IsPunctuation, SplitBehavior::kIsolated));
  } else {
    return node.Member("type").UnsupportedHere(kKnown);
  }
  return Status::Ok();
}

Result<PreTokenizer> PreTokenizer::Parse(const JsonNode& node) {
  PreTokenizer pre_tokenizer;
  if (node.present()) RETURN_IF_ERROR(pre_tokenizer.Add(node));
  return pre_tokenizer;
}

}  // namespace onepass
