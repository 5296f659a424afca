#include "chain/tools.h"

#include "core/quote.h"
#include "core/stopwatch.h"

namespace onepass {

Result<std::unique_ptr<Tools>> Tools::Open(const ChainSpec& spec) {
  auto tools = std::make_unique<Tools>();
  for (const ToolSpec& tool : spec.tools) {
    const std::string where = spec.file + ": tool " + Quote(tool.name);
    Tool& opened = tools->tools_.emplace_back();
    opened.name = tool.name;
    Result<std::unique_ptr<Bm25Index>> index = Bm25Index::Open(tool.index);
    RETURN_IF_ERROR(index.status().WithPrefix(where));
    opened.index = *std::move(index);
    opened.options = {.top = tool.top, .k1 = tool.k1, .b = tool.b};
    ASSIGN_OR_RETURN(opened.query, ParseTemplate(tool.query));
    ASSIGN_OR_RETURN(opened.document, ParseTemplate(tool.document));
  }
  return tools;
}

Result<ToolResult> Tools::Run(const Plan& plan, int step, const Transcript& transcript) {
  const Stopwatch watch;
  Tool& tool = tools_[plan.steps[step].tool];
  const std::string where = transcript.record->Where() + ": tool " + Quote(tool.name);
  ToolResult result{.step = step, .tool = plan.steps[step].tool};
  for (const TemplatePiece& piece : tool.query) {
    if (!piece.is_field) {
      result.query += piece.text;
      continue;
    }
    ASSIGN_OR_RETURN(const std::string_view text,
                     transcript.FieldText(plan, step, piece.text, SaidBy::kStagesAndTools));
    result.query += text;
  }
  Result<std::vector<Hit>> hits = tool.index->Search(result.query, tool.options);
  RETURN_IF_ERROR(hits.status().WithPrefix(where));
  for (const Hit& hit : *hits) {
    result.documents.emplace_back(hit.id, hit.score);
    for (const TemplatePiece& piece : tool.document) {
      if (!piece.is_field) {
        result.text += piece.text;
      } else {
        result.text += piece.text == "id" ? hit.id : piece.text == "title" ? hit.title : hit.text;
      }
    }
  }
  result.ms = watch.Seconds() * 1e3;
  return result;
}

}  // namespace onepass
