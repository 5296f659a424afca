// Prometheus metrics: names after vLLM's with the prefix "onepass:", and what hand-offs save.
// docs/serving.md lists them.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "serve/scheduler.h"
#include "serve/wire.h"

namespace onepass {

// What a request was, when it ended. Times in seconds, -1: there is none.
struct RequestFacts {
  std::string model;
  std::string reason;  // "stop", "length", "abort", "error"
  double total = 0;
  double queue = -1;
  double first_token = -1;        // of the answer that was the first to begin
  std::vector<double> per_token;  // of each answer: between its tokens, on average
  Usage usage;
};

// Thread-compatible. Not copyable.
class ServeMetrics {
 public:
  ServeMetrics();
  ~ServeMetrics();
  ServeMetrics(const ServeMetrics&) = delete;
  ServeMetrics& operator=(const ServeMetrics&) = delete;

  void RequestEnded(const RequestFacts& facts);
  // A request that got no answer, or a broken one: "400", "401", "429" ...
  void RequestRejected(int http_status);
  // The text format, with the scheduler's numbers as of now.
  std::string Expose(const SchedulerStats& stats);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace onepass
