#include "tokenizer/post_processor.h"

#include <utility>

#include "tokenizer/json_document.h"

namespace onepass {
namespace {

constexpr std::string_view kKnownProcessors =
    "one of Sequence, TemplateProcessing, ByteLevel, BertProcessing, RobertaProcessing";
constexpr size_t kMaxTemplateIds = 4096;

}  // namespace

Status PostProcessor::AddTemplate(const JsonNode& node) {
  const JsonNode single = node.Member("single");
  RETURN_IF_ERROR(single.ExpectArray());
  std::vector<Piece> pieces;
  size_t added = 0;
  size_t texts = 0;
  for (size_t i = 0; i < single.size(); ++i) {
    const JsonNode piece = single.Element(i);
    if (piece.Member("Sequence").present()) {
      const JsonNode id = piece.Member("Sequence").Member("id");
      ASSIGN_OR_RETURN(const std::string name, id.String());
      if (name != "A") return id.Want("\"A\", the only text");
      if (++texts > 1) return piece.WantNot("the text once", "it twice");
      pieces.push_back({true, {}});
      continue;
    }
    const JsonNode special = piece.Member("SpecialToken");
    if (!special.present()) return piece.Want("{\"Sequence\": ...} or {\"SpecialToken\": ...}");
    ASSIGN_OR_RETURN(const std::string name, special.Member("id").String());
    const JsonNode ids = node.Member("special_tokens").Member(name).Member("ids");
    RETURN_IF_ERROR(ids.ExpectArray());
    Piece added_piece;
    for (size_t k = 0; k < ids.size(); ++k) {
      ASSIGN_OR_RETURN(const int64_t id, ids.Element(k).Integer(0, kMaxTokenId));
      added_piece.added.push_back(static_cast<TokenId>(id));
    }
    added += added_piece.added.size();
    if (added > kMaxTemplateIds) {
      return single.WantNot("at most " + std::to_string(kMaxTemplateIds) + " added ids", "more");
    }
    pieces.push_back(std::move(added_piece));
  }
  if (texts == 0) return single.WantNot("a template with the text in it", "none");
  templates_.push_back(std::move(pieces));
  return Status::Ok();
}

Status PostProcessor::AddClassifierTemplate(const JsonNode& node) {
  std::vector<Piece> pieces(3);
  const std::pair<const char*, size_t> ends[] = {{"cls", 0}, {"sep", 2}};
  for (const auto& [key, index] : ends) {
    const JsonNode pair = node.Member(key);
    if (!pair.is_array() || pair.size() != 2) return pair.Want("[token, id]");
    ASSIGN_OR_RETURN(const int64_t id, pair.Element(1).Integer(0, kMaxTokenId));
    pieces[index].added = {static_cast<TokenId>(id)};
  }
  pieces[1].is_text = true;
  templates_.push_back(std::move(pieces));
  return Status::Ok();
}

Status PostProcessor::Add(const JsonNode& node) {
  RETURN_IF_ERROR(node.ExpectObject());
  ASSIGN_OR_RETURN(const std::string type, node.Member("type").String());
  if (type == "ByteLevel") return Status::Ok();  // it moves offsets only
  if (type == "TemplateProcessing") return AddTemplate(node);
  if (type == "BertProcessing" || type == "RobertaProcessing") return AddClassifierTemplate(node);
  if (type != "Sequence") return node.Member("type").UnsupportedHere(kKnownProcessors);
  const JsonNode list = node.Member("processors");
  RETURN_IF_ERROR(list.ExpectArray());
  for (size_t i = 0; i < list.size(); ++i) RETURN_IF_ERROR(Add(list.Element(i)));
  return Status::Ok();
}

Result<PostProcessor> PostProcessor::Parse(const JsonNode& node) {
  PostProcessor processor;
  if (node.present()) RETURN_IF_ERROR(processor.Add(node));
  return processor;
}

std::vector<TokenId> PostProcessor::Apply(std::vector<TokenId> ids, bool add_special_tokens) const {
  if (!add_special_tokens) return ids;
  for (const std::vector<Piece>& pieces : templates_) {
    std::vector<TokenId> out;
    for (const Piece& piece : pieces) {
      const std::vector<TokenId>& source = piece.is_text ? ids : piece.added;
      out.insert(out.end(), source.begin(), source.end());
    }
    ids = std::move(out);
  }
  return ids;
}

std::vector<TokenId> PostProcessor::AddedIds() const {
  std::vector<TokenId> ids;
  for (const std::vector<Piece>& pieces : templates_) {
    for (const Piece& piece : pieces) {
      ids.insert(ids.end(), piece.added.begin(), piece.added.end());
    }
  }
  return ids;
}

}  // namespace onepass
