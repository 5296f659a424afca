// A two-stage chain behind a server, at rising rates of requests: how many are answered in time,
// and how long they take, by hand-off; and beside it a llama.cpp server that is asked twice, as a
// client does that hands text over itself.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bench/report.h"
#include "chain/spec.h"
#include "core/status.h"

namespace onepass {

struct ServeBenchOptions {
  std::string url;    // of `onepass serve`
  std::string key;    // its API key; empty: none
  std::string chain;  // its name there
  std::string file;   // its file: its templates are llama.cpp's prompts; empty without it
  std::string input;  // records
  std::vector<std::string> handoffs = {"kv", "text"};
  std::string llamacpp;         // URL of a llama.cpp server; empty: none
  std::vector<double> rates;    // requests a second; empty: shares of what the first hand-off can
  double seconds = 10;          // of each rate
  double deadline_seconds = 0;  // in time; 0: five times the median of one request alone
  int64_t output_tokens = 16;   // of the second stage: as many for all
  int64_t runs = 3;             // of each rate and way, in turn
  uint64_t seed = 1;            // of the times between requests

  std::function<void(const std::string&)> on_progress;
  Status Validate() const;
};

// A row a way (hand-off, llama.cpp) and rate: requests sent, rejected (429) and broken off; goodput
// (answered in time, a second; median, lowest and highest run), latency of the whole answer and
// time to its first token (p50, p90, p99 over all runs). Requests come at random times (Poisson),
// the same for every way, and wait for no other. kInvalidArgument: a server that does not answer.
Result<BenchReport> BenchServe(const ServeBenchOptions& options);

}  // namespace onepass
