// tiktoken rank files: a line a token, its bytes in base64 and its rank, which is its id. Words
// come from a pattern; two neighbours merge where their bytes together are a token, lowest rank
// first.
#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <unordered_map>
#include <utility>

#include "core/file.h"
#include "core/quote.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/json_document.h"
#include "tokenizer/regex.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"
#include "tokenizer/word_patterns.h"

namespace onepass {
namespace {

constexpr size_t kMaxFileBytes = size_t{64} << 20;
constexpr size_t kMaxTokenBytes = 512;
// The words of o200k_base.
constexpr std::string_view kO200kPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

int Base64Digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  if (c == '/') return 63;
  return -1;
}

// Strict: whole groups, padding at the end only, no stray bits.
std::optional<std::string> DecodeBase64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  size_t padding = 0;
  while (padding < 2 && text[text.size() - 1 - padding] == '=') ++padding;
  std::string out;
  uint32_t bits = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool pad = i >= text.size() - padding;
    const int digit = pad ? 0 : Base64Digit(text[i]);
    if (digit < 0) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    if (i % 4 != 3) continue;
    const size_t bytes = i + 1 == text.size() ? 3 - padding : 3;
    if (bytes < 3 && (bits & ((1u << (8 * padding)) - 1)) != 0) return std::nullopt;
    for (size_t k = 0; k < bytes; ++k) {
      out.push_back(static_cast<char>(bits >> (16 - 8 * k) & 0xFF));
    }
    bits = 0;
  }
  return out;
}

std::string PrintableByte(int byte) {
  constexpr std::string_view kHex = "0123456789abcdef";
  return {'0', 'x', kHex[static_cast<size_t>(byte >> 4)], kHex[static_cast<size_t>(byte & 15)]};
}

// The ranks of a file, checked: every line well-formed, no token and no rank twice, every single
// byte there. Ranks may have gaps.
Status ReadRanks(std::string_view text, const std::string& path, Vocabulary* ranks) {
  const auto fault = [&path](size_t line, const std::string& wanted, std::string_view found) {
    return InvalidArgument("tiktoken: line " + std::to_string(line) + ": want " + wanted +
                           ", found " + Quote(found) + " (" + path + ")");
  };
  size_t line_number = 0;
  for (size_t begin = 0; begin < text.size();) {
    ++line_number;
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos) return fault(line_number, "base64 and a rank", line);
    const std::optional<std::string> token = DecodeBase64(line.substr(0, space));
    if (!token) return fault(line_number, "base64", line.substr(0, space));
    if (token->size() > kMaxTokenBytes) {
      return fault(line_number, "a token of at most " + std::to_string(kMaxTokenBytes) + " bytes",
                   std::to_string(token->size()) + " bytes");
    }
    const std::string_view digits = line.substr(space + 1);
    TokenId rank = -1;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), rank);
    if (parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size() || rank < 0 ||
        rank > kMaxTokenId) {
      return fault(line_number, "a rank from 0 to " + std::to_string(kMaxTokenId), digits);
    }
    if (ranks->TextOf(rank) != nullptr) return fault(line_number, "each rank once", line);
    if (!ranks->Add(*token, rank)) return fault(line_number, "each token once", line);
  }
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    if (!ranks->IdOf(std::string_view(&c, 1))) {
      return InvalidArgument("tiktoken: want every single byte as a token, found none for " +
                             PrintableByte(byte) + " (" + path + ")");
    }
  }
  return Status::Ok();
}

// Every way to make a token of two others.
MergeTable FindMerges(const Vocabulary& ranks) {
  struct Found {
    TokenId left;
    TokenId right;
    TokenId merged;
  };
  std::vector<Found> all;
  for (TokenId id = 0; id < ranks.end_id(); ++id) {
    if (ranks.TextOf(id) == nullptr) continue;
    const std::string_view token = *ranks.TextOf(id);
    for (size_t cut = 1; cut < token.size(); ++cut) {
      const std::optional<TokenId> left = ranks.IdOf(token.substr(0, cut));
      if (!left) continue;
      const std::optional<TokenId> right = ranks.IdOf(token.substr(cut));
      if (right) all.push_back({*left, *right, id});
    }
  }
  MergeTable merges(all.size());
  for (const Found& found : all) {
    merges.Set(found.left, found.right, {static_cast<uint32_t>(found.merged), found.merged});
  }
  return merges;
}

