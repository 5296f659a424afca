// Text <-> token ids, as Hugging Face tokenizer.json (model BPE) and tiktoken rank files say.
// It is not a chat template, and it never adds or drops anything that was not asked for.
// Immutable after loading; thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace onepass {

using TokenId = int32_t;

struct EncodeOptions {
  // Run the post-processor's template (usually: <bos> in front).
  bool add_special_tokens = false;
  // Whether the text of special added tokens ("<eos>") becomes their ids. Off for anything that
  // comes from outside: a document must not be able to end a turn. Added tokens that are not
  // marked special are always matched.
  bool parse_special = false;
};

struct TokenizerInfo {
  std::string kind;        // "BPE (tokenizer.json)", "tiktoken"
  int64_t vocab_size = 0;  // largest id + 1, added tokens included
  int64_t merges = 0;
  int64_t added_tokens = 0;
};

// Decoding of one stream of ids. Thread-compatible.
class DecodeState {
 public:
  virtual ~DecodeState() = default;
  // The text that this id made certain, until the next call. With tiktoken's ranks or the decoder
  // ByteLevel it takes no memory once its own has grown to the longest text, but where a character
  // that began before and this token are over 15 bytes together (what a std::string holds in
  // itself). Metaspace, BPEDecoder and Strip may make strings, which take memory above 15 bytes;
  // Replace may take some for every token.
  virtual std::string_view Push(TokenId id) = 0;
  // The rest. Nothing may be pushed behind it.
  virtual std::string Finish() = 0;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual std::vector<TokenId> Encode(std::string_view text,
                                      const EncodeOptions& options) const = 0;
  // The text of ids. Special tokens are left out if skip_special. Unknown ids give nothing. Bytes
  // that are not UTF-8 come out as U+FFFD, as the reference decoder writes them.
  virtual std::string Decode(std::span<const TokenId> ids, bool skip_special) const = 0;
  // What Push and Finish return, put together, is what Decode gives for the same ids. The tokenizer
  // must outlive it. A push costs its own text only, not the stream's.
  virtual std::unique_ptr<DecodeState> StartDecode(bool skip_special) const = 0;
  // The id whose (added or vocabulary) token text is exactly this.
  virtual std::optional<TokenId> IdOf(std::string_view token) const = 0;
  // The token text of an id as the file spells it; empty if there is none.
  virtual std::string TokenOf(TokenId id) const = 0;
  virtual bool IsSpecial(TokenId id) const = 0;
  virtual TokenizerInfo Info() const = 0;
};

// Decodes a growing stream of ids to text without ever splitting a UTF-8 character: Push returns
// the text that became certain. Thread-compatible.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true)
      : state_(tokenizer.StartDecode(skip_special)) {}
  // Valid until the next call.
  std::string_view Push(TokenId id) { return state_->Push(id); }
  // What is left (possibly with U+FFFD for an incomplete character).
  std::string Finish() { return state_->Finish(); }

 private:
  std::unique_ptr<DecodeState> state_;
};

// Loads tokenizer.json. Errors name the file, the place in it, what was wanted and found.
//
// Ids and texts are those of Hugging Face tokenizers, but for these, which are meant:
// - "truncation" and "padding" are not done; "dropout" other than 0 is refused.
// - The text of a special token that must stay text (parse_special off) never becomes its id by
//   merging or as a whole word either.
// - An added token has the id that the file gives it, and decodes to its content. Two tokens with
//   one id, or one with two, are refused, where the reference takes the last.
// - A pattern that needs more backtracking than a bound (about 16 steps a byte and a million more)
//   finds nothing further: the rest of the text is handled as not matched, and nothing is lost.
Result<std::unique_ptr<const Tokenizer>> LoadTokenizerJson(const std::string& path);
// The same from bytes; `name` stands for the path in messages.
Result<std::unique_ptr<const Tokenizer>> ParseTokenizerJson(std::string_view json,
                                                            const std::string& name);

struct TiktokenOptions {
  // The pre-tokenizer pattern (PCRE2 syntax); the default is Llama-3's.
  std::string pattern;
  // A special token's id may stand in a gap of the ranks; without one it is the next that is free
  // behind all ranks.
  struct Special {
    std::string text;
    std::optional<TokenId> id;
  };
  std::vector<Special> special_tokens;
  // The special token that add_special_tokens puts in front; empty: none.
  std::string bos_token;
};
// The pattern of "gpt2", "cl100k", "o200k" or "llama3"; empty for another name.
std::string NamedTiktokenPattern(std::string_view name);
// What Llama-3's rank file is used with: its pattern, its 256 special tokens, <|begin_of_text|>.
TiktokenOptions Llama3TiktokenOptions();
Result<std::unique_ptr<const Tokenizer>> LoadTiktoken(const std::string& path,
                                                      const TiktokenOptions& options);

}  // namespace onepass
