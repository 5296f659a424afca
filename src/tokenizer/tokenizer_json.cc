// Puts the parts of a tokenizer.json together and runs a text through them in the file's order:
// added tokens as they stand, normalizer, added tokens that are matched normalized, pre-tokenizer,
// model, post-processor.
#include <optional>
#include <unordered_map>
#include <utility>

#include "core/file.h"
#include "core/quote.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe_model.h"
#include "tokenizer/decoder.h"
#include "tokenizer/json_document.h"
#include "tokenizer/json_node.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/post_processor.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"

namespace onepass {
namespace {

// The ids of the words of one text that were seen already. Words repeat; a call's own memory needs
// no lock.
class WordMemory {
 public:
  explicit WordMemory(const BpeModel& model) : model_(model) {}

  void Encode(std::string_view word, std::vector<TokenId>* ids) {
    if (word.size() > kMaxWordBytes) return model_.EncodeWord(word, ids);
    const auto found = seen_.find(word);
    if (found != seen_.end()) {
      const auto [begin, count] = found->second;
      // Not by iterators: the ids may move while they grow.
      for (size_t i = 0; i < count; ++i) ids->push_back((*ids)[begin + i]);
      return;
    }
    const size_t begin = ids->size();
    model_.EncodeWord(word, ids);
    if (seen_.size() < kMaxWords) seen_.emplace(word, std::pair(begin, ids->size() - begin));
  }

 private:
  static constexpr size_t kMaxWordBytes = 64;
  static constexpr size_t kMaxWords = 65536;
  const BpeModel& model_;
  // Words (of the text at work) and where their ids stand in the output.
  std::unordered_map<std::string_view, std::pair<size_t, size_t>> seen_;
};

class JsonTokenizer : public Tokenizer {
 public:
  static Result<std::unique_ptr<const Tokenizer>> Parse(const TokenizerDocument& document,
                                                        const std::string& name);

  std::vector<TokenId> Encode(std::string_view text, const EncodeOptions& options) const override;
  std::string Decode(std::span<const TokenId> ids, bool skip_special) const override;
  std::unique_ptr<DecodeState> StartDecode(bool skip_special) const override;
  std::optional<TokenId> IdOf(std::string_view token) const override;
  std::string TokenOf(TokenId id) const override;
  bool IsSpecial(TokenId id) const override;
  TokenizerInfo Info() const override;

 private:
  struct Parts {
    std::unique_ptr<const BpeModel> model;
    std::vector<AddedToken> added;
    Normalizer normalizer;
    AddedTokenMatcher plain;       // looked for in the text as it comes
    AddedTokenMatcher normalized;  // looked for in the normalized text
    PreTokenizer pre_tokenizer;
    PostProcessor post_processor;
    Decoder decoder;
    std::string kind;
  };
  class State;

  explicit JsonTokenizer(Parts parts);

  // The text that a decoder gets for an id; null if there is no such id, or it is to be skipped.
  const std::string* DecoderText(TokenId id, bool skip_special) const;