class TiktokenTokenizer : public Tokenizer {
 public:
  TiktokenTokenizer(std::unique_ptr<const Vocabulary> ranks, std::vector<AddedToken> special,
                    AddedTokenMatcher matcher, Regex pattern, std::optional<TokenId> bos)
      : ranks_(std::move(ranks)),
        special_(std::move(special)),
        matcher_(std::move(matcher)),
        pattern_(std::move(pattern)),
        bos_(bos),
        merges_(FindMerges(*ranks_)) {
    for (size_t i = 0; i < special_.size(); ++i) special_at_[special_[i].id] = i;
    for (int byte = 0; byte < 256; ++byte) {
      const char c = static_cast<char>(byte);
      byte_ids_[static_cast<size_t>(byte)] = *ranks_->IdOf(std::string_view(&c, 1));
    }
  }

  std::vector<TokenId> Encode(std::string_view text, const EncodeOptions& options) const override {
    std::string repaired;
    if (!IsUtf8(text)) {
      repaired = ReplaceInvalidUtf8(text);
      text = repaired;
    }
    std::vector<TokenId> ids;
    if (options.add_special_tokens && bos_) ids.push_back(*bos_);
    matcher_.ForEachPart(text, options.parse_special,
                         [&](size_t begin, size_t end, const AddedToken* token) {
                           if (token != nullptr) {
                             ids.push_back(token->id);
                           } else {
                             EncodePlain(text.substr(begin, end - begin), &ids);
                           }
                         });
    return ids;
  }

  std::string Decode(std::span<const TokenId> ids, bool skip_special) const override {
    State state(*this, skip_special);
    std::string text;
    for (const TokenId id : ids) state.Feed(id, &text);
    return text + state.Finish();
  }

  std::unique_ptr<DecodeState> StartDecode(bool skip_special) const override {
    return std::make_unique<State>(*this, skip_special);
  }

  std::optional<TokenId> IdOf(std::string_view token) const override {
    for (const AddedToken& special : special_) {
      if (special.content == token) return special.id;
    }
    return ranks_->IdOf(token);
  }

  std::string TokenOf(TokenId id) const override {
    const std::string* text = TextOf(id);
    return text == nullptr ? std::string() : *text;
  }

  bool IsSpecial(TokenId id) const override { return special_at_.contains(id); }

  TokenizerInfo Info() const override {
    TokenizerInfo info;
    info.kind = "tiktoken";
    info.added_tokens = static_cast<int64_t>(special_.size());
    info.vocab_size = ranks_->end_id();
    for (const AddedToken& special : special_) {
      info.vocab_size = std::max<int64_t>(info.vocab_size, special.id + 1);
    }
    info.merges = static_cast<int64_t>(merges_.size());
    return info;
  }

 private:
  class State : public DecodeState {
   public:
    State(const TiktokenTokenizer& tokenizer, bool skip_special)
        : tokenizer_(tokenizer), skip_special_(skip_special) {}
    void Feed(TokenId id, std::string* out) {
      if (skip_special_ && tokenizer_.IsSpecial(id)) return;
      if (const std::string* text = tokenizer_.TextOf(id)) assembler_.Push(*text, out);
    }
    std::string_view Push(TokenId id) override {
      text_.clear();
      Feed(id, &text_);
      return text_;
    }
    std::string Finish() override {
      std::string out;
      assembler_.Finish(&out);
      return out;
    }

   private:
    const TiktokenTokenizer& tokenizer_;
    bool skip_special_;
    Utf8Assembler assembler_;
    std::string text_;  // of the last push
  };

  // Null for an id that there is not.
  const std::string* TextOf(TokenId id) const {
    const auto special = special_at_.find(id);
    return special == special_at_.end() ? ranks_->TextOf(id) : &special_[special->second].content;
  }

  void EncodePlain(std::string_view text, std::vector<TokenId>* ids) const {
    size_t done = 0;
    pattern_.ForEachMatch(text, [&](size_t begin, size_t end) {
      // What the pattern leaves out is a word too: no text is lost.
      EncodeWord(text.substr(done, begin - done), ids);
      EncodeWord(text.substr(begin, end - begin), ids);
      done = end;
    });
    EncodeWord(text.substr(done), ids);
  }

