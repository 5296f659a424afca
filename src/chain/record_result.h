// What a chain did for a record. Plain data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "chain/flow.h"
#include "chain/tools.h"
#include "core/status.h"
#include "engine/request.h"

namespace onepass {

// What one run of a stage did for one record. In a batch the records share forward calls, so that
// times are those of the whole batch; counts are the record's own.
struct StageResult {
  int step = 0;   // of the plan
  int stage = 0;  // of the chain
  std::string text;
  // As in DecodeRequest (engine/request.h).
  std::vector<TokenId> tokens, drawn;
  std::vector<TokenLogprobs> token_logprobs;
  // What was sampled, also where a stop string left less of it.
  const std::vector<TokenId>& sampled() const { return drawn.empty() ? tokens : drawn; }
  FinishReason finish = FinishReason::kLength;
  TokenId stop_token = -1;  // where one ended it
  double prefill_ms = 0;    // forward calls that write the stage's prompt and inputs
  // From the last token before until the first one can be decoded: freeing what is dead,
  // text to tokens, prefill, attaching views. 0 for the first run, to which nothing is handed.
  double handoff_ms = 0;
  double first_token_ms = 0;     // from then on to the first sampled token; -1: none was
  double decode_ms = 0;          // from the first sampled token to the last
  int64_t tokens_computed = 0;   // rows that went through the model: prefilled and fed tokens
  int64_t tokens_prefilled = 0;  // part of tokens_computed: prompts and inputs
  int64_t tokens_reused = 0;     // attended to by the output, but written by no work of this stage
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

}  // namespace onepass
