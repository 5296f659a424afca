// The table for the terminal.
#include "eval/report.h"

#include <fmt/format.h>

#include <algorithm>

namespace onepass {
namespace {

std::string Score(const MetricResult* metric) {
  if (metric == nullptr) return "-";
  if (!metric->spread.has_value()) return fmt::format("{:.1f}", metric->mean);
  return fmt::format("{:.1f} +- {:.1f}", metric->mean, *metric->spread);
}

std::string OrDash(const std::optional<double>& value, int digits) {
  return value.has_value() ? fmt::format("{:.{}f}", *value, digits) : "-";
}

}  // namespace

std::string ResultsToTable(const TaskResults& results) {
  size_t width = 6;
  for (const MethodResult& method : results.methods) width = std::max(width, method.method.size());
  std::string table = fmt::format("{:<{}}", "method", width);
  for (const MetricView& view : MetricsOf(results)) {
    table += fmt::format("  {:>13}  {:>14}", view.name, "95%");
  }
  table += fmt::format("  {:>11}  {:>11}  {:>10}  {:>8}\n", "ms/question", "hand-off ms",
                       "recomputed", "peak KV");
  for (const MethodResult& method : results.methods) {
    table += fmt::format("{:<{}}", method.method, width);
    for (const MetricView& view : MetricsOf(results)) {
      const MetricResult* metric = view.of(method);
      table += fmt::format("  {:>13}  {:>14}", Score(metric),
                           metric == nullptr ? "-"
                                             : fmt::format("[{:.1f}, {:.1f}]", metric->interval.low,
                                                           metric->interval.high));
    }
    table += fmt::format("  {:>11}  {:>11}  {:>10.1f}  {:>5} kB\n", OrDash(method.ms, 1),
                         OrDash(method.handoff_ms, 2), method.recomputed_tokens,
                         (method.peak_kv_bytes + 1023) / 1024);
  }
  return table;
}

}  // namespace onepass
