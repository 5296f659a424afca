// A JSON object of known keys, read strictly by type and range. Knows no format.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/status.h"
#include "eval/bootstrap.h"

namespace onepass {

// What figures are at most: below it a double still tells whole numbers apart.
inline constexpr double kMostNumber = 1e15;

// The first fault is kept, and later reads give zeros. Borrows the object. Thread-compatible.
class JsonFields {
 public:
  // `place` stands in front of keys in messages: "FILE: " or "FILE: methods[1].".
  JsonFields(const nlohmann::json& object, std::string place);

  // The value; null where there was a fault.
  const nlohmann::json* Find(const std::string& key);
  bool Has(const std::string& key) const;
  void Fail(const std::string& key, const std::string& wanted, const nlohmann::json& found);
  void Fail(const Status& status);

  std::string Text(const std::string& key);
  int64_t Whole(const std::string& key, int64_t low);  // at most kMostNumber
  double Real(const std::string& key, double low, double high);
  std::optional<double> RealOrNull(const std::string& key, double low, double high);
  const nlohmann::json& List(const std::string& key);
  std::vector<double> Reals(const std::string& key, double low, double high);
  std::optional<Interval> IntervalOrNull(const std::string& key, double low, double high);

  const Status& fault() const { return fault_; }
  // The fault, or else one that names a key that nobody read.
  Status Finish() const;

 private:
  double Number(const std::string& key, const nlohmann::json& value, double low, double high);

  const nlohmann::json* object_ = nullptr;
  std::string place_;
  std::set<std::string> known_;
  Status fault_;
};

}  // namespace onepass
