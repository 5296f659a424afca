// One report of several comparisons: reads their results.json, writes its files (ReportFiles).
#pragma once

#include <string>
#include <vector>

#include "core/status.h"

namespace onepass {

// Title and notes, a section a folder, then one for each of `benches` (files of bench_section.h).
// `out` is made where it is missing; a fault leaves it as it was.
Status CombineReports(const std::vector<std::string>& folders,
                      const std::vector<std::string>& benches, const std::string& title,
                      const std::vector<std::string>& notes, const std::string& out);

}  // namespace onepass
