#include "tokenizer/normalizer.h"

#include <optional>
#include <utility>

#include "tokenizer/byte_level.h"
#include "tokenizer/pattern.h"
#include "tokenizer/unicode.h"

namespace onepass {
namespace {

constexpr std::string_view kKnownNormalizers =
    "one of Sequence, NFC, NFD, NFKC, NFKD, Prepend, Replace, Lowercase, Strip, StripAccents, Nmt, "
    "ByteLevel";

// A step that maps the text as a whole; the first character stays the first one.
template <class Function>
class MapStep : public NormalizerStep {
 public:
  explicit MapStep(Function map) : map_(std::move(map)) {}
  void Apply(SourceText* source) const override {
    source->text = map_(std::string_view(source->text));
    if (source->at_origin > 0) source->at_origin = FirstCharLength(source->text);
  }

 private:
  Function map_;
};

template <class Function>
std::unique_ptr<const NormalizerStep> MakeMap(Function map) {
  return std::make_unique<MapStep<Function>>(std::move(map));
}

class PrependStep : public NormalizerStep {
 public:
  explicit PrependStep(std::string prefix) : prefix_(std::move(prefix)) {}
  void Apply(SourceText* source) const override {
    if (source->text.empty()) return;
    source->text.insert(0, prefix_);
    if (source->at_origin > 0) source->at_origin += prefix_.size();
  }

 private:
  std::string prefix_;
};

class StripNormalizerStep : public NormalizerStep {
 public:
  StripNormalizerStep(bool left, bool right) : left_(left), right_(right) {}
  void Apply(SourceText* source) const override {
    const std::string& text = source->text;
    size_t begin = 0;
    size_t end = 0;  // behind the last character that stays
    bool leading = left_;
    size_t pos = 0;
    while (pos < text.size()) {
      const bool space = IsWhitespace(NextCodePoint(text, &pos));
      if (leading && space) begin = pos;
      if (!space) leading = false;
      if (!space || !right_) end = pos;
    }
    end = std::max(begin, end);
    if (begin > 0) source->at_origin = 0;
    source->text = text.substr(begin, end - begin);
  }

 private:
  bool left_;
  bool right_;
};

std::string StripAccents(std::string_view text) {
  std::string out;
  size_t pos = 0;
  while (pos < text.size()) {
    const size_t begin = pos;
    if (!IsMark(NextCodePoint(text, &pos))) out.append(text.substr(begin, pos - begin));
  }
  return out;
}

// SentencePiece's "nmt" rules: control characters go, odd spaces become spaces.
std::string Nmt(std::string_view text) {
  std::string out;
  size_t pos = 0;
  while (pos < text.size()) {
    const size_t begin = pos;
    const uint32_t c = NextCodePoint(text, &pos);
    const bool control = (c >= 0x1 && c <= 0x8) || c == 0xB || (c >= 0xE && c <= 0x1F) ||
                         c == 0x7F || c == 0x8F || c == 0x9F;
    if (control) continue;
    const bool space = c == 0x9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
                       (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                       c == 0xFEFF || c == 0xFFFD;
    out.append(space ? " " : text.substr(begin, pos - begin));
  }
  return out;
}

}  // namespace

Status Normalizer::Add(const JsonNode& node) {
  RETURN_IF_ERROR(node.ExpectObject());
  ASSIGN_OR_RETURN(const std::string type, node.Member("type").String());
  const auto add_form = [this](NormalForm form) {
    steps_.push_back(MakeMap([form](std::string_view text) { return Normalize(text, form); }));
    return Status::Ok();
  };
  if (type == "NFC") return add_form(NormalForm::kNfc);
  if (type == "NFD") return add_form(NormalForm::kNfd);
  if (type == "NFKC") return add_form(NormalForm::kNfkc);
  if (type == "NFKD") return add_form(NormalForm::kNfkd);
  if (type == "Sequence") {
    const JsonNode list = node.Member("normalizers");
    RETURN_IF_ERROR(list.ExpectArray());
    for (size_t i = 0; i < list.size(); ++i) RETURN_IF_ERROR(Add(list.Element(i)));
  } else if (type == "Prepend") {
    ASSIGN_OR_RETURN(std::string prefix, node.Member("prepend").String());
    steps_.push_back(std::make_unique<PrependStep>(std::move(prefix)));
  } else if (type == "Replace") {
    ASSIGN_OR_RETURN(Pattern pattern, ParsePattern(node.Member("pattern")));
    ASSIGN_OR_RETURN(std::string content, node.Member("content").String());
    steps_.push_back(MakeMap(
        [pattern = std::move(pattern), content = std::move(content)](std::string_view text) {
          return ReplaceMatches(pattern.regex, text, content);
        }));
  } else if (type == "Lowercase") {
    steps_.push_back(MakeMap([](std::string_view text) { return Lowercase(text); }));
  } else if (type == "StripAccents") {
    steps_.push_back(MakeMap([](std::string_view text) { return StripAccents(text); }));
  } else if (type == "Nmt") {
    steps_.push_back(MakeMap([](std::string_view text) { return Nmt(text); }));
  } else if (type == "Strip") {
    ASSIGN_OR_RETURN(const bool left, node.Member("strip_left").BoolOr(true));
    ASSIGN_OR_RETURN(const bool right, node.Member("strip_right").BoolOr(true));
    steps_.push_back(std::make_unique<StripNormalizerStep>(left, right));
  } else if (type == "ByteLevel") {
    writes_byte_level_ = true;
    steps_.push_back(MakeMap([](std::string_view text) {
      std::string out;
      AppendByteLevel(text, &out);
      return out;
    }));
  } else {
    return node.Member("type").UnsupportedHere(kKnownNormalizers);
  }
  return Status::Ok();
}

Result<Normalizer> Normalizer::Parse(const JsonNode& node) {
  Normalizer normalizer;
  if (node.present()) RETURN_IF_ERROR(normalizer.Add(node));
  return normalizer;
}

std::string Normalizer::Apply(std::string_view text) const {
  SourceText source{std::string(text), 0};
  Apply(&source);
  return std::move(source.text);
}

}  // namespace onepass
