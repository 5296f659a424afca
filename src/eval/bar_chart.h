// A horizontal bar chart as SVG. Pure: numbers and texts in, one element out.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/bootstrap.h"

namespace onepass {

struct BarChart {
  struct Bar {
    double value = 0;  // at least 0
    std::optional<Interval> whisker;
    std::string text;  // beside the bar
  };
  // One bar a series; none: no such value.
  struct Row {
    std::string label;
    std::vector<std::optional<Bar>> bars;
  };
  std::string title;
  std::string axis;                 // what the values are, with their unit
  std::vector<std::string> series;  // names; a legend where there are several
  std::vector<Row> rows;
};

// Dark on light, without styles, scripts or anything from elsewhere, so that it can stand in a page
// or alone, on a screen or on paper. Any text is safe. REQUIRES: every row has a bar, or none, for
// each series; at least one series.
std::string BarChartSvg(const BarChart& chart);

}  // namespace onepass
