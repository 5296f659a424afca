// The order in which a chain's stages run: parts one after the other, of which a loop runs its
// stages again and again until a rule holds.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chain/yaml.h"
#include "core/status.h"
#include "tokenizer/regex.h"
#include "tokenizer/tokenizer.h"

namespace onepass {

// Ends a loop early: any of what is set, looked at after each run of `stage`.
struct UntilRule {
  std::string stage;   // whose outputs are looked at; empty: every stage of the loop
  std::string token;   // the output ended with this token, or holds it; empty: not asked
  std::string text;    // the output's text matches this regular expression; empty: not asked
  int64_t tokens = 0;  // so many tokens were sampled in the loop, or more; 0: not asked

  bool Asks() const { return !token.empty() || !text.empty() || tokens > 0; }
};

// A part of the flow.
struct FlowPart {
  std::vector<std::string> names;  // of stages and tools
  int64_t rounds = 1;              // at most
  UntilRule until;                 // only of a loop

  bool is_loop() const { return rounds > 1 || until.Asks(); }
  bool ChecksAfter(std::string_view name) const {
    return until.Asks() && (until.stage.empty() || until.stage == name);
  }
};

// Most runs of stages that a flow may have, all rounds counted.
inline constexpr int64_t kMaxFlowSteps = 1024;

// A list of names and of {loop: [names], rounds: n, until: {...}}.
Result<std::vector<FlowPart>> ParseFlow(const YamlNode& list, const std::string& file);

// Ok if it names these alone, each at least once, and its rules can be compiled.
Status ValidateFlow(std::span<const FlowPart> flow, std::span<const std::string> stages,
                    std::span<const std::string> tools);

// Names that may have run before `name` does, in the order of their first runs, looking at so many
// rounds of each loop: 1 for what runs before the first run, 2 for any run.
std::vector<std::string> NamesBefore(std::span<const FlowPart> flow, std::string_view name,
                                     int rounds);

// Why a loop was left.
enum class LoopEnd { kRounds, kToken, kText, kTokens };
std::string_view NameOf(LoopEnd end);

// A part's rule, compiled. Immutable; thread-safe.
class LoopRule {
 public:
  // tokens: the ids of until.token, one a stage that may write it.
  static Result<LoopRule> Create(const UntilRule& until, std::vector<TokenId> tokens);

  // Why the loop ends behind this output, if it does. `tokens`: sampled; `stop_token`: that ended
  // it, or -1; `loop_tokens`: sampled in the loop so far, this output's included.
  std::optional<LoopEnd> EndsWith(std::span<const TokenId> tokens, TokenId stop_token,
                                  std::string_view text, int64_t loop_tokens) const;

 private:
  LoopRule() = default;
  std::vector<TokenId> any_token_;
  std::optional<Regex> text_;
  int64_t tokens_ = 0;
};

}  // namespace onepass
