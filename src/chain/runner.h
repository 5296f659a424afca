// Runs a chain over records: prefill, hand-off and decode as its plan says, many records in
// lockstep. Knows no files; run_file.h reads records and writes results.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "chain/guard.h"
#include "chain/plan.h"
#include "chain/record.h"
#include "chain/spec.h"
#include "chain/tools.h"
#include "chain/transcript.h"
#include "engine/engine.h"
#include "prompt/soft_prompt.h"

namespace onepass {

struct RunnerOptions {
  std::optional<Handoff> handoff;  // for every stage, in place of the spec's
  int64_t batch = 1;               // most records in lockstep
  // Front prompts are prefilled anew by each batch, as if every request loaded its adapters.
  bool cold = false;
  int64_t max_kv_bytes = 0;  // 0: enough for a batch that fills the context, or 2^20 pages
  int64_t page_tokens = 16;
  DType kv_dtype = DType::kF32;  // what KV is stored in: F32, BF16 or I8

  Status Validate() const;
};

// What one run of a stage did for one record. In a batch the records share forward calls, so that
// times are those of the whole batch; counts are the record's own.
struct StageResult {
  int step = 0;   // of the plan
  int stage = 0;  // of the chain
  std::string text;
  std::vector<TokenId> tokens;  // sampled, the stop token left out
  FinishReason finish = FinishReason::kLength;
  TokenId stop_token = -1;  // where one ended it
  double prefill_ms = 0;    // forward calls that write the stage's prompt and inputs
  // From the last token before until the first one can be decoded: freeing what is dead,
  // text to tokens, prefill, attaching views. 0 for the first run, to which nothing is handed.
  double handoff_ms = 0;
  double first_token_ms = 0;    // from then on to the first sampled token; -1: none was
  double decode_ms = 0;         // from the first sampled token to the last
  int64_t tokens_computed = 0;  // rows that went through the model: prefilled and fed tokens
  int64_t tokens_reused = 0;    // attended to by the output, but written by no work of this stage
  // Part of tokens_computed: shared input and outputs of earlier stages that were prefilled again.
  int64_t tokens_recomputed = 0;
};

// How a record left a loop of the flow.
struct LoopResult {
  int part = 0;    // of the flow
  int rounds = 0;  // begun
  LoopEnd end = LoopEnd::kRounds;
};

struct RecordResult {
  int64_t number = 0;               // the record's
  Status status;                    // why it was not done; stages then holds those that were
  std::vector<StageResult> stages;  // runs of stages, in order
  std::vector<LoopResult> loops;
  std::vector<ToolResult> tools;  // runs of tools, in order
  double total_ms = 0;            // from its batch's begin to the last run's last token
  // Bytes of KV pages held at once, at most, for this record: its own segments and the front
  // prompts that all records share. Whole pages are counted.
  int64_t peak_kv_bytes = 0;
  int64_t cut_bytes = 0;  // dropped from the end of the spec's cut_field

  // The last run of a stage; null: it did not run.
  const StageResult* LastRunOf(int stage) const;
  int64_t TokensComputed() const;
  int64_t TokensReused() const;
  int64_t TokensRecomputed() const;
};

// What a replay of a record did.
struct ReplayResult {
  // As of a run; its outputs are those given, nothing was sampled, and the peak is the pool's own
  // count. No loops and tools.
  RecordResult record;
  // By run of a stage: cross entropy of its output's tokens, and of its stop token where it has
  // one.
  std::vector<std::vector<float>> losses;
};

// A chain bound to a base, with its prompts loaded. Thread-compatible. Not copyable.
class ChainRunner {
 public:
  // Loads the spec's prompts. The base must outlive it. Errors: a prompt that does not fit, a start
  // or stop token that the tokenizer lacks, a plan that cannot be.
  static Result<std::unique_ptr<ChainRunner>> Create(Base& base, const ChainSpec& spec,
                                                     const RunnerOptions& options);
  // The same with prompts at hand, one a stage; those of length 0 are none. Those of stages that
  // add tokens have their rows.
  static Result<std::unique_ptr<ChainRunner>> Create(Base& base, const ChainSpec& spec,
                                                     std::vector<SoftPrompt> prompts,
                                                     const RunnerOptions& options);
  ~ChainRunner();
  ChainRunner(const ChainRunner&) = delete;
  ChainRunner& operator=(const ChainRunner&) = delete;

