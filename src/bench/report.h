// What a measurement says: facts about the run, then the rows of one table. Text or JSON, nothing
// else.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace onepass {

using BenchCell = std::variant<std::string, int64_t, double>;
using BenchFacts = std::vector<std::pair<std::string, BenchCell>>;

// Plain data.
struct BenchReport {
  std::string name;
  BenchFacts facts;
  std::vector<std::string> columns;
  std::vector<std::vector<BenchCell>> rows;  // each as long as `columns`
};

// Facts one a line, then the table with aligned columns. Ends with a newline.
std::string ToText(const BenchReport& report);
// {"bench": name, fact: value ..., "rows": [{column: value ...} ...]} on one line, no newline.
std::string ToJson(const BenchReport& report);

}  // namespace onepass
