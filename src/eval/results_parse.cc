// results.json, read strictly: it may come from anywhere.
#include <fmt/format.h>

#include "eval/json_fields.h"
#include "eval/results.h"
#include "format/strict_json.h"

namespace onepass {
namespace {

using nlohmann::json;

MetricResult ReadMetric(JsonFields& fields, const std::string& key) {
  MetricResult metric;
  metric.mean = fields.Real(key, 0, 100);
  if (const auto interval = fields.IntervalOrNull(key + "_interval", 0, 100)) {
    metric.interval = *interval;
  } else {
    fields.Fail(key + "_interval", "[low, high]", json());
  }
  metric.spread = fields.RealOrNull(key + "_spread", 0, 100);
  metric.by_seed = fields.Reals(key + "_by_seed", 0, 100);
  metric.minus_reference = fields.RealOrNull(key + "_minus_reference", -100, 100);
  metric.minus_reference_interval =
      fields.IntervalOrNull(key + "_minus_reference_interval", -100, 100);
  return metric;
}

Result<MethodResult> ReadMethod(const json& object, const std::string& place, Metric metric) {
  JsonFields fields(object, place);
  MethodResult method;
  method.method = fields.Text("method");
  method.kv = fields.Text("kv");
  method.n = fields.Whole("n", 1);
  method.skipped = fields.Whole("skipped", 0);
  for (const json& seed : fields.List("seeds")) {
    if (!seed.is_number_unsigned())
      fields.Fail("seeds", "whole numbers from 0", seed);
    else
      method.seeds.push_back(seed.get<uint64_t>());
  }
  method.em = ReadMetric(fields, "em");
  method.f1 = ReadMetric(fields, "f1");
  if (metric == Metric::kAccuracy) method.accuracy = ReadMetric(fields, "accuracy");
  method.ms = fields.RealOrNull("ms", 0, kMostNumber);
  method.handoff_ms = fields.RealOrNull("handoff_ms", 0, kMostNumber);
  method.recomputed_tokens = fields.Real("recomputed_tokens", 0, kMostNumber);
  method.peak_kv_bytes = fields.Whole("peak_kv_bytes", 0);
  method.rounds = fields.RealOrNull("rounds", 0, kMostNumber);
  method.tool_runs = fields.RealOrNull("tool_runs", 0, kMostNumber);
  RETURN_IF_ERROR(fields.Finish());
  return method;
}

Result<PaperColumn> ReadColumn(const json& object, const std::string& place) {
  JsonFields fields(object, place);
  PaperColumn column;
  column.name = fields.Text("name");
  for (const json& item : fields.List("metrics")) {
    if (!item.is_string()) {
      fields.Fail("metrics", "texts", item);
    } else {
      column.metrics.push_back(item.get<std::string>());
    }
  }
  const size_t metrics = column.metrics.size();
  if (const json* values = fields.Find("values")) {
    if (!values->is_object()) fields.Fail("values", "an object", *values);
    const std::string wanted = fmt::format("{} numbers from 0 to 100 for each method", metrics);
    for (const auto& [method, figures] : values->items()) {
      bool fits = figures.is_array() && figures.size() == metrics;
      for (const json& figure : fits ? figures : json::array()) {
        fits =
            fits && figure.is_number() && figure.get<double>() >= 0 && figure.get<double>() <= 100;
        if (fits) column.values[method].push_back(figure.get<double>());
      }
      if (!fits) fields.Fail("values", wanted, figures);
    }
  }
  RETURN_IF_ERROR(fields.Finish());
  return column;
}

}  // namespace

Result<TaskResults> ParseResults(std::string_view text, const std::string& name) {
  ASSIGN_OR_RETURN(const json root, ParseStrictJson(text, name));
  const std::string place = name + ": ";
  if (root.is_array()) {
    return Unsupported(place + "version: want 3, found a list, which was version 1");
  }
  JsonFields fields(root, place);
  if (const int64_t version = fields.Whole("version", 0); fields.Has("version") && version != 3) {
    return Unsupported(fmt::format("{}version: want 3, found {}", place, version));
  }
  TaskResults results;
  results.task = fields.Text("task");
  const Result<Metric> metric = ParseMetric(fields.Text("metric"));
  if (metric.ok()) {
    results.metric = *metric;
  } else {
    fields.Fail(metric.status().WithPrefix(place + "metric"));
  }
  if (const json* reference = fields.Find("reference");
      reference != nullptr && !reference->is_null()) {
    results.reference = fields.Text("reference");
  }
  results.batch = fields.Whole("batch", 1);
  if (const json* figure = fields.Find("figure"); figure != nullptr && !figure->is_null()) {
    results.figure = fields.Whole("figure", 1);
  }
  const json& columns = fields.List("paper");
  const json& methods = fields.List("methods");
  RETURN_IF_ERROR(fields.Finish());
  for (size_t i = 0; i < columns.size(); ++i) {
    ASSIGN_OR_RETURN(PaperColumn column,
                     ReadColumn(columns[i], fmt::format("{}paper[{}].", place, i)));
    results.paper.push_back(std::move(column));
  }
  for (size_t i = 0; i < methods.size(); ++i) {
    ASSIGN_OR_RETURN(
        MethodResult method,
        ReadMethod(methods[i], fmt::format("{}methods[{}].", place, i), results.metric));
    results.methods.push_back(std::move(method));
  }
  if (results.methods.empty()) return InvalidArgument(place + "methods: want some, found none");
  return results;
}

}  // namespace onepass
