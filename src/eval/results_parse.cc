// results.json, read strictly: it may come from anywhere.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/quote.h"
#include "eval/results.h"
#include "format/strict_json.h"

namespace onepass {
namespace {

using nlohmann::json;

constexpr double kMost = 1e15;
constexpr size_t kMaxList = 4096;

// Reads an object's keys by type. The first fault is kept and later reads give zeros; Finish()
// says it, or else names a key that nobody read.
class Fields {
 public:
  // `place` stands in front of keys in messages: "FILE: " or "FILE: methods[1].".
  Fields(const json& object, std::string place) : place_(std::move(place)) {
    if (object.is_object()) {
      object_ = &object;
    } else {
      fault_ = InvalidArgument(place_ + "want an object, found " + DescribeJson(object));
    }
  }

  // The value; null where there was a fault.
  const json* Find(const std::string& key) {
    known_.insert(key);
    if (object_ == nullptr || !fault_.ok()) return nullptr;
    const auto found = object_->find(key);
    if (found != object_->end()) return &*found;
    fault_ = InvalidArgument(place_ + key + ": want this key, found none");
    return nullptr;
  }
  bool Has(const std::string& key) const {
    return object_ != nullptr && object_->find(key) != object_->end();
  }
  void Fail(const std::string& key, const std::string& wanted, const json& found) {
    if (fault_.ok()) {
      fault_ = InvalidArgument(
          fmt::format("{}{}: want {}, found {}", place_, key, wanted, DescribeJson(found)));
    }
  }
  void Fail(const Status& status) {
    if (fault_.ok()) fault_ = status;
  }

  std::string Text(const std::string& key) {
    const json* value = Find(key);
    if (value == nullptr) return "";
    if (!value->is_string()) Fail(key, "a text", *value);
    return value->is_string() ? value->get<std::string>() : "";
  }
  int64_t Whole(const std::string& key, int64_t low) {
    const json* value = Find(key);
    if (value == nullptr) return low;
    if (value->is_number_integer() && value->get<double>() >= static_cast<double>(low) &&
        value->get<double>() <= kMost) {
      return value->get<int64_t>();
    }
    Fail(key, fmt::format("a whole number from {}", low), *value);
    return low;
  }
  double Real(const std::string& key, double low, double high) {
    const json* value = Find(key);
    return value == nullptr ? 0 : Number(key, *value, low, high);
  }
  std::optional<double> RealOrNull(const std::string& key, double low, double high) {
    const json* value = Find(key);
    if (value == nullptr || value->is_null()) return std::nullopt;
    return Number(key, *value, low, high);
  }
  const json& List(const std::string& key) {
    static const json kNone = json::array();
    const json* value = Find(key);
    if (value == nullptr) return kNone;
    if (value->is_array() && value->size() <= kMaxList) return *value;
    Fail(key, fmt::format("a list of at most {}", kMaxList), *value);
    return kNone;
  }
  std::vector<double> Reals(const std::string& key, double low, double high) {
    std::vector<double> values;
    for (const json& item : List(key)) values.push_back(Number(key, item, low, high));
    return values;
  }
  std::optional<Interval> IntervalOrNull(const std::string& key, double low, double high) {
    if (const json* value = Find(key); value == nullptr || value->is_null()) return std::nullopt;
    const std::vector<double> ends = Reals(key, low, high);
    if (ends.size() == 2 && ends[0] <= ends[1]) return Interval{ends[0], ends[1]};
    if (fault_.ok()) Fail(key, "[low, high]", *Find(key));
    return std::nullopt;
  }

  Status Finish() const {
    RETURN_IF_ERROR(fault_);
    for (const auto& [key, value] : object_->items()) {
      if (!known_.contains(key)) {
        return InvalidArgument(place_ + "want no other keys, found " + Quote(key));
      }
    }
    return Status::Ok();
  }

 private:
  double Number(const std::string& key, const json& value, double low, double high) {
    if (value.is_number()) {
      const auto number = value.get<double>();
      if (number >= low && number <= high) return number;
    }
    Fail(key, fmt::format("numbers from {} to {}", low, high), value);
    return low;
  }

  const json* object_ = nullptr;
  std::string place_;
  std::set<std::string> known_;
  Status fault_;
};

MetricResult ReadMetric(Fields& fields, const std::string& key) {
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
  Fields fields(object, place);
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
  method.ms = fields.RealOrNull("ms", 0, kMost);
  method.handoff_ms = fields.RealOrNull("handoff_ms", 0, kMost);
  method.recomputed_tokens = fields.Real("recomputed_tokens", 0, kMost);
  method.peak_kv_bytes = fields.Whole("peak_kv_bytes", 0);
  method.rounds = fields.RealOrNull("rounds", 0, kMost);
  method.tool_runs = fields.RealOrNull("tool_runs", 0, kMost);
  RETURN_IF_ERROR(fields.Finish());
  return method;
}

Result<PaperColumn> ReadColumn(const json& object, const std::string& place) {
  Fields fields(object, place);
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
  Fields fields(root, place);
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
