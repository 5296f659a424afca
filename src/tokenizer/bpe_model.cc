#include "tokenizer/bpe_model.h"

#include <algorithm>
#include <utility>

#include "core/quote.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/unicode.h"

namespace onepass {
namespace {

constexpr size_t kCharTableSize = 0x800;

}  // namespace

Result<std::unique_ptr<BpeModel>> BpeModel::Parse(const TokenizerDocument& document,
                                                  const JsonNode& root,
                                                  const std::vector<std::string>& special) {
  const JsonNode node = root.Member("model");
  RETURN_IF_ERROR(node.ExpectObject());
  // The oldest files name no type; merges tell that it is BPE.
  if (node.Member("type").present() || !document.has_merges) {
    ASSIGN_OR_RETURN(const std::string type, node.Member("type").String());
    if (type != "BPE") return node.Member("type").UnsupportedHere("\"BPE\"");
  }
  if (!document.has_vocab) return node.Member("vocab").Want("an object of tokens and ids");
  if (!document.has_merges) return node.Member("merges").Want("an array");
  auto model = std::make_unique<BpeModel>();
  RETURN_IF_ERROR(model->FillVocabulary(document, node));
  for (const std::string& text : special) {
    const std::optional<TokenId> id = model->vocabulary_.IdOf(text);
    if (id && FirstCharLength(text) != text.size()) {
      model->never_merged_into_[static_cast<size_t>(*id)] = true;
    }
  }
  RETURN_IF_ERROR(model->ParseOptions(node));
  RETURN_IF_ERROR(model->FillMerges(document, node));
  return model;
}

Status BpeModel::FillVocabulary(const TokenizerDocument& document, const JsonNode& model) {
  const JsonNode place = model.Member("vocab");
  for (size_t i = 0; i < document.vocab_ids.size(); ++i) {
    const std::string_view text = document.vocab_tokens[i];
    const TokenId id = document.vocab_ids[i];
    if (vocabulary_.Add(text, id)) continue;
    if (vocabulary_.IdOf(text)) return place.WantNot("each token once", Quote(text) + " twice");
    return place.WantNot("each id once", std::to_string(id) + " for " + Quote(text) + " and " +
                                             Quote(*vocabulary_.TextOf(id)));
  }
  never_merged_into_.assign(static_cast<size_t>(vocabulary_.end_id()), false);
  char_ids_.assign(kCharTableSize, -1);
  std::string text;
  for (uint32_t c = 0; c < kCharTableSize; ++c) {
    text.clear();
    AppendUtf8(c, &text);
    char_ids_[c] = vocabulary_.IdOf(text).value_or(-1);
  }
  for (int byte = 0; byte < 256; ++byte) {
    constexpr std::string_view kHex = "0123456789ABCDEF";
    const std::string token = {
        '<', '0', 'x', kHex[static_cast<size_t>(byte >> 4)], kHex[static_cast<size_t>(byte & 15)],
        '>'};
    byte_ids_[static_cast<size_t>(byte)] = vocabulary_.IdOf(token).value_or(-1);
  }
  return Status::Ok();
}

bool BpeModel::CoversEveryByte() const {
  if (byte_fallback_ &&
      std::all_of(byte_ids_.begin(), byte_ids_.end(), [](TokenId id) { return id >= 0; })) {
    return true;
  }
  for (int byte = 0; byte < 256; ++byte) {
    if (!vocabulary_.IdOf(ByteLevelChar(static_cast<uint8_t>(byte)))) return false;
  }
  return true;
}

Status BpeModel::ParseOptions(const JsonNode& model) {
  const JsonNode dropout = model.Member("dropout");
  if (dropout.present() && (!dropout.json().is_number() || dropout.json().get<double>() != 0)) {
    return dropout.UnsupportedHere("null or 0 (encoding is deterministic)");
  }
  ASSIGN_OR_RETURN(continuing_prefix_, model.Member("continuing_subword_prefix").StringOr(""));
  ASSIGN_OR_RETURN(end_suffix_, model.Member("end_of_word_suffix").StringOr(""));
  ASSIGN_OR_RETURN(fuse_unknown_, model.Member("fuse_unk").BoolOr(false));
  ASSIGN_OR_RETURN(byte_fallback_, model.Member("byte_fallback").BoolOr(false));
  ASSIGN_OR_RETURN(ignore_merges_, model.Member("ignore_merges").BoolOr(false));
  const JsonNode unknown = model.Member("unk_token");
  if (unknown.present()) {
    ASSIGN_OR_RETURN(const std::string text, unknown.String());
    unknown_ = vocabulary_.IdOf(text);
    if (!unknown_ && !CoversEveryByte()) return unknown.Want("a token of model.vocab");
  }
  return Status::Ok();
}

Status BpeModel::FillMerges(const TokenizerDocument& document, const JsonNode& model) {
  const JsonNode place = model.Member("merges");
  const size_t count =
      document.merges_are_pairs ? document.merges.size() / 2 : document.merges.size();
  merges_ = MergeTable(count);
  std::string joined;
  // Null if both and their union are tokens, else the text that is none.
  const auto try_merge = [&](std::string_view left, std::string_view right,
                             uint32_t rank) -> std::optional<std::string> {
    const std::optional<TokenId> left_id = vocabulary_.IdOf(left);
    if (!left_id) return std::string(left);
    const std::optional<TokenId> right_id = vocabulary_.IdOf(right);
    if (!right_id) return std::string(right);
    joined.assign(left);
    joined.append(right.substr(std::min(continuing_prefix_.size(), right.size())));
    const std::optional<TokenId> merged = vocabulary_.IdOf(joined);
    if (!merged) return joined;
    if (!never_merged_into_[static_cast<size_t>(*merged)]) {
      merges_.Set(*left_id, *right_id, {rank, *merged});
    }
    return std::nullopt;
  };
  for (size_t i = 0; i < count; ++i) {
    const uint32_t rank =
        document.merge_ranks.empty() ? static_cast<uint32_t>(i) : document.merge_ranks[i];
    std::optional<std::string> missing;
    if (document.merges_are_pairs) {
      missing = try_merge(document.merges[2 * i], document.merges[2 * i + 1], rank);
    } else {
      const std::string_view line = document.merges[i];
      if (i == 0 && line.starts_with("#version")) continue;
      // One space parts the two. Where tokens hold spaces themselves, the first parting that makes
      // tokens of both sides and of their union is meant.
      bool parted = false;
      for (size_t at = line.find(' '); at != std::string_view::npos; at = line.find(' ', at + 1)) {
        parted = true;
        missing = try_merge(line.substr(0, at), line.substr(at + 1), rank);
        if (!missing) break;
      }
      if (!parted) {
        return place.Item(i).WantNot("two tokens with a space between them", Quote(line));
      }
    }
    if (missing) {
      return place.Item(i).WantNot("tokens of model.vocab", Quote(*missing));
    }
  }
  return Status::Ok();
}

std::optional<TokenId> BpeModel::CharId(std::string_view character, uint32_t code_point) const {
  if (code_point >= kCharTableSize) return vocabulary_.IdOf(character);
  const TokenId id = char_ids_[code_point];
  if (id < 0) return std::nullopt;
  return id;
}

void BpeModel::AppendSymbols(std::string_view word, std::vector<TokenId>* symbols) const {
  // The unknown characters since the last symbol, fused or not, that have not been written yet.
  bool pending_unknown = false;
  const bool decorated = !continuing_prefix_.empty() || !end_suffix_.empty();
  std::string spelled;
  size_t pos = 0;
  while (pos < word.size()) {
    const size_t begin = pos;
    const uint32_t code_point = NextCodePoint(word, &pos);
    std::string_view symbol = word.substr(begin, pos - begin);
    std::optional<TokenId> id;
    if (decorated) {
      spelled.assign(begin > 0 ? continuing_prefix_ : std::string());
      spelled.append(symbol);
      if (pos == word.size()) spelled.append(end_suffix_);
      symbol = spelled;
      id = vocabulary_.IdOf(symbol);
    } else {
      id = CharId(symbol, code_point);
    }
    if (id) {
      if (pending_unknown) symbols->push_back(*unknown_);
      pending_unknown = false;
      symbols->push_back(*id);
      continue;
    }
    if (byte_fallback_ && std::all_of(symbol.begin(), symbol.end(), [this](char c) {
          return byte_ids_[static_cast<uint8_t>(c)] >= 0;
        })) {
      for (const char c : symbol) symbols->push_back(byte_ids_[static_cast<uint8_t>(c)]);
      continue;
    }
    if (!unknown_) continue;
    if (pending_unknown && !fuse_unknown_) symbols->push_back(*unknown_);
    pending_unknown = true;
  }
  if (pending_unknown) symbols->push_back(*unknown_);
}

void BpeModel::EncodeWord(std::string_view word, std::vector<TokenId>* ids) const {
  if (ignore_merges_) {
    const std::optional<TokenId> whole = vocabulary_.IdOf(word);
    if (whole && !never_merged_into_[static_cast<size_t>(*whole)]) {
      ids->push_back(*whole);
      return;
    }
  }
  std::vector<TokenId> symbols;
  symbols.reserve(word.size());
  AppendSymbols(word, &symbols);
  merges_.MergeAll(&symbols);
  ids->insert(ids->end(), symbols.begin(), symbols.end());
}

}  // namespace onepass
