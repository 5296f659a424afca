#include "bench/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/check.h"

namespace onepass {
namespace {

// Four significant digits, never scientific.
std::string NumberText(double value) {
  if (value == 0 || !std::isfinite(value)) return fmt::format("{}", value);
  const int before_point = static_cast<int>(std::floor(std::log10(std::abs(value)))) + 1;
  return fmt::format("{:.{}f}", value, std::clamp(4 - before_point, 0, 6));
}

std::string CellText(const BenchCell& cell) {
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  if (const auto* count = std::get_if<int64_t>(&cell)) return std::to_string(*count);
  return NumberText(std::get<double>(cell));
}

nlohmann::ordered_json CellJson(const BenchCell& cell) {
  return std::visit([](const auto& value) { return nlohmann::ordered_json(value); }, cell);
}

}  // namespace

std::string ToText(const BenchReport& report) {
  std::string text;
  for (const auto& [key, value] : report.facts) {
    text += fmt::format("{}: {}\n", key, CellText(value));
  }
  std::vector<size_t> widths;
  for (const std::string& column : report.columns) widths.push_back(column.size());
  for (const auto& row : report.rows) {
    ONEPASS_CHECK(row.size() == report.columns.size(), "a row of another table");
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], CellText(row[i]).size());
    }
  }
  for (size_t i = 0; i < report.columns.size(); ++i) {
    text += fmt::format("{}{:>{}}", i == 0 ? "" : "  ", report.columns[i], widths[i]);
  }
  if (!report.columns.empty()) text += "\n";
  for (const auto& row : report.rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      text += fmt::format("{}{:>{}}", i == 0 ? "" : "  ", CellText(row[i]), widths[i]);
    }
    text += "\n";
  }
  return text;
}

std::string ToJson(const BenchReport& report) {
  nlohmann::ordered_json json;
  json["bench"] = report.name;
  for (const auto& [key, value] : report.facts) json[key] = CellJson(value);
  json["rows"] = nlohmann::ordered_json::array();
  for (const auto& row : report.rows) {
    nlohmann::ordered_json object;
    for (size_t i = 0; i < row.size(); ++i) object[report.columns[i]] = CellJson(row[i]);
    json["rows"].push_back(std::move(object));
  }
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace onepass
