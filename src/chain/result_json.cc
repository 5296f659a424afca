#include "chain/result_json.h"

#include <cmath>
#include <utility>

namespace onepass {
namespace {

using nlohmann::ordered_json;

// Microseconds are enough, and lines stay short.
double Rounded(double milliseconds) { return std::round(milliseconds * 1e3) / 1e3; }

}  // namespace

std::string JsonLine(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

std::string ErrorLine(int64_t number, const Status& status) {
  ordered_json json;
  json["record"] = number;
  json["error"] = status.message();
  return JsonLine(json);
}

ordered_json StageToJson(const ChainSpec& spec, const Plan& plan, const StageResult& stage) {
  const PlanStep& step = plan.steps[stage.step];
  ordered_json row;
  row["name"] = spec.stages[stage.stage].name;
  row["round"] = step.round + 1;
  row["handoff"] = NameOf(step.handoff);
  row["text"] = stage.text;
  row["token_ids"] = stage.tokens;
  row["finish"] = NameOf(stage.finish);
  row["prefill_ms"] = Rounded(stage.prefill_ms);
  row["handoff_ms"] = Rounded(stage.handoff_ms);
  row["first_token_ms"] =
      stage.first_token_ms < 0 ? ordered_json() : ordered_json(Rounded(stage.first_token_ms));
  row["decode_ms"] = Rounded(stage.decode_ms);
  row["tokens_computed"] = stage.tokens_computed;
  row["tokens_reused"] = stage.tokens_reused;
  row["tokens_recomputed"] = stage.tokens_recomputed;
  return row;
}

ordered_json ToolToJson(const ChainSpec& spec, const Plan& plan, const ToolResult& tool) {
  ordered_json row;
  row["name"] = spec.tools[tool.tool].name;
  row["round"] = plan.steps[tool.step].round + 1;
  row["query"] = tool.query;
  row["documents"] = ordered_json::array();
  for (const auto& [id, score] : tool.documents) {
    row["documents"].push_back({{"id", id}, {"score", score}});
  }
  row["ms"] = Rounded(tool.ms);
  return row;
}

ordered_json RecordToJson(const ChainSpec& spec, const Plan& plan, const RecordResult& result) {
  ordered_json json;
  json["record"] = result.number;
  json["text"] = result.stages.back().text;
  json["stages"] = ordered_json::array();
  for (const StageResult& stage : result.stages) {
    json["stages"].push_back(StageToJson(spec, plan, stage));
  }
  if (!result.tools.empty()) json["tools"] = ordered_json::array();
  for (const ToolResult& tool : result.tools) {
    json["tools"].push_back(ToolToJson(spec, plan, tool));
  }
  if (!result.loops.empty()) json["loops"] = ordered_json::array();
  for (const LoopResult& loop : result.loops) {
    json["loops"].push_back(
        {{"flow", loop.part}, {"rounds", loop.rounds}, {"ended_by", NameOf(loop.end)}});
  }
  json["total_ms"] = Rounded(result.total_ms);
  json["tokens_computed"] = result.TokensComputed();
  json["tokens_reused"] = result.TokensReused();
  json["tokens_recomputed"] = result.TokensRecomputed();
  json["peak_kv_bytes"] = result.peak_kv_bytes;
  if (result.cut_bytes > 0) json["cut"] = {{"field", spec.cut_field}, {"bytes", result.cut_bytes}};
  return json;
}

std::string ResultToJson(const ChainSpec& spec, const Plan& plan, const RecordResult& result) {
  if (!result.status.ok()) return ErrorLine(result.number, result.status);
  return JsonLine(RecordToJson(spec, plan, result));
}

}  // namespace onepass
