#include "chain/spec.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <tuple>

#include "chain/template.h"
#include "chain/yaml.h"
#include "core/file.h"
#include "core/quote.h"
#include "retrieval/bm25_index.h"

namespace onepass {
namespace {

constexpr size_t kMaxStages = 64;
constexpr int64_t kMaxTokens = int64_t{1} << 20;
constexpr int64_t kMaxRoom = int64_t{1} << 20;

void ReadHandoff(YamlMap& map, std::optional<Handoff>* out) {
  const YamlNode* node = map.Scalar("handoff");
  if (node == nullptr) return;
  const Result<Handoff> handoff = ParseHandoff(node->scalar);
  if (!handoff.ok()) return map.Fail(node->line, "handoff", handoff.status().message());
  *out = *handoff;
}

// A template is parsed here only so that its fault has a line.
void ReadTemplate(YamlMap& map, const char* key, std::string* out) {
  const YamlNode* node = map.Scalar(key);
  if (node == nullptr) return;
  const Result<std::vector<TemplatePiece>> pieces = ParseTemplate(node->scalar);
  if (!pieces.ok()) return map.Fail(node->line, key, pieces.status().message());
  *out = node->scalar;
}

Status ReadStage(const YamlNode& node, const std::string& file, size_t index, StageSpec* stage) {
  const std::string place = "stages[" + std::to_string(index) + "].";
  YamlMap map(node, file, place);
  map.Require("name");
  map.Text("name", &stage->name);
  map.Text("prompt", &stage->prompt);
  stage->prompt = ResolveBeside(file, stage->prompt);
  ReadTemplate(map, "input", &stage->input);
  map.Flag("input_first", &stage->input_first);
  ReadTemplate(map, "read_as", &stage->read_as);
  map.Text("start", &stage->start);
  std::optional<std::vector<std::string>> list;
  map.TextList("stop_tokens", &list);
  if (list) stage->stop_tokens = *list;
  list.reset();
  map.TextList("added_tokens", &list);
  if (list) stage->added_tokens = *list;
  list.reset();
  map.TextList("stop_strings", &list);
  if (list) stage->stop_strings = *list;
  map.TextList("reads", &stage->reads);
  ReadHandoff(map, &stage->handoff);
  map.Integer("max_tokens", 1, kMaxTokens, &stage->max_tokens);
  const YamlNode* sampling = map.Child("sampling", YamlNode::Kind::kMap);
  RETURN_IF_ERROR(map.Finish());
  if (sampling == nullptr) return Status::Ok();
  YamlMap options(*sampling, file, place + "sampling.");
  options.Real("temperature", 0, 100, &stage->sampling.temperature);
  options.Integer("top_k", 0, std::numeric_limits<int64_t>::max(), &stage->sampling.top_k);
  options.Real("top_p", 0, 1, &stage->sampling.top_p);
  options.Unsigned("seed", &stage->sampling.seed);
  RETURN_IF_ERROR(options.Finish());
  return stage->sampling.Validate().WithPrefix(file + ":" + std::to_string(sampling->line) + ": " +
                                               place + "sampling");
}

Status ValidateReads(const ChainSpec& spec, const StageSpec& stage) {
  const std::string where = "stage " + Quote(stage.name) + ": reads: ";
  std::vector<std::string> before = NamesBefore(spec.FlowParts(), stage.name, /*rounds=*/2);
  std::erase_if(before, [&](const std::string& name) { return spec.StageOf(name) < 0; });
  std::vector<std::string> seen;
  for (const std::string& name : stage.reads.value_or(std::vector<std::string>{})) {
    if (std::ranges::find(before, name) == before.end()) {
      std::string names;
      for (const std::string& each : before) names += (names.empty() ? "" : ", ") + Quote(each);
      return InvalidArgument(where + "want stages that run before it (" +
                             (names.empty() ? "there are none" : names) + "), found " +
                             Quote(name) + ", which " +
                             (spec.StageOf(name) >= 0 ? "does not" : "is no stage"));
    }
    if (std::ranges::find(seen, name) != seen.end()) {
      return InvalidArgument(where + Quote(name) + " stands twice");
    }
    seen.push_back(name);
  }
  return Status::Ok();
}

Status ValidateStage(const ChainSpec& spec, size_t index) {
  const StageSpec& stage = spec.stages[index];
  const std::string where = "stage " + Quote(stage.name) + ": ";
  if (stage.name.empty() || stage.name.size() > 128) {
    return InvalidArgument("stages[" + std::to_string(index) +
                           "].name: want 1 to 128 bytes, found " +
                           std::to_string(stage.name.size()));
  }
  std::vector<std::string> earlier;
  for (size_t i = 0; i < index; ++i) earlier.push_back(spec.stages[i].name);
  if (std::ranges::find(earlier, stage.name) != earlier.end()) {
    return InvalidArgument("stages[" + std::to_string(index) + "].name: want a name of its own, " +
                           "found " + Quote(stage.name) + " again");
  }
  for (const std::string& stop : stage.stop_tokens) {
    if (stop.empty()) return InvalidArgument(where + "stop_tokens: found an empty string");
  }
  for (const std::string& stop : stage.stop_strings) {
    if (stop.empty()) return InvalidArgument(where + "stop_strings: found an empty string");
  }
  constexpr size_t kMaxAddedTokens = 256;
  if (stage.added_tokens.size() > kMaxAddedTokens) {
    return InvalidArgument(where + "added_tokens: want at most " + std::to_string(kMaxAddedTokens) +
                           ", found " + std::to_string(stage.added_tokens.size()));
  }
  for (size_t i = 0; i < stage.added_tokens.size(); ++i) {
    const std::string& token = stage.added_tokens[i];
    if (token.empty() || token.size() > 128) {
      return InvalidArgument(where + "added_tokens: want texts of 1 to 128 bytes, found one of " +
                             std::to_string(token.size()));
    }
    if (std::ranges::count(stage.added_tokens, token) > 1) {
      return InvalidArgument(where + "added_tokens: " + Quote(token) + " stands twice");
    }
  }
  if (stage.max_tokens < 1 || stage.max_tokens > kMaxTokens) {
    return InvalidArgument(where + "max_tokens: want 1 to " + std::to_string(kMaxTokens) +
                           ", found " + std::to_string(stage.max_tokens));
  }
  RETURN_IF_ERROR(stage.sampling.Validate().WithPrefix(where + "sampling"));
  const Result<std::vector<TemplatePiece>> input = ParseTemplate(stage.input);
  RETURN_IF_ERROR(input.status().WithPrefix(where + "input"));
  const Result<std::vector<TemplatePiece>> read_as = ParseTemplate(stage.read_as);
  RETURN_IF_ERROR(read_as.status().WithPrefix(where + "read_as"));
  int64_t text_count = 0;
  for (const TemplatePiece& piece : *read_as) {
    if (!piece.is_field) continue;
    ++text_count;
    if (piece.text != "text") {
      return InvalidArgument(where + "read_as: want the field {text} alone, found {" + piece.text +
                             "}");
    }
  }
  if (text_count != 1) {
    return InvalidArgument(where + "read_as: want {text} once, found it " +
                           std::to_string(text_count) + " times");
  }
  return Status::Ok();
}

Status ReadTool(const YamlNode& node, const std::string& file, size_t index, ToolSpec* tool) {
  const std::string place = "tools[" + std::to_string(index) + "].";
  YamlMap map(node, file, place);
  map.Require("name");
  map.Require("index");
  map.Require("query");
  map.Text("name", &tool->name);
  map.Text("index", &tool->index);
  tool->index = ResolveBeside(file, tool->index);
  ReadTemplate(map, "query", &tool->query);
  ReadTemplate(map, "document", &tool->document);
  map.Integer("top", 1, 1000, &tool->top);
  const Bm25Weights most{.k1 = 1000, .b = 1};
  for (const auto& [key, limit, out] :
       {std::tuple{"k1", most.k1, &tool->k1}, std::tuple{"b", most.b, &tool->b}}) {
    double value = -1;
    map.Real(key, 0, limit, &value);
    if (value >= 0) *out = value;
  }
  return map.Finish();
}

Status ValidateTool(const ChainSpec& spec, const ToolSpec& tool) {
  const std::string where = "tool " + Quote(tool.name) + ": ";
  if (tool.name.empty() || tool.name.size() > 128) {
    return InvalidArgument("tools: want names of 1 to 128 bytes, found one of " +
                           std::to_string(tool.name.size()));
  }
  if (std::ranges::count(spec.tools, tool.name, &ToolSpec::name) > 1 ||
      spec.StageOf(tool.name) >= 0) {
    return InvalidArgument(where + "want a name of its own among stages and tools");
  }
  RETURN_IF_ERROR(ParseTemplate(tool.query).status().WithPrefix(where + "query"));
  const Result<std::vector<TemplatePiece>> document = ParseTemplate(tool.document);
  RETURN_IF_ERROR(document.status().WithPrefix(where + "document"));
  for (const TemplatePiece& piece : *document) {
    const bool known = piece.text == "id" || piece.text == "title" || piece.text == "text";
    if (piece.is_field && !known) {
      return InvalidArgument(where + "document: want {id}, {title} or {text}, found {" +
                             piece.text + "}");
    }
  }
  return Status::Ok();
}

// What is written before a tool has run cannot hold what it finds.
Status ValidateToolUse(const ChainSpec& spec, const std::string& text, const std::string& stage,
                       const std::string& where) {
  const std::vector<std::string> before = NamesBefore(spec.FlowParts(), stage, /*rounds=*/1);
  const Result<std::vector<TemplatePiece>> pieces = ParseTemplate(text);
  for (const TemplatePiece& piece : *pieces) {
    if (!piece.is_field || spec.ToolOf(piece.text) < 0) continue;
    if (std::ranges::find(before, piece.text) != before.end()) continue;
    return InvalidArgument(where + ": want tool " + Quote(piece.text) + " before stage " +
                           Quote(stage) + " in the flow, found it behind or nowhere");
  }
  return Status::Ok();
}

bool UsesField(const std::string& text, const std::string& field) {
  const Result<std::vector<TemplatePiece>> pieces = ParseTemplate(text);
  return pieces.ok() && std::ranges::any_of(*pieces, [&](const TemplatePiece& piece) {
           return piece.is_field && piece.text == field;
         });
}

// Inputs that stand first, and the room for them.
Status ValidateRoom(const ChainSpec& spec) {
  bool any = false;
  for (const StageSpec& stage : spec.stages) {
    if (!stage.input_first) continue;
    any = true;
    const std::string where = "stage " + Quote(stage.name) + ": input_first: want ";
    if (stage.input.empty()) return InvalidArgument(where + "an input, found none");
    if (spec.placement != Placement::kFront) {
      return InvalidArgument(where + "placement front, found " +
                             std::string(NameOf(spec.placement)));
    }
    if (spec.room == 0) return InvalidArgument(where + "a room for it, found room 0");
  }
  if (spec.room < 0 || spec.room > kMaxRoom) {
    return InvalidArgument("room: want 0 to " + std::to_string(kMaxRoom) + ", found " +
                           std::to_string(spec.room));
  }
  if (spec.room > 0 && !any) {
    return InvalidArgument("room: want a stage with input_first, found none");
  }
  return Status::Ok();
}

}  // namespace

std::string_view NameOf(Handoff handoff) {
  switch (handoff) {
    case Handoff::kText:
      return "text";
    case Handoff::kTextCached:
      return "text-cached";
    case Handoff::kKv:
      return "kv";
  }
  return "";
}

Result<Handoff> ParseHandoff(std::string_view text) {
  for (const Handoff handoff : kHandoffs) {
    if (text == NameOf(handoff)) return handoff;
  }
  return InvalidArgument("want text, text-cached or kv, found " + Quote(text));
}

Status ChainSpec::Validate() const {
  const std::string where = file.empty() ? "chain" : file;
  if (stages.empty() || stages.size() > kMaxStages) {
    return InvalidArgument(where + ": stages: want 1 to " + std::to_string(kMaxStages) +
                           ", found " + std::to_string(stages.size()));
  }
  RETURN_IF_ERROR(ParseTemplate(shared).status().WithPrefix(where + ": shared"));
  for (size_t i = 0; i < stages.size(); ++i) {
    RETURN_IF_ERROR(ValidateStage(*this, i).WithPrefix(where));
  }
  for (const ToolSpec& tool : tools) RETURN_IF_ERROR(ValidateTool(*this, tool).WithPrefix(where));
  if (!flow.empty() || !tools.empty()) {
    RETURN_IF_ERROR(ValidateFlow(flow, StageNames(), ToolNames()).WithPrefix(where));
  }
  bool first = true;
  for (const FlowPart& part : FlowParts()) {
    for (const std::string& step : part.names) {
      const int stage = StageOf(step);
      if (stage < 0) continue;
      const std::string of = where + ": stage " + Quote(step) + ": input";
      RETURN_IF_ERROR(ValidateToolUse(*this, stages[stage].input, step, of));
      if (first) RETURN_IF_ERROR(ValidateToolUse(*this, shared, step, where + ": shared"));
      first = false;
    }
  }
  for (const StageSpec& stage : stages) {
    RETURN_IF_ERROR(ValidateReads(*this, stage).WithPrefix(where));
  }
  RETURN_IF_ERROR(ValidateRoom(*this).WithPrefix(where));
  if (overlong == Overlong::kRefuse && !cut_field.empty()) {
    return InvalidArgument(where + ": cut_field: only `overlong: cut` has one, found " +
                           Quote(cut_field));
  }
  for (const std::string& field : {api.prompt, api.system}) {
    bool used = field.empty() || UsesField(shared, field);
    for (const StageSpec& stage : stages) used = used || UsesField(stage.input, field);
    for (const ToolSpec& tool : tools) used = used || UsesField(tool.query, field);
    if (!used) {
      return InvalidArgument(where + ": api: want a field that a template uses, found " +
                             Quote(field));
    }
  }
  if (overlong == Overlong::kCut) {
    bool used = UsesField(shared, cut_field);
    for (const StageSpec& stage : stages) used = used || UsesField(stage.input, cut_field);
    if (!used) {
      return InvalidArgument(where + ": cut_field: want a field that a template uses, found " +
                             Quote(cut_field));
    }
  }
  return Status::Ok();
}

int ChainSpec::StageOf(std::string_view wanted) const {
  const auto found = std::ranges::find(stages, wanted, &StageSpec::name);
  return found == stages.end() ? -1 : static_cast<int>(found - stages.begin());
}

int ChainSpec::ToolOf(std::string_view wanted) const {
  const auto found = std::ranges::find(tools, wanted, &ToolSpec::name);
  return found == tools.end() ? -1 : static_cast<int>(found - tools.begin());
}

bool ChainSpec::UsesTool(const std::string& text) const {
  return std::ranges::any_of(tools,
                             [&](const ToolSpec& tool) { return UsesField(text, tool.name); });
}

void ChainSpec::SetHandoff(Handoff all) {
  handoff = all;
  for (StageSpec& stage : stages) stage.handoff.reset();
}

Status ChainSpec::SetIndex(const std::string& setting) {
  const size_t equals = setting.find('=');
  const int tool = ToolOf(setting.substr(0, equals));
  if (equals == std::string::npos || tool < 0) {
    std::string names;
    for (const ToolSpec& each : tools) names += (names.empty() ? "" : ", ") + Quote(each.name);
    return InvalidArgument("index: want TOOL=FOLDER, one of the tools " +
                           (names.empty() ? "(there are none)" : names) + ", found " +
                           Quote(setting));
  }
  tools[tool].index = setting.substr(equals + 1);
  return Status::Ok();
}

std::vector<std::string> ChainSpec::ToolNames() const {
  std::vector<std::string> names;
  for (const ToolSpec& tool : tools) names.push_back(tool.name);
  return names;
}

std::vector<std::string> ChainSpec::StageNames() const {
  std::vector<std::string> names;
  for (const StageSpec& stage : stages) names.push_back(stage.name);
  return names;
}

std::vector<FlowPart> ChainSpec::FlowParts() const {
  if (!flow.empty()) return flow;
  std::vector<FlowPart> parts;
  for (const StageSpec& stage : stages) parts.push_back({.names = {stage.name}, .until = {}});
  return parts;
}

Result<ChainSpec> ParseChainSpec(std::string_view yaml, const std::string& file) {
  ASSIGN_OR_RETURN(const YamlNode root, ParseYaml(yaml, file));
  ChainSpec spec;
  spec.file = file;
  YamlMap map(root, file, "");
  map.Require("base");
  map.Require("stages");
  map.Text("name", &spec.name);
  map.Text("base", &spec.base);
  spec.base = ResolveBeside(file, spec.base);
  if (const YamlNode* node = map.Scalar("placement")) {
    const Result<Placement> placement = ParsePlacement(node->scalar);
    if (placement.ok()) {
      spec.placement = *placement;
    } else {
      map.Fail(node->line, "placement", "want front or inline, found " + Describe(*node));
    }
  }
  std::optional<Handoff> handoff;
  ReadHandoff(map, &handoff);
  spec.handoff = handoff.value_or(Handoff::kKv);
  ReadTemplate(map, "shared", &spec.shared);
  map.Integer("room", 0, kMaxRoom, &spec.room);
  if (const YamlNode* node = map.Scalar("overlong")) {
    if (node->scalar == "cut") {
      spec.overlong = Overlong::kCut;
    } else if (node->scalar != "refuse") {
      map.Fail(node->line, "overlong", "want refuse or cut, found " + Describe(*node));
    }
  }
  map.Text("cut_field", &spec.cut_field);
  if (const YamlNode* node = map.Child("api", YamlNode::Kind::kMap)) {
    YamlMap fields(*node, file, "api.");
    fields.Text("prompt", &spec.api.prompt);
    fields.Text("system", &spec.api.system);
    if (const Status read = fields.Finish(); !read.ok()) map.Fail(read);
  }
  const YamlNode* stages = map.Child("stages", YamlNode::Kind::kList);
  const YamlNode* tools = map.Child("tools", YamlNode::Kind::kList);
  const YamlNode* flow = map.Child("flow", YamlNode::Kind::kList);
  RETURN_IF_ERROR(map.Finish());
  if (stages->items.size() > kMaxStages) {
    return InvalidArgument(file + ":" + std::to_string(stages->line) + ": stages: want 1 to " +
                           std::to_string(kMaxStages) + ", found " +
                           std::to_string(stages->items.size()));
  }
  for (size_t i = 0; i < stages->items.size(); ++i) {
    StageSpec stage;
    RETURN_IF_ERROR(ReadStage(stages->items[i], file, i, &stage));
    spec.stages.push_back(std::move(stage));
    // Faults that concern one stage get its line.
    RETURN_IF_ERROR(
        ValidateStage(spec, i).WithPrefix(file + ":" + std::to_string(stages->items[i].line)));
  }
  for (size_t i = 0; tools != nullptr && i < tools->items.size(); ++i) {
    RETURN_IF_ERROR(ReadTool(tools->items[i], file, i, &spec.tools.emplace_back()));
  }
  if (flow != nullptr) {
    ASSIGN_OR_RETURN(spec.flow, ParseFlow(*flow, file));
    RETURN_IF_ERROR(ValidateFlow(spec.flow, spec.StageNames(), spec.ToolNames())
                        .WithPrefix(file + ":" + std::to_string(flow->line)));
  }
  for (size_t i = 0; i < spec.stages.size(); ++i) {
    RETURN_IF_ERROR(ValidateReads(spec, spec.stages[i])
                        .WithPrefix(file + ":" + std::to_string(stages->items[i].line)));
  }
  if (spec.name.empty()) spec.name = std::filesystem::path(file).stem().string();
  RETURN_IF_ERROR(spec.Validate());
  return spec;
}

Result<ChainSpec> LoadChainSpec(const std::string& path) {
  constexpr int64_t kMaxFileBytes = int64_t{1} << 20;
  ASSIGN_OR_RETURN(const std::string yaml, ReadFile(path, kMaxFileBytes));
  return ParseChainSpec(yaml, path);
}

}  // namespace onepass
