#include "chain/explain.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace onepass {
namespace {

using nlohmann::ordered_json;

// A plan with its facts filled in, one row a segment.
struct Row {
  std::string name;
  int64_t tokens = -1;     // -1: unknown
  int64_t start = -1;      // -1: depends on an unknown length
  std::string start_text;  // "40" or "40+|S|"
  int written_by = -1;     // stage; -1: once, before any record
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
  for (int stage = 0; stage < std::ssize(plan.stages); ++stage) {
    for (const int id : plan.stages[stage].writes) rows[id].written_by = stage;
  }
  std::vector<std::pair<int64_t, std::string>> ends(
      plan.segments.size());  // known part, unknown part
  for (size_t id = 0; id < plan.segments.size(); ++id) {
    const PlannedSegment& segment = plan.segments[id];
    Row& row = rows[id];
    row.name = SegmentName(spec, segment);
    if (segment.kind == SegmentKind::kPrompt) {
      row.tokens = facts.prompt_lengths[segment.stage];
    } else if (id < facts.token_counts.size()) {
      row.tokens = facts.token_counts[id];
    }
    auto [known, unknown] = segment.after < 0 ? std::pair<int64_t, std::string>(segment.offset, "")
                                              : ends[segment.after];
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

std::string DeathOf(const ChainSpec& spec, const PlannedSegment& segment) {
  if (segment.dies_after >= std::ssize(spec.stages)) return "never (kept for all records)";
  return spec.stages[segment.dies_after].name;
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

std::string SegmentName(const ChainSpec& spec, const PlannedSegment& segment) {
  if (segment.kind == SegmentKind::kSharedInput) return "S";
  const char* letter = segment.kind == SegmentKind::kPrompt   ? "P"
                       : segment.kind == SegmentKind::kOutput ? "O"
                       : segment.text_of.empty()              ? "I"
                                                              : "R";
  return std::string(letter) + "[" + spec.stages[segment.stage].name + "]";
}

std::string ExplainPlan(const ChainSpec& spec, const Plan& plan, const ExplainFacts& facts) {
  const std::vector<Row> rows = Rows(spec, plan, facts);
  const bool any_bytes = facts.layout.layers > 0;
  std::string text = "chain " + spec.name + ", prompts " + std::string(NameOf(plan.placement));
  if (any_bytes) text += ", KV in " + std::string(KvTypeName(facts.layout.dtype));
  text += "\n";
  for (int stage = 0; stage < std::ssize(plan.stages); ++stage) {
    text += "  stage " + std::to_string(stage) + " " + spec.stages[stage].name + ": hand-off " +
            std::string(NameOf(plan.stages[stage].handoff)) + ", writes " +
            Names(rows, plan.stages[stage].writes) + "\n";
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
      tokens = "text of";
      for (const int stage : segment.text_of) tokens += " " + spec.stages[stage].name;
    }
    table.push_back({std::to_string(id), row.name,
                     row.written_by < 0 ? "loading" : spec.stages[row.written_by].name, tokens,
                     row.start_text, Names(rows, segment.view), DeathOf(spec, segment)});
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

  text += "\nIn memory: a row's segment is held (█) in the stages marked\n";
  std::vector<std::vector<std::string>> life = {{"id", "segment"}};
  for (const StageSpec& stage : spec.stages) life.front().push_back(stage.name);
  for (int id = 0; id < std::ssize(rows); ++id) {
    life.push_back({std::to_string(id), rows[id].name});
    for (int stage = 0; stage < std::ssize(plan.stages); ++stage) {
      const bool held = rows[id].written_by <= stage && stage <= plan.segments[id].dies_after;
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
  json["stages"] = ordered_json::array();
  for (int stage = 0; stage < std::ssize(plan.stages); ++stage) {
    json["stages"].push_back({{"name", spec.stages[stage].name},
                              {"handoff", NameOf(plan.stages[stage].handoff)},
                              {"max_tokens", spec.stages[stage].max_tokens},
                              {"writes", plan.stages[stage].writes}});
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
    row["written_by"] = rows[id].written_by;
    row["view"] = segment.view;
    row["after"] = segment.after;
    row["offset"] = segment.offset;
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
