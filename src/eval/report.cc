#include "eval/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "eval/metrics.h"

namespace onepass {
namespace {

using Field = double MethodRun::*;

std::vector<double> Values(const MethodResult& result, Field field) {
  std::vector<double> values;
  for (const MethodRun& run : result.runs) values.push_back(run.*field);
  return values;
}

double Mean(const MethodResult& result, Field field) {
  return MeanAndSpreadOf(Values(result, field)).mean;
}

int64_t PeakKvBytes(const MethodResult& result) {
  int64_t peak = 0;
  for (const MethodRun& run : result.runs) peak = std::max(peak, run.peak_kv_bytes);
  return peak;
}

// Enough digits for a reader, few enough for a diff.
double Rounded(double value) { return std::round(value * 10000) / 10000; }

std::string Score(const MethodResult& result, Field field) {
  const MeanAndSpread score = MeanAndSpreadOf(Values(result, field));
  if (result.runs.size() < 2) return fmt::format("{:.1f}", score.mean);
  return fmt::format("{:.1f} +- {:.1f}", score.mean, score.spread);
}

}  // namespace

std::string ResultsToJson(const std::vector<MethodResult>& results) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const MethodResult& result : results) {
    nlohmann::ordered_json row;
    row["method"] = result.method;
    row["task"] = result.task;
    row["kv"] = KvTypeName(result.kv_dtype);
    row["n"] = result.runs.front().n;
    row["skipped"] = result.runs.front().skipped;
    row["em"] = Rounded(Mean(result, &MethodRun::em));
    row["f1"] = Rounded(Mean(result, &MethodRun::f1));
    row["ms"] = Rounded(Mean(result, &MethodRun::ms));
    row["handoff_ms"] = Rounded(Mean(result, &MethodRun::handoff_ms));
    row["recomputed_tokens"] = Rounded(Mean(result, &MethodRun::recomputed_tokens));
    row["peak_kv_bytes"] = PeakKvBytes(result);
    std::vector<uint64_t> seeds;
    for (const MethodRun& run : result.runs) seeds.push_back(run.seed);
    row["seeds"] = seeds;
    for (const auto& [name, field] :
         {std::pair{"em", &MethodRun::em}, std::pair{"f1", &MethodRun::f1}}) {
      const std::vector<double> values = Values(result, field);
      nlohmann::ordered_json& spread = row[std::string(name) + "_spread"];
      if (values.size() > 1) spread = Rounded(MeanAndSpreadOf(values).spread);
      nlohmann::ordered_json by_seed = nlohmann::ordered_json::array();
      for (const double value : values) by_seed.push_back(Rounded(value));
      row[std::string(name) + "_by_seed"] = by_seed;
    }
    list.push_back(row);
  }
  return list.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string ResultsToTable(const std::vector<MethodResult>& results) {
  size_t width = 6;
  for (const MethodResult& result : results) width = std::max(width, result.method.size());
  std::string table =
      fmt::format("{:<{}}  {:>13}  {:>13}  {:>11}  {:>11}  {:>10}  {:>8}\n", "method", width, "EM",
                  "F1", "ms/question", "hand-off ms", "recomputed", "peak KV");
  for (const MethodResult& result : results) {
    table += fmt::format(
        "{:<{}}  {:>13}  {:>13}  {:>11.1f}  {:>11.2f}  {:>10.1f}  {:>5} kB\n", result.method, width,
        Score(result, &MethodRun::em), Score(result, &MethodRun::f1), Mean(result, &MethodRun::ms),
        Mean(result, &MethodRun::handoff_ms), Mean(result, &MethodRun::recomputed_tokens),
        (PeakKvBytes(result) + 1023) / 1024);
  }
  return table;
}

}  // namespace onepass
