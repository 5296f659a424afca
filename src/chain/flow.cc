#include "chain/flow.h"

#include <algorithm>

#include "core/quote.h"

namespace onepass {
namespace {

bool Contains(std::span<const std::string> names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

Status ReadUntil(const YamlNode& node, const std::string& file, const std::string& place,
                 UntilRule* until) {
  YamlMap map(node, file, place + "until.");
  map.Text("stage", &until->stage);
  map.Text("token", &until->token);
  map.Text("text", &until->text);
  map.Integer("tokens", 1, int64_t{1} << 30, &until->tokens);
  RETURN_IF_ERROR(map.Finish());
  if (until->Asks()) return Status::Ok();
  return InvalidArgument(file + ":" + std::to_string(node.line) + ": " + place +
                         "until: want token, text or tokens, found none");
}

Result<FlowPart> ReadPart(const YamlNode& node, const std::string& file, size_t index) {
  FlowPart part;
  if (node.kind == YamlNode::Kind::kScalar) {
    part.names = {node.scalar};
    return part;
  }
  const std::string place = "flow[" + std::to_string(index) + "]";
  if (node.kind != YamlNode::Kind::kMap) {
    return InvalidArgument(file + ":" + std::to_string(node.line) + ": " + place +
                           ": want a stage or {loop: [...], rounds: n}, found " + Describe(node));
  }
  YamlMap map(node, file, place + ".");
  map.Require("loop");
  map.Require("rounds");
  std::optional<std::vector<std::string>> names;
  map.TextList("loop", &names);
  if (names) part.names = *std::move(names);
  map.Integer("rounds", 1, kMaxFlowSteps, &part.rounds);
  const YamlNode* until = map.Child("until", YamlNode::Kind::kMap);
  RETURN_IF_ERROR(map.Finish());
  if (until != nullptr) RETURN_IF_ERROR(ReadUntil(*until, file, place + ".", &part.until));
  return part;
}

}  // namespace

Result<std::vector<FlowPart>> ParseFlow(const YamlNode& list, const std::string& file) {
  if (list.items.empty()) {
    return InvalidArgument(file + ":" + std::to_string(list.line) +
                           ": flow: want stages and loops, found an empty list");
  }
  std::vector<FlowPart> flow;
  for (size_t i = 0; i < list.items.size(); ++i) {
    ASSIGN_OR_RETURN(FlowPart part, ReadPart(list.items[i], file, i));
    flow.push_back(std::move(part));
  }
  return flow;
}

Status ValidateFlow(std::span<const FlowPart> flow, std::span<const std::string> stages,
                    std::span<const std::string> tools) {
  int64_t steps = 0;
  for (size_t i = 0; i < flow.size(); ++i) {
    const FlowPart& part = flow[i];
    const std::string where = "flow[" + std::to_string(i) + "]";
    if (part.names.empty()) return InvalidArgument(where + ": want stages, found none");
    for (const std::string& name : part.names) {
      if (!Contains(stages, name) && !Contains(tools, name)) {
        return InvalidArgument(where + ": want a stage or tool of the chain, found " + Quote(name));
      }
    }
    if (part.rounds < 1 || part.rounds > kMaxFlowSteps) {
      return InvalidArgument(where + ".rounds: want 1 to " + std::to_string(kMaxFlowSteps) +
                             ", found " + std::to_string(part.rounds));
    }
    steps += part.rounds * std::ssize(part.names);
    const std::string& looked_at = part.until.stage;
    if (!looked_at.empty() && (!Contains(part.names, looked_at) || Contains(tools, looked_at))) {
      return InvalidArgument(where + ".until.stage: want a stage of the loop, found " +
                             Quote(part.until.stage));
    }
    if (part.until.text.empty()) continue;
    const Result<Regex> regex = Regex::Compile(part.until.text, RegexDialect::kRust);
    RETURN_IF_ERROR(regex.status().WithPrefix(where + ".until.text"));
  }
  if (steps > kMaxFlowSteps) {
    return InvalidArgument("flow: want at most " + std::to_string(kMaxFlowSteps) +
                           " runs of stages in all rounds, found " + std::to_string(steps));
  }
  for (const std::span<const std::string> names : {stages, tools}) {
    for (const std::string& name : names) {
      const bool used = std::ranges::any_of(
          flow, [&](const FlowPart& part) { return Contains(part.names, name); });
      if (used) continue;
      return InvalidArgument("flow: want every stage and tool in it, found no " + Quote(name));
    }
  }
  return Status::Ok();
}

std::vector<std::string> NamesBefore(std::span<const FlowPart> flow, std::string_view name,
                                     int rounds) {
  std::vector<std::string> ran;
  size_t before = 0;  // how many of them before the last run of `name`, or the first
  bool found = false;
  for (const FlowPart& part : flow) {
    // A second round has seen all that any later one has.
    for (int64_t round = 0; round < std::min<int64_t>(part.rounds, rounds); ++round) {
      for (const std::string& next : part.names) {
        if (next == name && (!found || rounds > 1)) {
          before = ran.size();
          found = true;
        }
        if (!Contains(ran, next)) ran.push_back(next);
      }
    }
  }
  ran.resize(before);
  return ran;
}

std::string_view NameOf(LoopEnd end) {
  switch (end) {
    case LoopEnd::kRounds:
      return "rounds";
    case LoopEnd::kToken:
      return "token";
    case LoopEnd::kText:
      return "text";
    case LoopEnd::kTokens:
      return "tokens";
  }
  return "?";
}

Result<LoopRule> LoopRule::Create(const UntilRule& until, std::vector<TokenId> tokens) {
  LoopRule rule;
  rule.any_token_ = std::move(tokens);
  if (!until.text.empty()) {
    ASSIGN_OR_RETURN(rule.text_, Regex::Compile(until.text, RegexDialect::kRust));
  }
  rule.tokens_ = until.tokens;
  return rule;
}

std::optional<LoopEnd> LoopRule::EndsWith(std::span<const TokenId> tokens, TokenId stop_token,
                                          std::string_view text, int64_t loop_tokens) const {
  for (const TokenId token : any_token_) {
    if (stop_token == token || std::ranges::find(tokens, token) != tokens.end()) {
      return LoopEnd::kToken;
    }
  }
  if (text_ && text_->Matches(text)) return LoopEnd::kText;
  if (tokens_ > 0 && loop_tokens >= tokens_) return LoopEnd::kTokens;
  return std::nullopt;
}

}  // namespace onepass
