// A chain bound to a base: plan, prompts, templates and rules, ready for any number of runs
// (chain_run.h). Holds no KV and runs nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "chain/plan.h"
#include "chain/record.h"
#include "chain/spec.h"
#include "chain/transcript.h"
#include "chain/vocabulary.h"
#include "engine/engine.h"
#include "prompt/soft_prompt.h"

namespace onepass {

// How a stage's output is sampled and ended; what a request may set otherwise than the chain.
struct OutputOptions {
  int64_t max_tokens = 256;
  std::vector<std::string> stop_strings;
  SamplingOptions sampling;
  int logprobs = -1;                // DecodeRequest::logprobs
  bool ignore_stop_tokens = false;  // it is as long as it may be, or a stop string ends it
};

// A record's inputs as tokens, cut where the chain says so.
struct PreparedRecord {
  InputTokens inputs;
  std::optional<Record> cut_record;  // what the record is from here on, where it was cut
  int64_t cut_bytes = 0;             // dropped from the end of the spec's cut_field
};

// Pages that a record holds at once.
struct PageNeed {
  int64_t pages = 0;  // as long as no text that is read again has more tokens than were sampled
  int64_t most = 0;   // whatever is sampled: a text may be broken, or written in odd pieces
  std::vector<int64_t> tokens;  // by planned id, that `pages` are enough for; empty: any number
};

// The prompts of a chain's stages, one each; of length 0 where a stage has none.
using ChainPrompts = std::shared_ptr<const std::vector<SoftPrompt>>;

// Loads the prompts that the spec names. Errors: a file's fault, a prompt that does not fit.
Result<ChainPrompts> LoadChainPrompts(const Base& base, const ChainSpec& spec);

// Immutable; thread-safe. Not copyable.
class BoundChain {
 public:
  // The base must outlive it. Prompts of stages that add tokens have their rows. Errors: a start or
  // stop token that the tokenizer lacks, a plan that cannot be.
  static Result<std::unique_ptr<const BoundChain>> Create(const Base& base, ChainSpec spec,
                                                          ChainPrompts prompts);
  BoundChain(const BoundChain&) = delete;
  BoundChain& operator=(const BoundChain&) = delete;

  const Base& base() const { return base_; }
  const ChainSpec& spec() const { return spec_; }
  const Plan& plan() const { return plan_; }
  const ChainTemplates& templates() const { return *templates_; }
  const std::vector<FlowPart>& flow() const { return flow_; }
  const LoopRule& rule(int part) const { return rules_[part]; }
  std::vector<int64_t> PromptLengths() const;
  // [P, C]
  View<const float> PromptVectors(int stage) const { return (*prompts_)[stage].vectors.view(); }
  // What writes a front prompt, of which the plan says OutlivesRecords.
  PrefillRequest FrontPrompt(int id) const;
  // Its own tokens and those it may read; -1: those it may read.
  AddedTokens AddedTokensOf(int stage) const;
  // What a step writes before its output, in groups whose members do not see each other: one
  // forward call a group.
  const std::vector<std::vector<int>>& GroupsOf(int step) const { return groups_[step]; }

  // What the spec says, by stage.
  std::vector<OutputOptions> Outputs() const;
  // Renders the inputs that the record's fields alone fill, and sees that the context holds them.
  // `outputs`: by stage. kInvalidArgument: a field that is missing, too many tokens.
  Result<PreparedRecord> Prepare(const Record& record,
                                 std::span<const OutputOptions> outputs) const;
  // Most KV that any record can hold at once, its front prompts included: what the context's
  // positions allow, in pages of so many tokens.
  int64_t PagesOfPositions(int64_t page_tokens) const;
  // The same of this record.
  PageNeed PagesOf(const PreparedRecord& prepared, std::span<const OutputOptions> outputs,
                   int64_t page_tokens) const;
  // Names of the record's fields that the templates use, in the order of their first use.
  std::vector<std::string> Fields() const;
  // Token counts by planned id that a record would have: its inputs and prompts exactly, -1 for
  // what depends on outputs. Fails as Prepare would.
  Result<std::vector<int64_t>> CountTokens(const Record& record) const;

 private:
  BoundChain(const Base& base, ChainSpec spec, ChainPrompts prompts);
  Status Init();
  Status LoadAddedTokens();
  Status MakeRules();
  // tokens_a_token: of an output that is read again as text.
  std::vector<int64_t> MostTokens(const Plan& plan, int64_t rounds, const InputTokens& inputs,
                                  std::span<const OutputOptions> outputs,
                                  int64_t tokens_a_token = 1) const;
  int64_t LongestToken() const;
  int64_t WorstCaseEnd(const Plan& plan, const InputTokens& inputs,
                       std::span<const OutputOptions> outputs) const;
  int64_t ExcessOfRoom(const InputTokens& inputs) const;
  Status FitContext(const Record& record, std::span<const OutputOptions> outputs,
                    PreparedRecord* prepared) const;

  const Base& base_;
  ChainSpec spec_;
  ChainPrompts prompts_;
  Plan plan_;
  std::vector<std::vector<std::vector<int>>> groups_;  // by step
  // plan_; where records are cut also those of every hand-off: a cut record fits them all.
  std::vector<Plan> fit_plans_;
  std::optional<ChainVocabulary> vocabulary_;
  std::optional<ChainTemplates> templates_;
  Buffer<float> added_embedding_;  // [N, C], of all stages' added tokens
  Buffer<float> added_head_;       // [N, C]
  std::vector<FlowPart> flow_;
  std::vector<LoopRule> rules_;  // by part of the flow
  int64_t longest_token_ = 0;    // bytes; 0: no text is read again
};

}  // namespace onepass
