#include "eval/bar_chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "core/xml_for_test.h"

namespace onepass {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

BarChart ExampleChart() {
  return {.title = "scores",
          .axis = "EM, %",
          .series = {"EM"},
          .rows = {{.label = "chain", .bars = {BarChart::Bar{40, Interval{30, 50}, "40.0"}}},
                   {.label = "kv", .bars = {BarChart::Bar{20, std::nullopt, "20.0"}}},
                   {.label = "none", .bars = {std::nullopt}}}};
}

std::vector<XmlElement> Bars(const std::string& svg) {
  std::vector<XmlElement> bars;
  const auto elements = ParseXml(svg);
  EXPECT_TRUE(elements) << svg;
  if (!elements) return bars;
  for (const XmlElement& element : *elements) {
    const auto found = element.attributes.find("class");
    if (found != element.attributes.end() && found->second == "bar") bars.push_back(element);
  }
  return bars;
}

TEST(BarChart, BarsAreAsLongAsTheirValues) {
  const std::vector<XmlElement> bars = Bars(BarChartSvg(ExampleChart()));
  ASSERT_EQ(bars.size(), 2u);  // a value that there is not has no bar
  EXPECT_NEAR(bars[0].Number("width"), 2 * bars[1].Number("width"), 0.02);
  EXPECT_EQ(bars[0].Number("x"), bars[1].Number("x"));
  EXPECT_LT(bars[0].Number("y"), bars[1].Number("y"));
}

TEST(BarChart, WhiskersReachFromLowToHigh) {
  const std::string svg = BarChartSvg(ExampleChart());
  const auto elements = ParseXml(svg);
  ASSERT_TRUE(elements);
  const XmlElement bar = Bars(svg)[0];
  const double unit = bar.Number("width") / 40;
  int whiskers = 0;
  for (const XmlElement& element : *elements) {
    if (element.name != "path") continue;
    ++whiskers;
    double from = 0, y = 0, to = 0;
    ASSERT_EQ(std::sscanf(element.attributes.at("d").c_str(), "M%lf %lfH%lf", &from, &y, &to), 3);
    EXPECT_NEAR(from, bar.Number("x") + 30 * unit, 0.02);
    EXPECT_NEAR(to, bar.Number("x") + 50 * unit, 0.02);
    EXPECT_NEAR(y, bar.Number("y") + bar.Number("height") / 2, 0.02);
  }
  EXPECT_EQ(whiskers, 1);
}

TEST(BarChart, SeveralSeriesHaveALegend) {
  BarChart chart = ExampleChart();
  EXPECT_THAT(BarChartSvg(chart), Not(HasSubstr(">EM</text>")));
  chart.series.emplace_back("F1");
  for (BarChart::Row& row : chart.rows) row.bars.push_back(row.bars[0]);
  EXPECT_EQ(Bars(BarChartSvg(chart)).size(), 4u);
  EXPECT_THAT(BarChartSvg(chart), HasSubstr(">F1</text>"));
}

TEST(BarChart, IsWellFormedWhateverTheTextsAndValuesAre) {
  for (const double value : {0.0, 1e-12, 1e-7, 0.3, 1.0, 99.9, 100.0, 12345.0, 1e15}) {
    BarChart chart = ExampleChart();
    chart.rows[0].bars[0] = BarChart::Bar{value, Interval{0, value}, "x"};
    chart.rows[1].bars[0] = std::nullopt;
    const std::string svg = BarChartSvg(chart);
    ASSERT_EQ(Bars(svg).size(), 1u) << value;
    EXPECT_LE(Bars(svg)[0].Number("width"), 400.01) << value;
    EXPECT_LT(svg.size(), 8000u) << value;
    EXPECT_THAT(svg, Not(HasSubstr("nan"))) << value;
  }
  BarChart chart = ExampleChart();
  const std::string hostile =
      "</svg><script>alert(\"1\")</script>\xFF\x01 & a long label \xC3\xA9\xC3\xA9";
  chart.title = chart.axis = chart.series[0] = chart.rows[0].label = hostile;
  chart.rows[0].bars[0]->text = hostile;
  chart.series.push_back(hostile);
  for (BarChart::Row& row : chart.rows) row.bars.push_back(row.bars[0]);
  const auto elements = ParseXml(BarChartSvg(chart));
  ASSERT_TRUE(elements);
  for (const XmlElement& element : *elements) EXPECT_NE(element.name, "script");
  chart.rows.clear();
  EXPECT_TRUE(ParseXml(BarChartSvg(chart)));
}

}  // namespace
}  // namespace onepass
