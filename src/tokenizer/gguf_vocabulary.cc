// Says in tokenizer.json's words what a GGUF file's lists mean, so that one implementation serves
// both.
#include "tokenizer/gguf_vocabulary.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "core/quote.h"
#include "tokenizer/gguf_pre_tokenizer.h"
#include "tokenizer/json_document.h"
#include "tokenizer/unicode.h"
#include "tokenizer/word_patterns.h"

namespace onepass {
namespace {

using Json = nlohmann::json;

// Merges are sought by cutting a token everywhere: the work grows with the square of its length.
constexpr size_t kMaxScoredBytes = 512;
// Vocabularies of a quarter of a million tokens have half a million.
constexpr size_t kMaxScoredMerges = size_t{1} << 22;
constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

enum TokenType {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

class Maker {
 public:
  Maker(const GgufVocabulary& from, const std::string& name) : from_(from), name_(name) {}

  Result<std::unique_ptr<const Tokenizer>> Make() {
    RETURN_IF_ERROR(CheckTokens());
    document_.rest = {{"model", {{"type", "BPE"}}}, {"added_tokens", Json::array()}};
    document_.has_vocab = document_.has_merges = document_.merges_are_pairs = true;
    bool add_bos = false;
    if (from_.model == "gpt2") {
      RETURN_IF_ERROR(ReadGpt2(&add_bos));
    } else if (from_.model == "llama") {
      RETURN_IF_ERROR(ReadLlama());
      add_bos = true;
    } else {
      return Unsupported(Message("model", "\"gpt2\" or \"llama\"", Quote(from_.model)));
    }
    FillVocabulary();
    RETURN_IF_ERROR(
        AddTemplate(from_.add_bos.value_or(add_bos && from_.bos), from_.add_eos.value_or(false)));
    return BuildTokenizer(document_, name_);
  }

 private:
  std::string Message(const std::string& key, const std::string& wanted,
                      const std::string& found) const {
    return "gguf: \"tokenizer.ggml." + key + "\": want " + wanted + ", found " + found + " (" +
           name_ + ")";
  }
  Status Want(const std::string& key, const std::string& wanted, const std::string& found) const {
    return InvalidArgument(Message(key, wanted, found));
  }

  int32_t TypeOf(size_t id) const { return from_.types.empty() ? kNormal : from_.types[id]; }
  // Whether text can become it.
  bool IsText(size_t id) const { return TypeOf(id) == kNormal || TypeOf(id) == kUserDefined; }

  Status CheckTokens() {
    const size_t count = from_.tokens.size();
    if (count == 0 || count > static_cast<size_t>(kMaxTokenId) + 1) {
      return Want("tokens", "1 to " + std::to_string(kMaxTokenId + 1) + " tokens",
                  std::to_string(count));
    }
    if (!from_.types.empty() && from_.types.size() != count) {
      return Want("token_type", "one for each of " + std::to_string(count) + " tokens",
                  std::to_string(from_.types.size()));
    }
    for (size_t id = 0; id < count; ++id) {
      const std::string place = "tokens[" + std::to_string(id) + "]";
      if (!IsUtf8(from_.tokens[id])) return Want(place, "UTF-8", Quote(from_.tokens[id]));
      if (TypeOf(id) < kNormal || TypeOf(id) > kByte) {
        return Want("token_type[" + std::to_string(id) + "]", "1 to 6", std::to_string(TypeOf(id)));
      }
      if (TypeOf(id) == kUnused) continue;
      const auto [it, is_new] = ids_.emplace(from_.tokens[id], static_cast<TokenId>(id));
      if (!is_new) {
        return Want(place, "each token once",
                    Quote(from_.tokens[id]) + ", which " + std::to_string(it->second) + " is too");
      }
    }
    return Status::Ok();
  }

