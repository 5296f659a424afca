// What a runner knows of one record while it runs, and small helpers. Private to runner*.cc.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "chain/runner.h"

namespace onepass {

struct ChainRunner::Job {
  size_t index = 0;  // in the Run's records
  const Record* record = nullptr;
  RecordResult* result = nullptr;
  InputTokens inputs;
  Transcript transcript;
  std::vector<std::vector<TokenId>> tokens;  // by planned id: the inputs of steps that began
  std::vector<WrittenSegment> written;       // by planned id
  std::vector<float> first_logits;           // after the last input of the present step
  std::optional<Record> cut_record;          // what transcript.record is, where it was cut
  int next_step = 0;
  int64_t loop_tokens = 0;  // sampled in the present part of the flow
  std::chrono::steady_clock::time_point begin;
  std::chrono::steady_clock::time_point last_token;

  bool failed() const { return !result->status.ok(); }
  StageResult& run() const { return result->stages.back(); }
};

inline double Milliseconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

inline bool Contains(const std::vector<int>& values, int value) {
  return std::ranges::find(values, value) != values.end();
}

}  // namespace onepass
