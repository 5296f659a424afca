// One report of several comparisons: reads their results.json, writes its files (ReportFiles).
#pragma once

#include <string>
#include <vector>

#include "core/status.h"

namespace onepass {

// A section a folder, in this order, below title and notes. `out` is made where it is missing; a fault leaves it as it
// was.
// `benches`: files of bench_section.h, a section each behind these.
Status CombineReports(const std::vector<std::string>& folders,
                      const std::vector<std::string>& benches, const std::string& title,
                      const std::vector<std::string>& notes, const std::string& out);

}  // namespace onepass
