// How comparisons are told to a reader: a table for the terminal, a page in Markdown and one in
// HTML. Pure functions over results.h; any text in them is safe. Nothing is opened or written.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "eval/report_content.h"
#include "eval/results.h"

namespace onepass {

// A plain-text table, one line a method; spreads where there are several seeds.
std::string ResultsToTable(const TaskResults& results);

// A page. Sections come of comparisons (SectionOf) and of benches (bench_section.h).
struct Report {
  std::string title;
  std::vector<std::string> notes;  // paragraphs below it
  std::vector<ReportSection> sections;
};
// Each section's first chart is a picture beside the page (ReportFiles).
std::string ReportMarkdown(const Report& report);
// One file, complete in itself: no script, no style or picture from elsewhere. Also well-formed XML
// behind its first line.
std::string ReportHtml(const Report& report);
// Names and contents: report.md with its pictures report-1.svg ..., report.html.
std::vector<std::pair<std::string, std::string>> ReportFiles(const Report& report);

}  // namespace onepass