  Parts parts_;
  std::unordered_map<TokenId, size_t> added_by_id_;  // into parts_.added
  std::unordered_map<std::string_view, TokenId> added_by_text_;
  std::unordered_map<TokenId, std::string> decoder_texts_;
};

Status CheckAddedTokens(const JsonNode& list, const Vocabulary& vocabulary,
                        std::vector<AddedToken>* tokens) {
  std::unordered_map<std::string_view, const AddedToken*> by_text;
  std::unordered_map<TokenId, const AddedToken*> by_id;
  std::vector<AddedToken> kept;
  for (const AddedToken& token : *tokens) {
    const std::string shown = Quote(token.content);
    const auto same_text = by_text.find(token.content);
    if (same_text != by_text.end()) {
      if (same_text->second->id == token.id) continue;  // said twice
      return list.WantNot("one id for " + shown, std::to_string(same_text->second->id) + " and " +
                                                     std::to_string(token.id));
    }
    const auto same_id = by_id.find(token.id);
    if (same_id != by_id.end()) {
      return list.WantNot("one token for id " + std::to_string(token.id),
                          Quote(same_id->second->content) + " and " + shown);
    }
    const std::optional<TokenId> in_vocabulary = vocabulary.IdOf(token.content);
    if (in_vocabulary && *in_vocabulary != token.id) {
      return list.WantNot(
          "id " + std::to_string(*in_vocabulary) + " for " + shown + ", as in model.vocab",
          std::to_string(token.id));
    }
    const std::string* other = vocabulary.TextOf(token.id);
    if (other != nullptr && *other != token.content) {
      return list.WantNot("an id of its own for " + shown,
                          std::to_string(token.id) + ", which is " + Quote(*other));
    }
    by_text.emplace(token.content, &token);
    by_id.emplace(token.id, &token);
    kept.push_back(token);
  }
  *tokens = std::move(kept);
  return Status::Ok();
}

Result<std::unique_ptr<const Tokenizer>> JsonTokenizer::Parse(const TokenizerDocument& document,
                                                              const std::string& name) {
  const JsonNode root(&document.rest, "", &name);
  if (!root.is_object()) {
    return InvalidArgument("tokenizer.json: want an object at the top, found something else (" +
                           name + ")");
  }
  const JsonNode list = root.Member("added_tokens");
  ASSIGN_OR_RETURN(std::vector<AddedToken> added, ParseAddedTokens(list));
  std::vector<std::string> special;
  for (const AddedToken& token : added) {
    if (token.special) special.push_back(token.content);
  }
  ASSIGN_OR_RETURN(std::unique_ptr<const BpeModel> model, BpeModel::Parse(document, root, special));
  RETURN_IF_ERROR(CheckAddedTokens(list, model->vocabulary(), &added));
  ASSIGN_OR_RETURN(Normalizer normalizer, Normalizer::Parse(root.Member("normalizer")));
  ASSIGN_OR_RETURN(AddedTokenMatcher plain,
                   AddedTokenMatcher::Create(
                       added, [](const AddedToken& token) { return token.content; }, false));
  ASSIGN_OR_RETURN(
      AddedTokenMatcher normalized,
      AddedTokenMatcher::Create(
          added, [&normalizer](const AddedToken& token) { return normalizer.Apply(token.content); },
          true));
  ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::Parse(root.Member("pre_tokenizer")));
  const JsonNode post = root.Member("post_processor");
  ASSIGN_OR_RETURN(PostProcessor post_processor, PostProcessor::Parse(post));
  for (const TokenId id : post_processor.AddedIds()) {
    bool known = model->vocabulary().TextOf(id) != nullptr;
    for (const AddedToken& token : added) known = known || token.id == id;
    if (!known) return post.WantNot("ids of tokens", std::to_string(id));
  }
  ASSIGN_OR_RETURN(Decoder decoder, Decoder::Parse(root.Member("decoder")));
  Parts parts{std::move(model),          std::move(added),      std::move(normalizer),
              std::move(plain),          std::move(normalized), std::move(pre_tokenizer),
              std::move(post_processor), std::move(decoder),    document.kind};
  return std::unique_ptr<const Tokenizer>(new JsonTokenizer(std::move(parts)));
}

JsonTokenizer::JsonTokenizer(Parts parts) : parts_(std::move(parts)) {
  for (size_t i = 0; i < parts_.added.size(); ++i) {
    const AddedToken& token = parts_.added[i];
    added_by_id_.emplace(token.id, i);
    added_by_text_.emplace(token.content, token.id);
    // Where the normalizer writes bytes as characters, the decoder reads them back.
    const bool rewritten = token.normalized && parts_.normalizer.writes_byte_level();
    decoder_texts_.emplace(token.id,
                           rewritten ? parts_.normalizer.Apply(token.content) : token.content);
  }
}

std::vector<TokenId> JsonTokenizer::Encode(std::string_view text,
                                           const EncodeOptions& options) const {
  std::string repaired;
  if (!IsUtf8(text)) {
    repaired = ReplaceInvalidUtf8(text);
    text = repaired;
  }
  Words words;
  parts_.plain.ForEachPart(
      text, options.parse_special, [&](size_t begin, size_t end, const AddedToken* token) {
        if (token != nullptr) {
          words.spans.push_back({words.buffer.size(), words.buffer.size(), 0, token->id});
          return;
        }
        SourceText source{std::string(text.substr(begin, end - begin)), 0};
        if (begin == 0) source.at_origin = FirstCharLength(source.text);
        parts_.normalizer.Apply(&source);
        const size_t offset = words.buffer.size();
        words.buffer.append(source.text);
        const Words::Span whole{offset, words.buffer.size(), source.at_origin, Words::kNoToken};
        parts_.normalized.ForEachPart(
            source.text, options.parse_special,
            [&](size_t part_begin, size_t part_end, const AddedToken* inner) {
              if (inner != nullptr) {
                words.spans.push_back({offset, offset, 0, inner->id});
              } else {
                words.AddPart(whole, offset + part_begin, offset + part_end);
              }
            });
      });
  parts_.pre_tokenizer.Apply(&words);
  std::vector<TokenId> ids;
  WordMemory memory(*parts_.model);
  for (const Words::Span& span : words.spans) {
    if (span.token != Words::kNoToken) {
      ids.push_back(span.token);
    } else {
      memory.Encode(words.TextOf(span), &ids);
    }
  }
  return parts_.post_processor.Apply(std::move(ids), options.add_special_tokens);
}

const std::string* JsonTokenizer::DecoderText(TokenId id, bool skip_special) const {
  const auto added = added_by_id_.find(id);
  if (added == added_by_id_.end()) return parts_.model->vocabulary().TextOf(id);
  if (skip_special && parts_.added[added->second].special) return nullptr;
  return &decoder_texts_.find(id)->second;
}

class JsonTokenizer::State : public DecodeState {
 public:
  State(const JsonTokenizer& tokenizer, bool skip_special)
      : tokenizer_(tokenizer),
        skip_special_(skip_special),
        run_(tokenizer.parts_.decoder.Start()) {}
  std::string_view Push(TokenId id) override {
    Feed(id);
    return run_.Take();
  }
  std::string Finish() override {
    run_.Finish();
    return std::string(run_.Take());
  }
  void Feed(TokenId id) {
    if (const std::string* text = tokenizer_.DecoderText(id, skip_special_)) run_.Token(*text);
  }

