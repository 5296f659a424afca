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

#include "chain/bound_chain.h"
#include "chain/chain_run.h"
#include "chain/guard.h"
#include "chain/plan.h"
#include "chain/record.h"
#include "chain/record_result.h"
#include "chain/spec.h"
#include "chain/tools.h"
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
  // The same with prompts at hand, one a stage; those of length 0 are none.
  static Result<std::unique_ptr<ChainRunner>> Create(Base& base, const ChainSpec& spec,
                                                     std::vector<SoftPrompt> prompts,
                                                     const RunnerOptions& options);
  ChainRunner(const ChainRunner&) = delete;
  ChainRunner& operator=(const ChainRunner&) = delete;

  const ChainSpec& spec() const { return chain_->spec(); }
  const Plan& plan() const { return chain_->plan(); }
  const RunnerOptions& options() const { return options_; }
  const ChainTemplates& templates() const { return chain_->templates(); }
  const EngineCounters& counters() const { return engine_->counters(); }
  const PagePool& pool() const { return *pool_; }
  std::vector<int64_t> PromptLengths() const { return chain_->PromptLengths(); }

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

  // BoundChain::CountTokens.
  Result<std::vector<int64_t>> CountTokens(const Record& record) const {
    return chain_->CountTokens(record);
  }

 private:
  struct Job;

  ChainRunner(Base& base, const RunnerOptions& options) : base_(base), options_(options) {}
  Status Init(const ChainSpec& spec, ChainPrompts prompts);
  void MakePool();
  Result<WrittenSegment> WriteFrontPrompt(int id);
  void ShareFrontPrompts(ChainRun* run) const;
  Status RunBatch(std::span<const Record> records, size_t first, std::span<RecordResult> results);
  Status RunStep(int step, std::span<Job*> jobs);
  Status PrefillStep(int step, std::span<ChainRun* const> runs);
  Status DecodeStep(std::span<ChainRun* const> runs);
  Status ReplayStep(const std::string& text, ChainRun* run, std::vector<float>* losses);

  Base& base_;
  RunnerOptions options_;
  std::unique_ptr<const BoundChain> chain_;
  std::unique_ptr<Tools> tools_;
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<Engine> engine_;
  std::vector<WrittenSegment> front_prompts_;  // by planned id; shared by every record
};

}  // namespace onepass