  const ChainSpec& spec() const { return spec_; }
  const Plan& plan() const { return plan_; }
  const RunnerOptions& options() const { return options_; }
  const ChainTemplates& templates() const { return *templates_; }
  const EngineCounters& counters() const { return engine_->counters(); }
  const PagePool& pool() const { return *pool_; }
  std::vector<int64_t> PromptLengths() const;

  // Called when a step's output is complete, before what is dead is freed: what the record holds
  // then, by planned id. For tools and tests. May be empty.
  std::function<void(size_t record, int step, const std::vector<WrittenSegment>& held)> on_step;

  // One result a record, in order; a record's fault is its own. Works through them in batches.
  std::vector<RecordResult> Run(std::span<const Record> records);

  // Runs a record with outputs that are given (TraceOf: trace.h) in place of generated ones. Each
  // hand-off's work is done, timed and counted as in Run; an output is written in one call.
  // Refused: what does not fit the context with these outputs; nothing is cut.
  Result<ReplayResult> Replay(const Record& record,
                              const std::vector<std::optional<std::string>>& outputs);

  // Token counts by planned id that a record would have: its inputs and prompts exactly, -1 for
  // what depends on outputs. Fails as Run would for a record that is missing a field or does not
  // fit.
  Result<std::vector<int64_t>> CountTokens(const Record& record) const;

 private:
  struct Job;

  ChainRunner(Base& base, const ChainSpec& spec, const RunnerOptions& options);
  Status Init(std::vector<SoftPrompt> prompts);
  Status LoadAddedTokens();
  Status MakeRules();
  AddedTokens AddedTokensOf(int stage) const;
  Status WriteFrontPrompt(int id, std::vector<WrittenSegment>* written);
  Status RenderInputs(Job* job) const;
  Status Prepare(Job* job) const;
  Status FitContext(Job* job) const;
  int64_t WorstCaseEnd(const Plan& plan, const InputTokens& inputs) const;
  int64_t ExcessOfRoom(const InputTokens& inputs) const;
  Status RunBatch(std::span<Job*> jobs);
  Status RunStep(int step, std::span<Job*> jobs);
  Status BeginStep(int step, Job* job, int64_t most_output_tokens) const;
  Status PrefillStep(int step, std::span<Job*> jobs);
  void CountReused(int step, Job* job) const;
  Status DecodeStep(int step, std::span<Job*> jobs);
  Status ReplayStep(int step, const std::string& text, Job* job, std::vector<float>* losses);
  Status RunTool(int step, Job* job);
  void EndStep(int step, Job* job) const;
  int64_t StartPosition(const Job& job, int id) const;

  Base& base_;
  ChainSpec spec_;
  RunnerOptions options_;
  Plan plan_;
  std::vector<Plan> fit_plans_;  // of every hand-off, and plan_: a cut record fits them all
  std::vector<SoftPrompt> prompts_;
  std::optional<ChainVocabulary> vocabulary_;
  std::optional<ChainTemplates> templates_;
  std::unique_ptr<Tools> tools_;
  Buffer<float> added_embedding_;  // [N, C], of all stages' added tokens
  Buffer<float> added_head_;       // [N, C]
  std::vector<FlowPart> flow_;
  std::vector<LoopRule> rules_;  // by part of the flow
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<Engine> engine_;
  std::vector<WrittenSegment> front_prompts_;  // by planned id; shared by every record
};

}  // namespace onepass