 private:
  const JsonTokenizer& tokenizer_;
  bool skip_special_;
  DecoderRun run_;
};

std::string JsonTokenizer::Decode(std::span<const TokenId> ids, bool skip_special) const {
  State state(*this, skip_special);
  for (const TokenId id : ids) state.Feed(id);
  return state.Finish();
}

std::unique_ptr<DecodeState> JsonTokenizer::StartDecode(bool skip_special) const {
  return std::make_unique<State>(*this, skip_special);
}

std::optional<TokenId> JsonTokenizer::IdOf(std::string_view token) const {
  const auto added = added_by_text_.find(token);
  if (added != added_by_text_.end()) return added->second;
  return parts_.model->vocabulary().IdOf(token);
}

std::string JsonTokenizer::TokenOf(TokenId id) const {
  const auto added = added_by_id_.find(id);
  if (added != added_by_id_.end()) return parts_.added[added->second].content;
  const std::string* text = parts_.model->vocabulary().TextOf(id);
  return text == nullptr ? std::string() : *text;
}

bool JsonTokenizer::IsSpecial(TokenId id) const {
  const auto added = added_by_id_.find(id);
  return added != added_by_id_.end() && parts_.added[added->second].special;
}

TokenizerInfo JsonTokenizer::Info() const {
  TokenizerInfo info;
  info.kind = parts_.kind;
  info.vocab_size = parts_.model->vocabulary().end_id();
  for (const AddedToken& token : parts_.added) {
    info.vocab_size = std::max<int64_t>(info.vocab_size, token.id + 1);
  }
  info.merges = parts_.model->merge_count();
  info.added_tokens = static_cast<int64_t>(parts_.added.size());
  return info;
}

}  // namespace

Result<std::unique_ptr<const Tokenizer>> BuildTokenizer(const TokenizerDocument& document,
                                                        const std::string& name) {
  return JsonTokenizer::Parse(document, name);
}

Result<std::unique_ptr<const Tokenizer>> ParseTokenizerJson(std::string_view json,
                                                            const std::string& name) {
  ASSIGN_OR_RETURN(const TokenizerDocument document, ReadTokenizerDocument(json, name));
  return BuildTokenizer(document, name);
}

Result<std::unique_ptr<const Tokenizer>> LoadTokenizerJson(const std::string& path) {
  ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  return ParseTokenizerJson(file->text(), path);
}

}  // namespace onepass
