#include "eval/results.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace onepass {
namespace {

using nlohmann::ordered_json;

template <class T>
ordered_json ValueOrNull(const std::optional<T>& value) {
  return value.has_value() ? ordered_json(*value) : ordered_json();
}

ordered_json ToJson(const Interval& interval) {
  return ordered_json::array({interval.low, interval.high});
}

void AddMetric(const std::string& key, const MetricResult& metric, ordered_json* row) {
  (*row)[key] = metric.mean;
  (*row)[key + "_interval"] = ToJson(metric.interval);
  (*row)[key + "_spread"] = ValueOrNull(metric.spread);
  (*row)[key + "_by_seed"] = metric.by_seed;
  (*row)[key + "_minus_reference"] = ValueOrNull(metric.minus_reference);
  (*row)[key + "_minus_reference_interval"] = metric.minus_reference_interval.has_value()
                                                  ? ToJson(*metric.minus_reference_interval)
                                                  : ordered_json();
}

}  // namespace

std::vector<MetricView> MetricsOf(const TaskResults& results) {
  std::vector<MetricView> views;
  if (results.metric == Metric::kAccuracy) {
    views.push_back({"accuracy", "accuracy", [](const MethodResult& method) {
                       return method.accuracy.has_value() ? &*method.accuracy : nullptr;
                     }});
  }
  views.push_back({"em", "EM", [](const MethodResult& method) { return &method.em; }});
  views.push_back({"f1", "F1", [](const MethodResult& method) { return &method.f1; }});
  return views;
}

double RoundResult(double value) { return std::round(value * 10000) / 10000; }

std::string ResultsToJson(const TaskResults& results) {
  ordered_json json;
  json["version"] = 3;
  json["task"] = results.task;
  json["metric"] = NameOf(results.metric);
  json["reference"] = results.reference.empty() ? ordered_json() : ordered_json(results.reference);
  json["batch"] = results.batch;
  json["figure"] = results.figure == 0 ? ordered_json() : ordered_json(results.figure);
  json["paper"] = ordered_json::array();
  for (const PaperColumn& column : results.paper) {
    ordered_json values = ordered_json::object();
    for (const auto& [method, figures] : column.values) values[method] = figures;
    json["paper"].push_back(
        {{"name", column.name}, {"metrics", column.metrics}, {"values", values}});
  }
  json["methods"] = ordered_json::array();
  for (const MethodResult& method : results.methods) {
    ordered_json row;
    row["method"] = method.method;
    row["kv"] = method.kv;
    row["n"] = method.n;
    row["skipped"] = method.skipped;
    row["seeds"] = method.seeds;
    for (const MetricView& view : MetricsOf(results)) {
      if (const MetricResult* metric = view.of(method)) AddMetric(view.key, *metric, &row);
    }
    row["ms"] = ValueOrNull(method.ms);
    row["handoff_ms"] = ValueOrNull(method.handoff_ms);
    row["recomputed_tokens"] = method.recomputed_tokens;
    row["peak_kv_bytes"] = method.peak_kv_bytes;
    row["rounds"] = ValueOrNull(method.rounds);
    row["tool_runs"] = ValueOrNull(method.tool_runs);
    json["methods"].push_back(std::move(row));
  }
  return json.dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace onepass