  void FillVocabulary() {
    Json& added = document_.rest["added_tokens"];
    for (size_t id = 0; id < from_.tokens.size(); ++id) {
      const int32_t type = TypeOf(id);
      if (type == kUnused) continue;  // padding: no text becomes it, and it has no text
      document_.vocab_tokens.Add(from_.tokens[id]);
      document_.vocab_ids.push_back(static_cast<TokenId>(id));
      if (type != kControl && type != kUnknown && type != kUserDefined) continue;
      added.push_back({{"id", id},
                       {"content", std::string(from_.tokens[id])},
                       {"normalized", false},
                       {"special", type != kUserDefined}});
    }
  }

  // The token of a special id, which a key names.
  Result<std::string> TextOf(const std::string& key, std::optional<TokenId> id) const {
    if (id && *id >= 0 && static_cast<size_t>(*id) < from_.tokens.size() &&
        TypeOf(static_cast<size_t>(*id)) != kUnused) {
      return std::string(from_.tokens[static_cast<size_t>(*id)]);
    }
    return Want(key, "an id of a token", id ? std::to_string(*id) : "nothing");
  }

  Status AddTemplate(bool add_bos, bool add_eos) {
    Json single = Json::array();
    Json tokens = Json::object();
    const auto add = [&](const std::string& key, std::optional<TokenId> id) -> Status {
      ASSIGN_OR_RETURN(const std::string text, TextOf(key, id));
      single.push_back({{"SpecialToken", {{"id", text}}}});
      tokens[text] = {{"ids", {*id}}};
      return Status::Ok();
    };
    if (add_bos) RETURN_IF_ERROR(add("bos_token_id", from_.bos));
    single.push_back({{"Sequence", {{"id", "A"}}}});
    if (add_eos) RETURN_IF_ERROR(add("eos_token_id", from_.eos));
    if (!add_bos && !add_eos) return Status::Ok();
    document_.rest["post_processor"] = {
        {"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", tokens}};
    return Status::Ok();
  }

  Status ReadGpt2(bool* add_bos) {
    const std::string pre = from_.pre.empty() ? "default" : from_.pre;
    const GgufPreTokenizer* kind = FindGgufPreTokenizer(pre);
    if (kind == nullptr) {
      return Unsupported(Message("pre", "one of " + GgufPreTokenizerNames(), Quote(pre)));
    }
    document_.kind = "BPE (GGUF, " + pre + ")";
    *add_bos = kind->add_bos;
    Json steps = Json::array();
    // The step that spells bytes as characters can cut as GPT-2 does itself, and then knows how to
    // put a space in front; no other kind of file has one.
    const bool is_gpt2 = kind->patterns == std::vector{kGpt2Pattern};
    for (const std::string_view pattern : kind->patterns) {
      if (is_gpt2) break;
      steps.push_back({{"type", "Split"},
                       {"pattern", {{"Regex", std::string(pattern)}}},
                       {"behavior", "Isolated"},
                       {"invert", false}});
    }
    steps.push_back({{"type", "ByteLevel"},
                     {"add_prefix_space", is_gpt2 && from_.add_space_prefix.value_or(false)},
                     {"use_regex", is_gpt2}});
    document_.rest["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", steps}};
    if (kind->nfc) document_.rest["normalizer"] = {{"type", "NFC"}};
    document_.rest["decoder"] = {{"type", "ByteLevel"}};
    document_.rest["model"]["ignore_merges"] = kind->ignore_merges;
    return ReadMerges();
  }

  // "left right", where the space that parts them is the first one that is not the first character:
  // byte-level characters hold no space, but a token of one space may stand in front.
  Status ReadMerges() {
    for (size_t i = 0; i < from_.merges.size(); ++i) {
      const std::string_view line = from_.merges[i];
      const std::string place = "merges[" + std::to_string(i) + "]";
      const size_t space = line.find(' ', 1);
      if (!IsUtf8(line) || space == std::string_view::npos) {
        return Want(place, "two tokens with a space between them", Quote(line));
      }
      const std::string_view left = line.substr(0, space);
      const std::string_view right = line.substr(space + 1);
      const std::string merged = std::string(left) + std::string(right);
      for (const std::string_view token : {left, right, std::string_view(merged)}) {
        if (!ids_.contains(token)) return Want(place, "tokens of the vocabulary", Quote(token));
      }
      document_.merges.Add(left);
      document_.merges.Add(right);
    }
    return Status::Ok();
  }

