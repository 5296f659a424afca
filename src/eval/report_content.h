// What a report says about one task, in no format yet: for report_markdown.cc and report_html.cc.
#pragma once

#include <string>
#include <vector>

#include "eval/bar_chart.h"
#include "eval/results.h"

namespace onepass {

// Plain text everywhere, as it comes: whoever writes it escapes it. Cells of a row stand below the
// header's; the first column is text, the others are numbers.
struct ReportTable {
  std::string caption;
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};

struct ReportSection {
  std::string title;
  std::vector<std::string> notes;
  std::vector<ReportTable> tables;
  std::vector<BarChart> charts;
};

ReportSection SectionOf(const TaskResults& results);

}  // namespace onepass
