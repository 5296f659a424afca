// For tests: results with everything that results can have, and hostile texts.
#pragma once

#include <string>

#include "eval/results.h"

namespace onepass {

inline constexpr char kHostileText[] =
    "</td></title><script>alert(\"1\")</script><img src=x onerror=alert(1)> &amp; `a` |b| [c](d) "
    "\xFF\x01\n# e\n'--";

inline MetricResult SomeMetric(double mean) {
  return {.mean = mean,
          .interval = {mean - 5, mean + 4.5},
          .spread = 1.25,
          .by_seed = {mean - 1, mean + 1},
          .minus_reference = -3.5,
          .minus_reference_interval = Interval{-7, 0.25}};
}

inline TaskResults SomeResults() {
  TaskResults results{.task = "toy",
                      .metric = Metric::kAccuracy,
                      .reference = "chain",
                      .batch = 1,
                      .figure = 0,
                      .paper = {{.name = "HotpotQA (Llama-3-8B)",
                                 .metrics = {"EM", "F1"},
                                 .values = {{"fthss", {29, 42.2}}}}},
                      .methods = {}};
  MethodResult fthss{.method = "fthss",
                     .kv = "bf16",
                     .n = 50,
                     .skipped = 2,
                     .seeds = {1, 2},
                     .em = SomeMetric(80),
                     .f1 = SomeMetric(82.5),
                     .accuracy = SomeMetric(90),
                     .ms = 12.5,
                     .handoff_ms = 0.01,
                     .recomputed_tokens = 3.5,
                     .peak_kv_bytes = 123456,
                     .rounds = 2.5,
                     .tool_runs = 1};
  MethodResult chain = fthss;
  chain.method = "chain";
  chain.seeds = {1};
  for (MetricResult* metric : {&chain.em, &chain.f1, &*chain.accuracy}) {
    metric->spread.reset();
    metric->minus_reference.reset();
    metric->minus_reference_interval.reset();
    metric->by_seed = {metric->mean};
  }
  chain.rounds.reset();
  chain.tool_runs.reset();
  results.methods = {chain, fthss};
  return results;
}

// The same, hostile wherever results.json can be.
inline TaskResults HostileResults() {
  TaskResults results = SomeResults();
  const std::string text = kHostileText;
  results.task = results.reference = results.paper[0].name = text;
  results.paper[0].metrics = {text, text};
  results.paper[0].values[text] = {1, 2};
  for (MethodResult& method : results.methods) method.method = method.kv = text;
  return results;
}

}  // namespace onepass
