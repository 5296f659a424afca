// A report in HTML: tables and charts. Text goes in through EscapeMarkup() only.
#include <fmt/format.h>

#include "core/markup.h"
#include "eval/report.h"
#include "eval/report_content.h"

namespace onepass {
namespace {

// The policy makes sure of it: nothing runs and nothing is fetched, whatever stands in the page.
constexpr char kHead[] =
    "<!DOCTYPE html>\n"
    "<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
    "<meta http-equiv=\"Content-Security-Policy\" "
    "content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n";

constexpr char kStyle[] =
    "<style>\n"
    "body{font:15px/1.45 system-ui,sans-serif;color:#1f2328;background:#ffffff;max-width:75em;"
    "margin:2em auto;padding:0 1em}\n"
    "h1{font-size:1.6em}h2{font-size:1.25em;margin-top:2.2em;border-bottom:1px solid #d8dee4}\n"
    "table{border-collapse:collapse;margin:1em 0;font-variant-numeric:tabular-nums}\n"
    "caption{text-align:left;font-weight:600;padding:.3em 0}\n"
    "th,td{padding:.25em .7em;text-align:right;border-bottom:1px solid #d8dee4;"
    "vertical-align:top}\n"
    "th:first-child,td:first-child{text-align:left}\n"
    ".table{overflow-x:auto}svg{max-width:100%;height:auto;display:block;margin:1em 0}\n"
    "@media print{body{margin:0;max-width:none;font-size:10pt}.table{overflow:visible}"
    "svg,tr{break-inside:avoid}svg{-webkit-print-color-adjust:exact;print-color-adjust:exact}}\n"
    "</style>\n";

void AddCells(const char* element, const std::vector<std::string>& cells, std::string* page) {
  *page += "<tr>";
  for (const std::string& cell : cells) {
    *page += fmt::format("<{0}>{1}</{0}>", element, EscapeMarkup(cell));
  }
  *page += "</tr>\n";
}

void AddHtmlTable(const ReportTable& table, std::string* page) {
  *page += fmt::format("<div class=\"table\"><table>\n<caption>{}</caption>\n<thead>\n",
                       EscapeMarkup(table.caption));
  AddCells("th", table.header, page);
  *page += "</thead>\n<tbody>\n";
  for (const auto& row : table.rows) AddCells("td", row, page);
  *page += "</tbody>\n</table></div>\n";
}

}  // namespace

std::string ReportHtml(const Report& report) {
  std::string page = kHead;
  page += fmt::format("<title>{}</title>\n", EscapeMarkup(report.title));
  page += kStyle;
  page += fmt::format("</head>\n<body>\n<h1>{}</h1>\n", EscapeMarkup(report.title));
  for (const std::string& note : report.notes) {
    page += fmt::format("<p>{}</p>\n", EscapeMarkup(note));
  }
  for (const ReportSection& section : report.sections) {
    page += "<section>\n";
    if (report.sections.size() > 1) {
      page += fmt::format("<h2>{}</h2>\n", EscapeMarkup(section.title));
    }
    for (const std::string& note : section.notes) {
      page += fmt::format("<p>{}</p>\n", EscapeMarkup(note));
    }
    for (const ReportTable& table : section.tables) AddHtmlTable(table, &page);
    for (const BarChart& chart : section.charts) page += BarChartSvg(chart);
    page += "</section>\n";
  }
  return page + "</body>\n</html>\n";
}

}  // namespace onepass
