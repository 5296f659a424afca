#include "chain/explain.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/quote.h"

namespace onepass {
namespace {

using nlohmann::ordered_json;

// A plan with its facts filled in, one row a segment.
struct Row {
  std::string name;
  int64_t tokens = -1;     // -1: unknown
  int64_t start = -1;      // -1: depends on an unknown length
  std::string start_text;  // "40" or "40+|S|"
  int64_t bytes = -1;      // whole pages; -1: unknown
};

size_t Width(const std::string& text) {
  // Characters, not bytes; none of ours is wide.
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string Pad(const std::string& text, size_t width) {
  return text + std::string(width > Width(text) ? width - Width(text) : 0, ' ');
}

std::vector<Row> Rows(const ChainSpec& spec, const Plan& plan, const ExplainFacts& facts) {
  std::vector<Row> rows(plan.segments.size());
  std::vector<std::pair<int64_t, std::string>> ends(
      plan.segments.size());  // known part, unknown part
  for (size_t id = 0; id < plan.segments.size(); ++id) {
    const PlannedSegment& segment = plan.segments[id];
    Row& row = rows[id];
    row.name = SegmentName(spec, plan, static_cast<int>(id));
    if (segment.kind == SegmentKind::kPrompt) {
      row.tokens = facts.prompt_lengths[segment.stage];
    } else if (id < facts.token_counts.size()) {
      row.tokens = facts.token_counts[id];
    }
    auto [known, unknown] = segment.after < 0 ? std::pair<int64_t, std::string>(segment.offset, "")
                                              : ends[segment.after];
    if (segment.before_shared) {
      if (row.tokens >= 0) known -= row.tokens;
      if (row.tokens < 0) unknown = "-|" + row.name + "|";
    }
    if (unknown.empty()) row.start = known;
    row.start_text =
        known == 0 && !unknown.empty() ? unknown.substr(1) : std::to_string(known) + unknown;
    if (row.tokens >= 0) {
      known += row.tokens;
      if (facts.layout.layers > 0) {
        const int64_t pages =
            (row.tokens + facts.layout.page_tokens - 1) / facts.layout.page_tokens;
        row.bytes = pages * facts.layout.PageBytes();
      }
    } else {
      unknown += "+|" + row.name + "|";
    }
    ends[id] = {known, unknown};
  }
  return rows;
}

std::string Names(const std::vector<Row>& rows, const std::vector<int>& ids) {
  std::string text;
  for (const int id : ids) text += (text.empty() ? "" : " ") + rows[id].name;
  return text.empty() ? "-" : text;
}

std::string DeathOf(const ChainSpec& spec, const Plan& plan, int id) {
  if (plan.OutlivesRecords(id)) return "never (kept for all records)";
  return StepName(spec, plan, plan.segments[id].dies_after);
}

// Where a record may leave its loop, for the list of steps.
std::string LoopText(const ChainSpec& spec, const Plan& plan, int step) {
  const PlanStep& planned = plan.steps[step];
  if (!planned.checked) return "";
  const UntilRule until = spec.FlowParts()[planned.part].until;
  std::string rules;
  const auto add = [&](const std::string& rule) { rules += (rules.empty() ? "" : " or ") + rule; };
  if (!until.token.empty()) add("token " + Quote(until.token));
  if (!until.text.empty()) add("text " + Quote(until.text));
  if (until.tokens > 0) add(std::to_string(until.tokens) + " tokens");
  const bool at_end = planned.behind_part == plan.step_count();
  return "; on " + rules + " goes on with " +
         (at_end ? "the end" : "step " + std::to_string(planned.behind_part));
}

// Rows of equal column widths, the first a heading.
std::string Table(const std::vector<std::vector<std::string>>& cells) {
  std::vector<size_t> widths;
  for (const auto& row : cells) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], Width(row[c]));
  }
  std::string text;
  for (const auto& row : cells) {
    std::string line = " ";
    for (size_t c = 0; c < row.size(); ++c) line += " " + Pad(row[c], widths[c] + 1);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

}  // namespace

std::string StepName(const ChainSpec& spec, const Plan& plan, int step) {
  const PlanStep& planned = plan.steps[step];
  const bool again = std::ranges::count_if(plan.steps, [&](const PlanStep& other) {
                       return other.stage == planned.stage && other.tool == planned.tool;
                     }) > 1;
  const std::string& name =
      planned.stage >= 0 ? spec.stages[planned.stage].name : spec.tools[planned.tool].name;
  return again ? name + "#" + std::to_string(planned.run + 1) : name;
}

std::string SegmentName(const ChainSpec& spec, const Plan& plan, int id) {
  const PlannedSegment& segment = plan.segments[id];
  if (segment.kind == SegmentKind::kSharedInput) return "S";
  if (segment.kind == SegmentKind::kPrompt) return "P[" + spec.stages[segment.stage].name + "]";
  const std::string run = "[" + StepName(spec, plan, segment.step) + "]";
  if (segment.kind == SegmentKind::kOutput) return "O" + run;
  const std::string letters = segment.text_of.empty() ? "I" : segment.has_input() ? "R+I" : "R";
  return letters + run;
}

std::string ExplainPlan(const ChainSpec& spec, const Plan& plan, const ExplainFacts& facts) {
  const std::vector<Row> rows = Rows(spec, plan, facts);
  const bool any_bytes = facts.layout.layers > 0;
  std::string text = "chain " + spec.name + ", prompts " + std::string(NameOf(plan.placement));
  if (any_bytes) text += ", KV in " + std::string(KvTypeName(facts.layout.dtype));
  text += "\n";
  for (int step = 0; step < plan.step_count(); ++step) {
    if (const int tool = plan.steps[step].tool; tool >= 0) {
      text += "  step " + std::to_string(step) + " " + StepName(spec, plan, step) +
              ": searches for " + Quote(spec.tools[tool].query) + "\n";
      continue;
    }
    text += "  step " + std::to_string(step) + " " + StepName(spec, plan, step) + ": hand-off " +
            std::string(NameOf(plan.steps[step].handoff)) + ", writes " +
            Names(rows, plan.steps[step].writes) + LoopText(spec, plan, step) + "\n";
  }

  std::vector<std::vector<std::string>> table = {
      {"id", "segment", "written by", "tokens", "starts at", "sees, besides itself", "dies after"}};
  if (any_bytes) table.front().push_back("KV bytes");
  for (size_t id = 0; id < rows.size(); ++id) {
    const Row& row = rows[id];
    const PlannedSegment& segment = plan.segments[id];
    std::string tokens = row.tokens < 0 ? "?" : std::to_string(row.tokens);
    if (row.tokens < 0 && segment.kind == SegmentKind::kOutput) {
      tokens = "<= " + std::to_string(spec.stages[segment.stage].max_tokens) +
               (spec.stages[segment.stage].start.empty() ? "" : " + start");
    }
    if (row.tokens < 0 && !segment.text_of.empty()) {
      tokens = "text of " + Names(rows, segment.text_of);
    }
    table.push_back({std::to_string(id), row.name,
                     segment.step < 0 ? "loading" : StepName(spec, plan, segment.step), tokens,
                     row.start_text, Names(rows, segment.view),
                     DeathOf(spec, plan, static_cast<int>(id))});
    if (any_bytes) {
      table.back().push_back(row.bytes >= 0
                                 ? std::to_string(row.bytes)
                                 : std::to_string(facts.layout.TokenBytes()) + " a token");
    }
  }
  text += "\nSegments, in the order of writing\n" + Table(table);

  text += "\nWho sees whom: a row reads the columns marked ■ whole, ◣ up to the token itself\n";
  std::vector<std::vector<std::string>> picture = {{"id", "reader"}};
  for (size_t id = 0; id < rows.size(); ++id) picture.front().push_back(std::to_string(id));
  for (int id = 0; id < std::ssize(rows); ++id) {
    picture.push_back({std::to_string(id), rows[id].name});
    for (int other = 0; other < std::ssize(rows); ++other) {
      const std::vector<int>& view = plan.segments[id].view;
      const bool sees = std::ranges::find(view, other) != view.end();
      picture.back().push_back(sees ? "■" : other == id ? "◣" : "·");
    }
  }
  text += Table(picture);

  text += "\nIn memory: a row's segment is held (█) in the steps marked\n";
  std::vector<std::vector<std::string>> life = {{"id", "segment"}};
  for (int step = 0; step < plan.step_count(); ++step) {
    life.front().push_back(StepName(spec, plan, step));
  }
  for (int id = 0; id < std::ssize(rows); ++id) {
    life.push_back({std::to_string(id), rows[id].name});
    const PlannedSegment& segment = plan.segments[id];
    for (int step = 0; step < plan.step_count(); ++step) {
      const bool held = segment.step <= step && step <= segment.dies_after;
      life.back().push_back(held ? "█" : "·");
    }
  }
  return text + Table(life);
}

std::string ExplainPlanJson(const ChainSpec& spec, const Plan& plan, const ExplainFacts& facts) {
  const std::vector<Row> rows = Rows(spec, plan, facts);
  ordered_json json;
  json["chain"] = spec.name;
  json["placement"] = NameOf(plan.placement);
  json["steps"] = ordered_json::array();
  for (int step = 0; step < plan.step_count(); ++step) {
    const PlanStep& planned = plan.steps[step];
    if (planned.tool >= 0) {
      json["steps"].push_back({{"name", StepName(spec, plan, step)},
                               {"tool", spec.tools[planned.tool].name},
                               {"round", planned.round + 1}});
      continue;
    }
    json["steps"].push_back({{"name", StepName(spec, plan, step)},
                             {"stage", spec.stages[planned.stage].name},
                             {"round", planned.round + 1},
                             {"handoff", NameOf(planned.handoff)},
                             {"max_tokens", spec.stages[planned.stage].max_tokens},
                             {"writes", planned.writes}});
    if (planned.checked) json["steps"].back()["may_go_on_with"] = planned.behind_part;
  }
  json["segments"] = ordered_json::array();
  for (size_t id = 0; id < rows.size(); ++id) {
    const PlannedSegment& segment = plan.segments[id];
    ordered_json row;
    row["id"] = id;
    row["name"] = rows[id].name;
    row["kind"] = NameOf(segment.kind);
    row["stage"] = segment.stage;
    row["text_of"] = segment.text_of;
    row["has_input"] = segment.has_input();
    row["written_by"] = segment.step;
    row["view"] = segment.view;
    row["after"] = segment.after;
    row["offset"] = segment.offset;
    row["before_shared"] = segment.before_shared;
    row["dies_after"] = segment.dies_after;
    const auto known = [](int64_t value) {
      return value < 0 ? ordered_json() : ordered_json(value);
    };
    row["tokens"] = known(rows[id].tokens);
    row["start"] = known(rows[id].start);
    row["kv_bytes"] = known(rows[id].bytes);
    json["segments"].push_back(std::move(row));
  }
  if (facts.layout.layers > 0) {
    json["kv_type"] = KvTypeName(facts.layout.dtype);
    json["kv_bytes_per_token"] = facts.layout.TokenBytes();
  }
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace onepass
