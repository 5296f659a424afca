#include "chain/record_result.h"

namespace onepass {

const StageResult* RecordResult::LastRunOf(int stage) const {
  const StageResult* last = nullptr;
  for (const StageResult& run : stages) {
    if (run.stage == stage) last = &run;
  }
  return last;
}

int64_t RecordResult::TokensComputed() const {
  int64_t sum = 0;
  for (const StageResult& stage : stages) sum += stage.tokens_computed;
  return sum;
}

int64_t RecordResult::TokensReused() const {
  int64_t sum = 0;
  for (const StageResult& stage : stages) sum += stage.tokens_reused;
  return sum;
}

int64_t RecordResult::TokensRecomputed() const {
  int64_t sum = 0;
  for (const StageResult& stage : stages) sum += stage.tokens_recomputed;
  return sum;
}

}  // namespace onepass
