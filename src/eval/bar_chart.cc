#include "eval/bar_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

#include "core/check.h"
#include "core/markup.h"
#include "core/utf8.h"

namespace onepass {
namespace {

// In the picture's units. Texts beside bars have kRight for themselves.
constexpr double kLeft = 170;
constexpr double kWidth = 400;
constexpr double kRight = 150;
constexpr double kTop = 40;
constexpr double kBarHeight = 16;
constexpr double kRowGap = 8;
constexpr size_t kLabelBytes = 24;
constexpr std::array<const char*, 4> kColours = {"#3b6ea5", "#b5651d", "#4c7f4c", "#7a5195"};
constexpr char kInk[] = "#1f2328";
constexpr char kSoft[] = "#59636e";

// 1, 2 or 5 times a power of ten, such that four to ten of it reach `most`.
double StepFor(double most) {
  const double power = std::pow(10, std::floor(std::log10(most)) - 1);
  for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
    if (most / (factor * power) <= 10) return factor * power;
  }
  return 20 * power;
}

std::string TickText(double value, double step) {
  if (value != 0 && (step >= 1e6 || step < 1e-4)) return fmt::format("{:.3g}", value);
  return fmt::format("{:.{}f}", value, std::max(0, static_cast<int>(std::ceil(-std::log10(step)))));
}

// Cut where it is too long for its place; well-formed stays so.
std::string Shortened(const std::string& text) {
  if (text.size() <= kLabelBytes) return text;
  if (!IsUtf8(text)) return text.substr(0, kLabelBytes) + "...";
  return text.substr(0, CharacterBorder(text, kLabelBytes)) + "...";
}

class Picture {
 public:
  explicit Picture(const BarChart& chart) : chart_(chart) {
    double most = 0;
    for (const BarChart::Row& row : chart.rows) {
      ONEPASS_CHECK(row.bars.size() == chart.series.size() && !row.bars.empty(), "a bar a series");
      for (const auto& bar : row.bars) {
        if (!bar.has_value()) continue;
        ONEPASS_CHECK(bar->value >= 0 && std::isfinite(bar->value), "a bar's value");
        most = std::max(most, bar->value);
        if (bar->whisker.has_value()) most = std::max(most, bar->whisker->high);
      }
    }
    if (most < 1e-9) most = 1;
    step_ = StepFor(most);
    axis_end_ = step_ * std::ceil(most / step_ - 1e-9);
    row_height_ = kRowGap + kBarHeight * static_cast<double>(chart.series.size());
    bottom_ = kTop + row_height_ * static_cast<double>(chart.rows.size()) + kRowGap;
  }

  std::string Text() && {
    const bool legend = chart_.series.size() > 1;
    const double height = bottom_ + (legend ? 66 : 44);
    Add("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
        "width=\"{0:.0f}\" height=\"{1:.0f}\" role=\"img\" font-family=\"sans-serif\" "
        "font-size=\"12\" fill=\"{2}\">",
        kLeft + kWidth + kRight, height, kInk);
    Add("<title>{}</title>", EscapeMarkup(chart_.title));
    Add("<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>");
    Add("<text x=\"8\" y=\"22\" font-size=\"14\" font-weight=\"600\">{}</text>",
        EscapeMarkup(chart_.title));
    AddAxis();
    for (size_t row = 0; row < chart_.rows.size(); ++row) AddRow(row);
    if (legend) AddLegend();
    Add("</svg>");
    return std::move(out_);
  }

 private:
  template <class... Values>
  void Add(fmt::format_string<Values...> format, Values&&... values) {
    out_ += fmt::format(format, std::forward<Values>(values)...);
    out_ += '\n';
  }

  double X(double value) const { return kLeft + kWidth * std::max(0.0, value) / axis_end_; }

  void AddAxis() {
    const int ticks = static_cast<int>(std::lround(axis_end_ / step_));
    for (int tick = 0; tick <= ticks; ++tick) {
      const double value = step_ * tick;
      Add("<line x1=\"{0:.2f}\" y1=\"{1:.0f}\" x2=\"{0:.2f}\" y2=\"{2:.2f}\" stroke=\"{3}\"/>",
          X(value), kTop, bottom_, tick == 0 ? kSoft : "#d8dee4");
      Add("<text x=\"{:.2f}\" y=\"{:.2f}\" font-size=\"11\" fill=\"{}\" "
          "text-anchor=\"middle\">{}</text>",
          X(value), bottom_ + 15, kSoft, TickText(value, step_));
    }
    Add("<text x=\"{:.2f}\" y=\"{:.2f}\" fill=\"{}\" text-anchor=\"middle\">{}</text>",
        kLeft + kWidth / 2, bottom_ + 34, kSoft, EscapeMarkup(chart_.axis));
  }

  void AddRow(size_t index) {
    const BarChart::Row& row = chart_.rows[index];
    const double top = kTop + kRowGap + row_height_ * static_cast<double>(index);
    Add("<g class=\"row\"><title>{}</title>", EscapeMarkup(row.label));
    Add("<text x=\"{:.0f}\" y=\"{:.2f}\" text-anchor=\"end\">{}</text>", kLeft - 8,
        top + (row_height_ - kRowGap) / 2 + 4, EscapeMarkup(Shortened(row.label)));
    for (size_t series = 0; series < row.bars.size(); ++series) {
      if (!row.bars[series].has_value()) continue;
      AddBar(*row.bars[series], series, top + kBarHeight * static_cast<double>(series));
    }
    Add("</g>");
  }

  void AddBar(const BarChart::Bar& bar, size_t series, double y) {
    const double middle = y + kBarHeight / 2;
    double end = X(bar.value);
    Add("<rect class=\"bar\" x=\"{:.0f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.0f}\" "
        "fill=\"{}\"/>",
        kLeft, y + 1, end - kLeft, kBarHeight - 2, kColours[series % kColours.size()]);
    if (bar.whisker.has_value()) {
      const double low = X(bar.whisker->low);
      const double high = X(bar.whisker->high);
      Add("<path class=\"whisker\" d=\"M{0:.2f} {2:.2f}H{1:.2f}M{0:.2f} {3:.2f}V{4:.2f}M{1:.2f} "
          "{3:.2f}V{4:.2f}\" stroke=\"{5}\" stroke-width=\"1.5\" fill=\"none\"/>",
          low, high, middle, middle - 4, middle + 4, kInk);
      end = std::max(end, high);
    }
    Add("<text x=\"{:.2f}\" y=\"{:.2f}\" font-size=\"11\">{}</text>", end + 6, middle + 4,
        EscapeMarkup(bar.text));
  }

  void AddLegend() {
    double x = kLeft;
    for (size_t i = 0; i < chart_.series.size(); ++i) {
      Add("<rect x=\"{:.2f}\" y=\"{:.2f}\" width=\"12\" height=\"12\" fill=\"{}\"/>", x,
          bottom_ + 44, kColours[i % kColours.size()]);
      const std::string name = Shortened(chart_.series[i]);
      Add("<text x=\"{:.2f}\" y=\"{:.2f}\">{}</text>", x + 17, bottom_ + 54, EscapeMarkup(name));
      x += 34 + 7 * static_cast<double>(name.size());
    }
  }

  const BarChart& chart_;
  double step_ = 1;
  double axis_end_ = 1;
  double row_height_ = 0;
  double bottom_ = 0;
  std::string out_;
};

}  // namespace

std::string BarChartSvg(const BarChart& chart) {
  ONEPASS_CHECK(!chart.series.empty(), "at least one series");
  return Picture(chart).Text();
}

}  // namespace onepass
