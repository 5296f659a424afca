// From records to tokens: what was said for a record so far, and a chain's templates filled with
// it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chain/plan.h"
#include "chain/record.h"
#include "chain/spec.h"
#include "chain/template.h"
#include "chain/vocabulary.h"
#include "tokenizer/tokenizer.h"

namespace onepass {

// Whose words a template may use besides the record's fields.
enum class SaidBy { kTools, kStagesAndTools };

// A record and what the steps of a plan have said about it. Plain data.
struct Transcript {
  const Record* record = nullptr;
  // By step: an output's text, or what stands for a tool's name; none: it has not run, or was
  // skipped. A step beyond the end: none.
  std::vector<std::optional<std::string>> texts;

  bool HasRun(int step) const { return step < std::ssize(texts) && texts[step].has_value(); }
  // "" for a step that has not run.
  std::string TextOf(int step) const { return HasRun(step) ? *texts[step] : std::string(); }
  // What a template's field stands for in a step: what the stage or tool of that name said last
  // before it, or the record's field. kInvalidArgument: it has said nothing, there is no such
  // field.
  Result<std::string_view> FieldText(const Plan& plan, int step, const std::string& name,
                                     SaidBy said_by) const;
};

// The tokens of a record's inputs. Nothing of a field ever becomes a special token.
struct InputTokens {
  std::vector<TokenId> shared;
  bool found_shared = false;              // `shared` holds what a tool found first, which it keeps
  std::vector<std::vector<TokenId>> own;  // by step; empty where it has none
};

// A chain's templates, parsed once and bound to a tokenizer. Immutable; thread-safe.
class ChainTemplates {
 public:
  // The vocabulary's tokenizer must outlive it. Refuses start and stop tokens that neither the
  // tokenizer nor the stage has, and a start text of which no tokens are made.
  static Result<ChainTemplates> Create(const ChainSpec& spec, const ChainVocabulary& vocabulary);

  // Those of a plan's inputs that the record's fields alone fill.
  Result<InputTokens> RenderInputs(const Plan& plan, const Record& record) const;
  // Those of a step that hold what tools found.
  Status RenderFound(const Plan& plan, int step, const Transcript& transcript,
                     InputTokens* inputs) const;
  // The tokens of a planned input segment: shared, own, or texts read again (as each stage's
  // read_as writes them) with what own inputs stand among and behind them.
  std::vector<TokenId> TokensOf(const Plan& plan, int id, const InputTokens& inputs,
                                const Transcript& transcript) const;
  // Tokens that read_as adds to a text of this stage.
  int64_t ReadAgainOverhead(int stage) const;
  // The tokens of an output's text, as a stage would write them: plain text.
  std::vector<TokenId> OutputText(std::string_view text) const;
  // What an output starts with; may be empty.
  const std::vector<TokenId>& StartTokens(int stage) const { return stages_[stage].start; }
  const std::vector<TokenId>& StopTokens(int stage) const { return stages_[stage].stop; }

 private:
  struct Stage {
    TemplateEncoder encoder;
    std::vector<TemplatePiece> input;
    bool input_uses_tool = false;
    std::vector<TemplatePiece> read_as;
    std::vector<TokenId> start;
    std::vector<TokenId> stop;
  };
  explicit ChainTemplates(const ChainVocabulary& vocabulary)
      : encoder_(vocabulary.tokenizer(), vocabulary.TextsFor(-1)) {}
  static Result<std::vector<TokenId>> Render(const TemplateEncoder& encoder,
                                             const std::vector<TemplatePiece>& pieces,
                                             const Plan& plan, int step,
                                             const Transcript& transcript);
  TemplateEncoder encoder_;  // of what is no stage's
  bool shared_uses_tool_ = false;
  std::vector<TemplatePiece> shared_;
  std::vector<Stage> stages_;
};

// Teacher forcing: the tokens of every planned segment for a transcript; none where a step has not
// run. An output is its start and text tokens, without the stop token, which is in no view (the
// loss adds it as the last target). A prompt's list is empty.
Result<std::vector<std::vector<TokenId>>> TokensOfPlan(const ChainTemplates& templates,
                                                       const Plan& plan,
                                                       const Transcript& transcript);

// Start position of every planned segment, given the token count of each (a prompt's is its
// length; 0 where its step was skipped).
std::vector<int64_t> PositionsOfPlan(const Plan& plan, std::span<const int64_t> token_counts);
// The position behind the last one that it uses.
int64_t EndOfPlan(const Plan& plan, std::span<const int64_t> token_counts);

}  // namespace onepass
