#include "eval/json_fields.h"

#include <fmt/format.h>

#include <utility>

#include "core/quote.h"
#include "format/strict_json.h"

namespace onepass {
namespace {

using nlohmann::json;

constexpr size_t kMaxList = 4096;

}  // namespace

JsonFields::JsonFields(const json& object, std::string place) : place_(std::move(place)) {
  if (object.is_object()) {
    object_ = &object;
  } else {
    fault_ = InvalidArgument(place_ + "want an object, found " + DescribeJson(object));
  }
}

const json* JsonFields::Find(const std::string& key) {
  known_.insert(key);
  if (object_ == nullptr || !fault_.ok()) return nullptr;
  const auto found = object_->find(key);
  if (found != object_->end()) return &*found;
  fault_ = InvalidArgument(place_ + key + ": want this key, found none");
  return nullptr;
}

bool JsonFields::Has(const std::string& key) const {
  return object_ != nullptr && object_->find(key) != object_->end();
}

void JsonFields::Fail(const std::string& key, const std::string& wanted, const json& found) {
  if (fault_.ok()) {
    fault_ = InvalidArgument(
        fmt::format("{}{}: want {}, found {}", place_, key, wanted, DescribeJson(found)));
  }
}

void JsonFields::Fail(const Status& status) {
  if (fault_.ok()) fault_ = status;
}

std::string JsonFields::Text(const std::string& key) {
  const json* value = Find(key);
  if (value == nullptr) return "";
  if (!value->is_string()) Fail(key, "a text", *value);
  return value->is_string() ? value->get<std::string>() : "";
}

int64_t JsonFields::Whole(const std::string& key, int64_t low) {
  const json* value = Find(key);
  if (value == nullptr) return low;
  if (value->is_number_integer() && value->get<double>() >= static_cast<double>(low) &&
      value->get<double>() <= kMostNumber) {
    return value->get<int64_t>();
  }
  Fail(key, fmt::format("a whole number from {}", low), *value);
  return low;
}

double JsonFields::Real(const std::string& key, double low, double high) {
  const json* value = Find(key);
  return value == nullptr ? 0 : Number(key, *value, low, high);
}

std::optional<double> JsonFields::RealOrNull(const std::string& key, double low, double high) {
  const json* value = Find(key);
  if (value == nullptr || value->is_null()) return std::nullopt;
  return Number(key, *value, low, high);
}

const json& JsonFields::List(const std::string& key) {
  static const json kNone = json::array();
  const json* value = Find(key);
  if (value == nullptr) return kNone;
  if (value->is_array() && value->size() <= kMaxList) return *value;
  Fail(key, fmt::format("a list of at most {}", kMaxList), *value);
  return kNone;
}

std::vector<double> JsonFields::Reals(const std::string& key, double low, double high) {
  std::vector<double> values;
  for (const json& item : List(key)) values.push_back(Number(key, item, low, high));
  return values;
}

std::optional<Interval> JsonFields::IntervalOrNull(const std::string& key, double low,
                                                   double high) {
  if (const json* value = Find(key); value == nullptr || value->is_null()) return std::nullopt;
  const std::vector<double> ends = Reals(key, low, high);
  if (ends.size() == 2 && ends[0] <= ends[1]) return Interval{ends[0], ends[1]};
  if (fault_.ok()) Fail(key, "[low, high]", *Find(key));
  return std::nullopt;
}

Status JsonFields::Finish() const {
  RETURN_IF_ERROR(fault_);
  for (const auto& [key, value] : object_->items()) {
    if (!known_.contains(key)) {
      return InvalidArgument(place_ + "want no other keys, found " + Quote(key));
    }
  }
  return Status::Ok();
}

double JsonFields::Number(const std::string& key, const json& value, double low, double high) {
  if (value.is_number()) {
    const auto number = value.get<double>();
    if (number >= low && number <= high) return number;
  }
  Fail(key, fmt::format("numbers from {} to {}", low, high), value);
  return low;
}

}  // namespace onepass
