#include "chain/transcript.h"

#include <algorithm>

#include "core/quote.h"

namespace onepass {
namespace {

Result<std::vector<TemplatePiece>> ParsePart(const std::string& where, const std::string& text) {
  Result<std::vector<TemplatePiece>> pieces = ParseTemplate(text);
  if (!pieces.ok()) return pieces.status().WithPrefix(where);
  return pieces;
}

}  // namespace

Result<ChainTemplates> ChainTemplates::Create(const ChainSpec& spec,
                                              const ChainVocabulary& vocabulary) {
  ChainTemplates templates(vocabulary);
  ASSIGN_OR_RETURN(templates.shared_, ParsePart(spec.file + ": shared", spec.shared));
  templates.shared_uses_tool_ = spec.UsesTool(spec.shared);
  for (int i = 0; i < std::ssize(spec.stages); ++i) {
    const StageSpec& stage = spec.stages[i];
    const std::string where = spec.file + ": stage " + Quote(stage.name) + ": ";
    Stage parsed{.encoder = TemplateEncoder(vocabulary.tokenizer(), vocabulary.TextsFor(i)),
                 .input = {},
                 .input_uses_tool = spec.UsesTool(stage.input),
                 .read_as = {},
                 .start = {},
                 .stop = {}};
    ASSIGN_OR_RETURN(parsed.input, ParsePart(where + "input", stage.input));
    ASSIGN_OR_RETURN(parsed.read_as, ParsePart(where + "read_as", stage.read_as));
    const std::vector<TemplatePiece> start = {{.is_field = false, .text = stage.start}};
    parsed.start = parsed.encoder.Encode(start);
    // "<bos>" in a base that has no such token would be read as the letters of it.
    const std::string& text = stage.start;
    if (text.size() > 2 && text.front() == '<' && text.back() == '>' && !vocabulary.IdOf(i, text)) {
      return InvalidArgument(where + "start: want a token of the base's tokenizer, found " +
                             Quote(text) + ", which it does not have");
    }
    if (!text.empty() && parsed.start.empty()) {
      return InvalidArgument(where + "start: want a text that has tokens, found " + Quote(text) +
                             ", of which the base's tokenizer makes none");
    }
    for (const std::string& stop : stage.stop_tokens) {
      const std::optional<TokenId> id = vocabulary.IdOf(i, stop);
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

Result<std::string_view> Transcript::FieldText(const Plan& plan, int step, const std::string& name,
                                               SaidBy said_by) const {
  const bool is_tool = std::ranges::find(plan.tools, name) != plan.tools.end();
  const bool is_stage = said_by == SaidBy::kStagesAndTools &&
                        std::ranges::find(plan.stages, name) != plan.stages.end();
  if (!is_tool && !is_stage) return record->Text(name);
  for (int before = step - 1; before >= 0; --before) {
    const PlanStep& planned = plan.steps[before];
    const std::string& ran =
        planned.stage >= 0 ? plan.stages[planned.stage] : plan.tools[planned.tool];
    if (ran == name && HasRun(before)) return std::string_view(*texts[before]);
  }
  return InvalidArgument(record->Where() + ": want what " + Quote(name) +
                         " said, found that it has not run");
}

Result<std::vector<TokenId>> ChainTemplates::Render(const TemplateEncoder& encoder,
                                                    const std::vector<TemplatePiece>& pieces,
                                                    const Plan& plan, int step,
                                                    const Transcript& transcript) {
  std::vector<TemplatePiece> filled = pieces;
  for (TemplatePiece& piece : filled) {
    if (!piece.is_field) continue;
    ASSIGN_OR_RETURN(const std::string_view text,
                     transcript.FieldText(plan, step, piece.text, SaidBy::kTools));
    piece.text = std::string(text);
  }
  return encoder.Encode(filled);
}

Result<InputTokens> ChainTemplates::RenderInputs(const Plan& plan, const Record& record) const {
  const Transcript transcript{.record = &record, .texts = {}};
  InputTokens inputs;
  inputs.own.resize(plan.steps.size());
  if (!shared_uses_tool_) {
    ASSIGN_OR_RETURN(inputs.shared, Render(encoder_, shared_, plan, 0, transcript));
  }
  for (const PlannedSegment& segment : plan.segments) {
    if (!segment.has_input() || stages_[segment.stage].input_uses_tool) continue;
    const Stage& stage = stages_[segment.stage];
    ASSIGN_OR_RETURN(inputs.own[segment.input_of],
                     Render(stage.encoder, stage.input, plan, segment.input_of, transcript));
  }
  return inputs;
}

Status ChainTemplates::RenderFound(const Plan& plan, int step, const Transcript& transcript,
                                   InputTokens* inputs) const {
  for (const int id : plan.steps[step].writes) {
    const PlannedSegment& segment = plan.segments[id];
    if (segment.kind == SegmentKind::kSharedInput && shared_uses_tool_ && !inputs->found_shared) {
      ASSIGN_OR_RETURN(inputs->shared, Render(encoder_, shared_, plan, step, transcript));
      inputs->found_shared = true;
    }
    if (!segment.has_input() || !stages_[segment.stage].input_uses_tool) continue;
    const Stage& stage = stages_[segment.stage];
    ASSIGN_OR_RETURN(inputs->own[step], Render(stage.encoder, stage.input, plan, step, transcript));
  }
  return Status::Ok();
}

std::vector<TokenId> ChainTemplates::TokensOf(const Plan& plan, int id, const InputTokens& inputs,
                                              const Transcript& transcript) const {
  const PlannedSegment& segment = plan.segments[id];
  if (segment.kind == SegmentKind::kSharedInput) return inputs.shared;
  ONEPASS_CHECK(segment.kind == SegmentKind::kOwnInput, "an input");
  const TemplateEncoder& encoder = stages_[segment.stage].encoder;
  std::vector<TokenId> tokens;
  const auto append = [&](const std::vector<TokenId>& more) {
    tokens.insert(tokens.end(), more.begin(), more.end());
  };
  // Outputs that follow one another are one piece of text.
  std::vector<TemplatePiece> filled;
  for (const int read : segment.text_of) {
    const PlannedSegment& other = plan.segments[read];
    // Of a round that never was, its label is not read either.
    if (!transcript.HasRun(other.step)) continue;
    if (other.kind != SegmentKind::kOutput) {
      append(encoder.Encode(filled));
      filled.clear();
      append(inputs.own[other.input_of]);
      continue;
    }
    for (TemplatePiece piece : stages_[other.stage].read_as) {
      if (piece.is_field) piece.text = transcript.TextOf(other.step);
      filled.push_back(std::move(piece));
    }
  }
  append(encoder.Encode(filled));
  if (segment.has_input()) append(inputs.own[segment.input_of]);
  return tokens;
}

int64_t ChainTemplates::ReadAgainOverhead(int stage) const {
  std::vector<TemplatePiece> filled = stages_[stage].read_as;
  for (TemplatePiece& piece : filled) {
    if (piece.is_field) piece.text.clear();
  }
  return std::ssize(stages_[stage].encoder.Encode(filled));
}

std::vector<TokenId> ChainTemplates::OutputText(std::string_view text) const {
  return encoder_.tokenizer().Encode(text, {});
}

Result<std::vector<std::vector<TokenId>>> TokensOfPlan(const ChainTemplates& templates,
                                                       const Plan& plan,
                                                       const Transcript& transcript) {
  ASSIGN_OR_RETURN(InputTokens inputs, templates.RenderInputs(plan, *transcript.record));
  for (int step = 0; step < plan.step_count(); ++step) {
    if (!transcript.HasRun(step)) continue;
    RETURN_IF_ERROR(templates.RenderFound(plan, step, transcript, &inputs));
  }
  std::vector<std::vector<TokenId>> tokens(plan.segments.size());
  for (int id = 0; id < std::ssize(plan.segments); ++id) {
    const PlannedSegment& segment = plan.segments[id];
    if (segment.kind == SegmentKind::kPrompt || !transcript.HasRun(segment.step)) continue;
    if (segment.kind != SegmentKind::kOutput) {
      tokens[id] = templates.TokensOf(plan, id, inputs, transcript);
      continue;
    }
    tokens[id] = templates.StartTokens(segment.stage);
    const std::vector<TokenId> text = templates.OutputText(transcript.TextOf(segment.step));
    tokens[id].insert(tokens[id].end(), text.begin(), text.end());
  }
  return tokens;
}

std::vector<int64_t> PositionsOfPlan(const Plan& plan, std::span<const int64_t> token_counts) {
  ONEPASS_CHECK(token_counts.size() == plan.segments.size(), "one count a segment");
  std::vector<int64_t> starts(plan.segments.size());
  for (size_t id = 0; id < plan.segments.size(); ++id) {
    const PlannedSegment& segment = plan.segments[id];
    const int after = segment.after;
    const int64_t end_of_after = after < 0 ? 0 : starts[after] + token_counts[after];
    starts[id] = segment.StartPosition(end_of_after, token_counts[id]);
  }
  return starts;
}

int64_t EndOfPlan(const Plan& plan, std::span<const int64_t> token_counts) {
  const std::vector<int64_t> starts = PositionsOfPlan(plan, token_counts);
  int64_t end = 0;
  for (size_t id = 0; id < starts.size(); ++id) end = std::max(end, starts[id] + token_counts[id]);
  return end;
}

}  // namespace onepass
