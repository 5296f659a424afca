#include "eval/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "core/xml_for_test.h"
#include "eval/results_for_test.h"

namespace onepass {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// The elements of the page behind its first line, the document type.
std::optional<std::vector<XmlElement>> ElementsOf(const std::string& html) {
  return ParseXml(std::string_view(html).substr(html.find('\n') + 1));
}

int64_t Count(const std::vector<XmlElement>& elements, const std::string& name) {
  return std::ranges::count(elements, name, &XmlElement::name);
}

TEST(Report, TableShowsSpreadOnlyForSeveralSeeds) {
  TaskResults results = SomeResults();
  const std::string table = ResultsToTable(results);
  EXPECT_THAT(table, HasSubstr("90.0 +- 1.2"));
  EXPECT_THAT(table, HasSubstr("[85.0, 94.5]"));
  EXPECT_LT(table.find("accuracy"), table.find("EM"));
  results.methods.pop_back();
  EXPECT_THAT(ResultsToTable(results), Not(HasSubstr("+-")));
}

TEST(Report, SaysAllThatWasMeasured) {
  const Report report{
      .title = "toy", .notes = {"On <a> machine."}, .sections = {SectionOf(SomeResults())}};
  for (const std::string& page : {ReportMarkdown(report), ReportHtml(report)}) {
    for (const char* text : {"50 questions, the same for every method; 2 records were left out.",
                             "90.0 [85.0, 94.5] ± 1.2", "-3.5 [-7.0, +0.2]", "accuracy minus chain",
                             "paper, HotpotQA (Llama-3-8B): EM / F1", "29.0 / 42.2", "0.01", "121",
                             "rounds", "2.50", "tool runs", "1.00", "bf16", "On &lt;a"}) {
      EXPECT_THAT(page, HasSubstr(text));
    }
  }
  const auto elements = ElementsOf(ReportHtml(report));
  ASSERT_TRUE(elements);
  EXPECT_EQ(Count(*elements, "svg"), 4);  // accuracy, hand-off, recomputed tokens, peak KV
  EXPECT_EQ(Count(*elements, "table"), 2);
}

TEST(Report, TimesThatWereNotMeasuredAreLeftOut) {
  TaskResults results = SomeResults();
  results.batch = 8;
  for (MethodResult& method : results.methods) {
    method.ms.reset();
    method.handoff_ms.reset();
    method.rounds.reset();
    method.tool_runs.reset();
  }
  const std::string html =
      ReportHtml({.title = "toy", .notes = {}, .sections = {SectionOf(results)}});
  EXPECT_THAT(html, HasSubstr("Answered 8 at a time: no times were measured."));
  EXPECT_EQ(Count(*ElementsOf(html), "svg"), 3);
  EXPECT_THAT(html, Not(HasSubstr("<th>rounds</th>")));
  EXPECT_THAT(html, Not(HasSubstr("<th>tool runs</th>")));
}

TEST(Report, AFigureShowsAllMetricsOfTheTask) {
  TaskResults results = SomeResults();
  results.metric = Metric::kSquad;
  const auto bars = [](const std::string& html) {
    const std::string chart =
        html.substr(html.find("<svg"), html.find("</svg>") - html.find("<svg"));
    size_t count = 0;
    for (size_t at = chart.find("\"bar\""); at != std::string::npos;
         at = chart.find("\"bar\"", at + 1)) {
      ++count;
    }
    return count;
  };
  EXPECT_EQ(bars(ReportHtml({.title = "t", .notes = {}, .sections = {SectionOf(results)}})), 2u);
  results.figure = 4;
  const std::string html =
      ReportHtml({.title = "t", .notes = {}, .sections = {SectionOf(results)}});
  EXPECT_THAT(html, HasSubstr("Figure 4: toy"));
  EXPECT_EQ(bars(html), 4u);
}

TEST(Report, SeveralTasksHaveASectionEach) {
  TaskResults other = SomeResults();
  other.task = "second";
  const Report report{.title = "All", .sections = {SectionOf(SomeResults()), SectionOf(other)}};
  const std::string markdown = ReportMarkdown(report);
  EXPECT_LT(markdown.find("# All\n"), markdown.find("\n## toy\n"));
  EXPECT_LT(markdown.find("\n## toy\n"), markdown.find("\n## second\n"));
  const auto elements = ElementsOf(ReportHtml(report));
  ASSERT_TRUE(elements);
  EXPECT_EQ(Count(*elements, "section"), 2);
  EXPECT_EQ(Count(*elements, "h2"), 2);
  EXPECT_EQ(Count(*elements, "svg"), 8);
}

TEST(Report, NothingOfAnyTextIsMarkup) {
  const Report harmless{
      .title = "t", .notes = {}, .sections = {SectionOf(SomeResults()), SectionOf(SomeResults())}};
  const Report hostile{.title = kHostileText,
                       .sections = {SectionOf(HostileResults()), SectionOf(HostileResults())}};
  const std::string html = ReportHtml(hostile);
  const auto elements = ElementsOf(html);
  ASSERT_TRUE(elements);
  EXPECT_EQ(Count(*elements, "script"), 0);
  EXPECT_EQ(Count(*elements, "img"), 0);
  EXPECT_EQ(Count(*elements, "table"), 4);
  EXPECT_EQ(Count(*elements, "title"), Count(*ElementsOf(ReportHtml(harmless)), "title"));
  // Nothing is fetched, nothing runs.
  for (const XmlElement& element : *elements) {
    for (const auto& [name, value] : element.attributes) {
      EXPECT_NE(name, "src");
      EXPECT_NE(name, "href");
      EXPECT_FALSE(name.starts_with("on")) << name;
    }
  }
  const std::string markdown = ReportMarkdown(hostile);
  EXPECT_THAT(markdown, Not(HasSubstr("<")));
  std::string without_pictures = markdown;
  for (const char* picture : {"](report-1.svg)", "](report-2.svg)"}) {
    const size_t at = without_pictures.find(picture);
    ASSERT_NE(at, std::string::npos);
    without_pictures.erase(at, 2);
  }
  EXPECT_THAT(without_pictures, Not(HasSubstr("](")));
  EXPECT_TRUE(IsUtf8(markdown));
  EXPECT_EQ(std::ranges::count(markdown, '\n'), std::ranges::count(ReportMarkdown(harmless), '\n'));
  // Every row of a table has as many cells as its header.
  std::stringstream lines(markdown);
  int64_t cells = 0;
  bool in_table = false;
  for (std::string line; std::getline(lines, line);) {
    int64_t bars = 0;
    for (size_t i = 0; i < line.size(); ++i) {
      if (line[i] == '|' && (i == 0 || line[i - 1] != '\\')) ++bars;
    }
    if (!line.starts_with('|')) {
      in_table = false;
      continue;
    }
    if (!in_table) cells = bars;
    EXPECT_EQ(bars, cells) << line;
    in_table = true;
  }
}

}  // namespace
}  // namespace onepass
