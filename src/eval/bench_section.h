// What `onepass bench handoff`, `kv-memory` and `replay` measured, as sections of a report: the
// first two beside the paper's figures.
#pragma once

#include <string>
#include <string_view>

#include "core/status.h"
#include "eval/report_content.h"

namespace onepass {

// `json`: the line that one of these benches prints with --json; `name` stands for its file in
// messages. kInvalidArgument names the key that is missing, of another kind or out of range.
Result<ReportSection> BenchSectionOf(std::string_view json, const std::string& name);

}  // namespace onepass
