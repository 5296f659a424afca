// From records to tokens: a chain's templates filled with a record's fields.
#include <algorithm>

#include "chain/record.h"
#include "core/quote.h"

namespace onepass {
namespace {

Result<std::vector<TemplatePiece>> ParsePart(const std::string& where, const std::string& text) {
  Result<std::vector<TemplatePiece>> pieces = ParseTemplate(text);
  if (!pieces.ok()) return pieces.status().WithPrefix(where);
  return pieces;
}

}  // namespace

Result<ChainTemplates> ChainTemplates::Create(const ChainSpec& spec, const Tokenizer& tokenizer) {
  ChainTemplates templates(tokenizer);
  ASSIGN_OR_RETURN(templates.shared_, ParsePart(spec.file + ": shared", spec.shared));
  for (const StageSpec& stage : spec.stages) {
    const std::string where = spec.file + ": stage " + Quote(stage.name) + ": ";
    Stage parsed;
    ASSIGN_OR_RETURN(parsed.input, ParsePart(where + "input", stage.input));
    ASSIGN_OR_RETURN(parsed.read_as, ParsePart(where + "read_as", stage.read_as));
    const std::vector<TemplatePiece> start = {{.is_field = false, .text = stage.start}};
    parsed.start = templates.encoder_.Encode(start);
    // "<bos>" in a base that has no such token would be read as the letters of it.
    const std::string& text = stage.start;
    if (text.size() > 2 && text.front() == '<' && text.back() == '>' && !tokenizer.IdOf(text)) {
      return InvalidArgument(where + "start: want a token of the base's tokenizer, found " +
                             Quote(text) + ", which it does not have");
    }
    if (!text.empty() && parsed.start.empty()) {
      return InvalidArgument(where + "start: want a text that has tokens, found " + Quote(text) +
                             ", of which the base's tokenizer makes none");
    }
    for (const std::string& stop : stage.stop_tokens) {
      const std::optional<TokenId> id = tokenizer.IdOf(stop);
      if (!id) {
        return InvalidArgument(where + "stop_tokens: want tokens of the base's tokenizer, found " +
                               Quote(stop) + ", which it does not have");
      }
      parsed.stop.push_back(*id);
    }
    templates.stages_.push_back(std::move(parsed));
  }
  return templates;
}

Result<std::vector<TokenId>> ChainTemplates::Render(const std::vector<TemplatePiece>& pieces,
                                                    const Record& record) const {
  std::vector<TemplatePiece> filled = pieces;
  for (TemplatePiece& piece : filled) {
    if (!piece.is_field) continue;
    ASSIGN_OR_RETURN(const std::string_view text, record.Text(piece.text));
    piece.text = std::string(text);
  }
  return encoder_.Encode(filled);
}

Result<std::vector<TokenId>> ChainTemplates::SharedInput(const Record& record) const {
  return Render(shared_, record);
}

Result<std::vector<TokenId>> ChainTemplates::OwnInput(int stage, const Record& record) const {
  return Render(stages_[stage].input, record);
}

std::vector<TokenId> ChainTemplates::OutputText(std::string_view text) const {
  return encoder_.tokenizer().Encode(text, {});
}

std::vector<TokenId> ChainTemplates::ReadAgain(std::span<const int> stages,
                                               std::span<const std::string> output_texts) const {
  std::vector<TemplatePiece> filled;
  for (const int stage : stages) {
    for (TemplatePiece piece : stages_[stage].read_as) {
      if (piece.is_field) {
        piece.text = stage < std::ssize(output_texts) ? output_texts[stage] : std::string();
      }
      filled.push_back(std::move(piece));
    }
  }
  return encoder_.Encode(filled);
}

Result<std::vector<std::vector<TokenId>>> TokensOfPlan(const ChainTemplates& templates,
                                                       const Plan& plan, const Record& record,
                                                       std::span<const std::string> output_texts) {
  std::vector<std::vector<TokenId>> tokens(plan.segments.size());
  for (size_t id = 0; id < plan.segments.size(); ++id) {
    const PlannedSegment& segment = plan.segments[id];
    switch (segment.kind) {
      case SegmentKind::kPrompt:
        break;
      case SegmentKind::kSharedInput: {
        ASSIGN_OR_RETURN(tokens[id], templates.SharedInput(record));
        break;
      }
      case SegmentKind::kOwnInput: {
        if (!segment.text_of.empty()) {
          tokens[id] = templates.ReadAgain(segment.text_of, output_texts);
          break;
        }
        ASSIGN_OR_RETURN(tokens[id], templates.OwnInput(segment.stage, record));
        break;
      }
      case SegmentKind::kOutput: {
        tokens[id] = templates.StartTokens(segment.stage);
        if (segment.stage < std::ssize(output_texts)) {
          const std::vector<TokenId> text = templates.OutputText(output_texts[segment.stage]);
          tokens[id].insert(tokens[id].end(), text.begin(), text.end());
        }
        break;
      }
    }
  }
  return tokens;
}

Result<std::vector<std::vector<TokenId>>> TokensOfPlan(const ChainSpec& spec, const Plan& plan,
                                                       const Record& record,
                                                       std::span<const std::string> output_texts,
                                                       const Tokenizer& tokenizer) {
  ASSIGN_OR_RETURN(const ChainTemplates templates, ChainTemplates::Create(spec, tokenizer));
  return TokensOfPlan(templates, plan, record, output_texts);
}

std::vector<int64_t> PositionsOfPlan(const Plan& plan, std::span<const int64_t> token_counts) {
  ONEPASS_CHECK(token_counts.size() == plan.segments.size(), "one count a segment");
  std::vector<int64_t> starts(plan.segments.size());
  for (size_t id = 0; id < plan.segments.size(); ++id) {
    const PlannedSegment& segment = plan.segments[id];
    starts[id] =
        segment.after < 0 ? segment.offset : starts[segment.after] + token_counts[segment.after];
  }
  return starts;
}

}  // namespace onepass
