// A report in Markdown: the tables; charts are in the HTML page alone.
#include <fmt/format.h>

#include "core/utf8.h"
#include "eval/report.h"
#include "eval/report_content.h"

namespace onepass {
namespace {

// Text that no reader of Markdown takes for anything else, in one line. It never stands at a line's
// beginning, so that brackets are links only where a parenthesis follows.
std::string Escape(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const Utf8Part part = FirstUtf8Part(text);
    const std::string_view bytes = text.substr(0, part.length);
    text.remove_prefix(part.length);
    const char first = bytes[0];
    if (!part.complete) {
      out += '?';
    } else if (static_cast<unsigned char>(first) < 0x20 || first == 0x7f) {
      out += ' ';
    } else if (first == '<') {
      out += "&lt;";
    } else if (first == '&') {
      out += "&amp;";
    } else {
      const bool marks = std::string_view("\\`*_|~$").find(first) != std::string_view::npos;
      if (marks || (first == '(' && out.ends_with(']'))) out += '\\';
      out += bytes;
    }
  }
  return out;
}

void AddRow(const std::vector<std::string>& cells, std::string* page) {
  *page += '|';
  for (const std::string& cell : cells) *page += fmt::format(" {} |", Escape(cell));
  *page += '\n';
}

void AddMarkdownTable(const ReportTable& table, std::string* page) {
  *page += fmt::format("\n{}:\n\n", Escape(table.caption));
  AddRow(table.header, page);
  *page += "|---|";
  for (size_t i = 1; i < table.header.size(); ++i) *page += "---:|";
  *page += '\n';
  for (const auto& row : table.rows) AddRow(row, page);
}

// Of the section of this number, from 1.
std::string PictureName(size_t number) { return fmt::format("report-{}.svg", number); }

}  // namespace

std::string ReportMarkdown(const Report& report) {
  std::string page = fmt::format("# {}\n", Escape(report.title));
  for (const std::string& note : report.notes) page += fmt::format("\n{}\n", Escape(note));
  for (size_t i = 0; i < report.sections.size(); ++i) {
    const ReportSection& section = report.sections[i];
    if (report.sections.size() > 1) page += fmt::format("\n## {}\n", Escape(section.title));
    for (const std::string& note : section.notes) page += fmt::format("\n{}\n", Escape(note));
    for (const ReportTable& table : section.tables) AddMarkdownTable(table, &page);
    if (section.charts.empty()) continue;
    page += fmt::format("\n![{}]({})\n", Escape(section.charts[0].title), PictureName(i + 1));
  }
  return page;
}

std::vector<std::pair<std::string, std::string>> ReportFiles(const Report& report) {
  std::vector<std::pair<std::string, std::string>> files = {{"report.md", ReportMarkdown(report)},
                                                            {"report.html", ReportHtml(report)}};
  for (size_t i = 0; i < report.sections.size(); ++i) {
    const std::vector<BarChart>& charts = report.sections[i].charts;
    if (!charts.empty()) files.emplace_back(PictureName(i + 1), BarChartSvg(charts[0]));
  }
  return files;
}

}  // namespace onepass