  Status ReadLlama() {
    if (from_.scores.size() != from_.tokens.size()) {
      return Want("scores", "one for each of " + std::to_string(from_.tokens.size()) + " tokens",
                  std::to_string(from_.scores.size()));
    }
    document_.kind = "BPE (GGUF, scores)";
    const bool prefix = from_.add_space_prefix.value_or(true);
    const Json mark = std::string(kSpaceMark);
    Json normalizers = Json::array();
    if (prefix) normalizers.push_back({{"type", "Prepend"}, {"prepend", mark}});
    normalizers.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", mark}});
    document_.rest["normalizer"] = {{"type", "Sequence"}, {"normalizers", normalizers}};
    Json decoders =
        Json::array({{{"type", "Replace"}, {"pattern", {{"String", mark}}}, {"content", " "}},
                     {{"type", "ByteFallback"}},
                     {{"type", "Fuse"}}});
    if (prefix) {
      decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    }
    document_.rest["decoder"] = {{"type", "Sequence"}, {"decoders", decoders}};
    Json& model = document_.rest["model"];
    model["byte_fallback"] = true;
    model["fuse_unk"] = true;
    std::optional<TokenId> unknown = from_.unknown;
    for (size_t id = 0; id < from_.tokens.size() && !unknown; ++id) {
      if (TypeOf(id) == kUnknown) unknown = static_cast<TokenId>(id);
    }
    if (unknown) {
      ASSIGN_OR_RETURN(model["unk_token"], TextOf("unknown_token_id", unknown));
    }
    return FindMerges();
  }

  // Two neighbours merge where together they are a token, the highest score first; of equal scores
  // the leftmost.
  Status FindMerges() {
    struct Merge {
      float score;
      size_t id;
      size_t cut;
    };
    std::vector<Merge> merges;
    const auto is_text = [this](std::string_view text) {
      const auto it = ids_.find(text);
      return it != ids_.end() && IsText(static_cast<size_t>(it->second));
    };
    for (size_t id = 0; id < from_.tokens.size(); ++id) {
      if (!IsText(id)) continue;
      const std::string_view token = from_.tokens[id];
      const std::string place = "[" + std::to_string(id) + "]";
      if (std::isnan(from_.scores[id])) return Want("scores" + place, "a number", "NaN");
      if (token.size() > kMaxScoredBytes) {
        return Want("tokens" + place,
                    "a token of at most " + std::to_string(kMaxScoredBytes) + " bytes",
                    std::to_string(token.size()));
      }
      for (size_t cut = FirstCharLength(token); cut < token.size();
           cut += FirstCharLength(token.substr(cut))) {
        if (is_text(token.substr(0, cut)) && is_text(token.substr(cut))) {
          merges.push_back({from_.scores[id], id, cut});
        }
      }
      if (merges.size() > kMaxScoredMerges) {
        return Want("tokens",
                    "at most " + std::to_string(kMaxScoredMerges) + " ways to join two of them",
                    "more");
      }
    }
    std::ranges::stable_sort(merges,
                             [](const Merge& a, const Merge& b) { return a.score > b.score; });
    uint32_t rank = 0;
    for (size_t i = 0; i < merges.size(); ++i) {
      if (i > 0 && merges[i].score != merges[i - 1].score) ++rank;
      const std::string_view token = from_.tokens[merges[i].id];
      document_.merges.Add(token.substr(0, merges[i].cut));
      document_.merges.Add(token.substr(merges[i].cut));
      document_.merge_ranks.push_back(rank);
    }
    return Status::Ok();
  }

  const GgufVocabulary& from_;
  const std::string& name_;
  std::unordered_map<std::string_view, TokenId> ids_;  // without unused ones
  TokenizerDocument document_;
};

}  // namespace

Result<std::unique_ptr<const Tokenizer>> MakeGgufTokenizer(const GgufVocabulary& vocabulary,
                                                           const std::string& name) {
  return Maker(vocabulary, name).Make();
}

}  // namespace onepass