  void EncodeWord(std::string_view word, std::vector<TokenId>* ids) const {
    if (word.empty()) return;
    if (const std::optional<TokenId> whole = ranks_->IdOf(word)) {
      ids->push_back(*whole);
      return;
    }
    std::vector<TokenId> symbols;
    symbols.reserve(word.size());
    for (const char c : word) symbols.push_back(byte_ids_[static_cast<uint8_t>(c)]);
    merges_.MergeAll(&symbols);
    ids->insert(ids->end(), symbols.begin(), symbols.end());
  }

  std::unique_ptr<const Vocabulary> ranks_;
  std::vector<AddedToken> special_;
  std::unordered_map<TokenId, size_t> special_at_;  // by id: index in special_
  AddedTokenMatcher matcher_;
  Regex pattern_;
  std::optional<TokenId> bos_;
  MergeTable merges_;
  std::array<TokenId, 256> byte_ids_;
};

}  // namespace

std::string NamedTiktokenPattern(std::string_view name) {
  if (name == "gpt2") return std::string(kGpt2Pattern);
  if (name == "cl100k" || name == "llama3") return std::string(kLlama3Pattern);
  if (name == "o200k") return std::string(kO200kPattern);
  return "";
}

TiktokenOptions Llama3TiktokenOptions() {
  TiktokenOptions options;
  options.pattern = kLlama3Pattern;
  int reserved = 0;
  const auto reserve = [&](int count) {
    for (int i = 0; i < count; ++i) {
      options.special_tokens.push_back(
          {"<|reserved_special_token_" + std::to_string(reserved++) + "|>", {}});
    }
  };
  options.special_tokens = {{"<|begin_of_text|>", {}}, {"<|end_of_text|>", {}}};
  reserve(4);
  options.special_tokens.insert(options.special_tokens.end(),
                                {{"<|start_header_id|>", {}}, {"<|end_header_id|>", {}}});
  reserve(1);
  options.special_tokens.push_back({"<|eot_id|>", {}});
  reserve(246);
  options.bos_token = "<|begin_of_text|>";
  return options;
}

Result<std::unique_ptr<const Tokenizer>> LoadTiktoken(const std::string& path,
                                                      const TiktokenOptions& options) {
  ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  if (file->text().size() > kMaxFileBytes) {
    return InvalidArgument("tiktoken: want at most " + std::to_string(kMaxFileBytes) +
                           " bytes, found " + std::to_string(file->text().size()) + " (" + path +
                           ")");
  }
  auto ranks = std::make_unique<Vocabulary>();
  RETURN_IF_ERROR(ReadRanks(file->text(), path, ranks.get()));
  Result<Regex> pattern = Regex::Compile(options.pattern.empty() ? kLlama3Pattern : options.pattern,
                                         RegexDialect::kRust);
  if (!pattern.ok()) return pattern.status().WithPrefix("tiktoken: pattern");
  std::vector<AddedToken> special;
  std::optional<TokenId> bos;
  TokenId next = ranks->end_id();
  for (const auto& [content, id] : options.special_tokens) {
    AddedToken token;
    token.id = id.value_or(next);
    token.content = content;
    token.normalized = false;
    token.special = true;
    const bool twice = std::ranges::any_of(special, [&](const AddedToken& other) {
      return other.content == token.content || other.id == token.id;
    });
    if (content.empty() || twice || !IsUtf8(content)) {
      return InvalidArgument("tiktoken: want different special tokens, found " + Quote(content) +
                             (twice ? " or its id twice" : "") + " (" + path + ")");
    }
    if (token.id < 0 || token.id > kMaxTokenId || ranks->TextOf(token.id) != nullptr) {
      return InvalidArgument("tiktoken: special token " + Quote(content) + ": want an id up to " +
                             std::to_string(kMaxTokenId) + " that is no rank, found " +
                             std::to_string(token.id) + " (" + path + ")");
    }
    next = std::max(next, token.id + 1);
    if (content == options.bos_token) bos = token.id;
    special.push_back(std::move(token));
  }
  if (!options.bos_token.empty() && !bos) {
    return InvalidArgument("tiktoken: want the bos token among the special tokens, found " +
                           Quote(options.bos_token) + " (" + path + ")");
  }
  ASSIGN_OR_RETURN(AddedTokenMatcher matcher,
                   AddedTokenMatcher::Create(
                       special, [](const AddedToken& token) { return token.content; }, false));
  return std::unique_ptr<const Tokenizer>(std::make_unique<TiktokenTokenizer>(
      std::move(ranks), std::move(special), std::move(matcher), std::move(pattern).value(), bos));
}

}  // namespace onepass
