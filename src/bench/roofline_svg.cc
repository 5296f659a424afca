// The picture of roofline.h. Text of the measurement goes in through EscapeMarkup() only.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "bench/roofline.h"
#include "core/check.h"
#include "core/markup.h"

namespace onepass {
namespace {

// The plot's rectangle, and the list right of it, in the picture's units.
constexpr double kLeft = 64;
constexpr double kTop = 44;
constexpr double kWidth = 560;
constexpr double kHeight = 400;
constexpr double kListLeft = kLeft + kWidth + 28;
constexpr double kPictureWidth = kListLeft + 330;
constexpr double kRowHeight = 22;

// What one axis shows, as powers of ten.
struct Axis {
  double low = 0;
  double high = 1;

  // All values, with some room at both ends.
  static Axis Around(const std::vector<double>& values) {
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    return {.low = std::log10(*least / 2.5), .high = std::log10(*most * 2.5)};
  }
  // 0 to 1.
  double Of(double value) const { return (std::log10(value) - low) / (high - low); }
  int first_decade() const { return static_cast<int>(std::ceil(low)); }
  int last_decade() const { return static_cast<int>(std::floor(high)); }
};

// "0.1", "1", "10000".
std::string PowerText(int exponent) {
  return fmt::format("{:.{}f}", std::pow(10.0, exponent), std::max(0, -exponent));
}

// Two digits behind the point below 10, one below 100, none from there on.
std::string Short(double value) {
  if (value >= 100) return fmt::format("{:.0f}", value);
  return fmt::format("{:.{}f}", value, value >= 10 ? 1 : 2);
}

class Picture {
 public:
  explicit Picture(const Roofline& roofline) : roofline_(roofline) {
    const Peaks& peaks = roofline.peaks;
    std::vector<double> x = {peaks.gflops / peaks.gb_per_s, peaks.int8_gops / peaks.gb_per_s};
    std::vector<double> y = {peaks.gflops, peaks.int8_gops};
    for (const RooflinePoint& point : roofline.points) {
      ONEPASS_CHECK(point.arithmetic_intensity > 0 && point.gops > 0,
                    "a point on a logarithmic axis");
      x.push_back(point.arithmetic_intensity);
      y.push_back(point.gops);
      const auto known = std::find(types_.begin(), types_.end(), point.weights);
      if (known == types_.end()) types_.push_back(point.weights);
    }
    x_ = Axis::Around(x);
    y_ = Axis::Around(y);
  }

  std::string Text() && {
    const double rows = static_cast<double>(roofline_.points.size()) + 5;
    const double height = std::max(kTop + kHeight + 56, kTop + rows * kRowHeight + 20);
    Add("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
        "width=\"{0:.0f}\" height=\"{1:.0f}\" role=\"img\">",
        kPictureWidth, height);
    Add("<title>{}</title>", EscapeMarkup(roofline_.title));
    AddStyle();
    Add("<rect class=\"page\" width=\"{:.0f}\" height=\"{:.0f}\"/>", kPictureWidth, height);
    Add("<text class=\"head\" x=\"{:.0f}\" y=\"26\">{}</text>", kLeft,
        EscapeMarkup(roofline_.title));
    AddAxes();
    AddRoofs();
    AddPoints();
    AddList();
    Add("</svg>");
    return std::move(out_);
  }

 private:
  template <class... Values>
  void Add(fmt::format_string<Values...> format, Values&&... values) {
    out_ += fmt::format(format, std::forward<Values>(values)...);
    out_ += '\n';
  }

  double X(double arithmetic_intensity) const {
    return kLeft + kWidth * x_.Of(arithmetic_intensity);
  }
  double Y(double gops) const { return kTop + kHeight * (1 - y_.Of(gops)); }

  // A background of its own keeps the text readable on any page.
  void AddStyle() {
    out_ +=
        "<style>\n"
        "text{font:13px system-ui,sans-serif;fill:#1f2328}.head{font-size:16px;font-weight:600}"
        ".small{font-size:12px}.soft{fill:#59636e}.middle{text-anchor:middle}"
        ".end{text-anchor:end}.page{fill:#ffffff}.frame{fill:none;stroke:#59636e}"
        ".grid{stroke:#d8dee4}.roof{stroke-width:2;stroke:#59636e;fill:none}\n"
        ".mark{stroke:#ffffff;stroke-width:1.5}.on{fill:#ffffff;font-size:11px;font-weight:600}"
        ".t0{fill:#0969da}.t1{fill:#bc4c00}.t2{fill:#1a7f37}.t3{fill:#8250df}\n"
        "@media (prefers-color-scheme:dark){text{fill:#e6edf3}.page{fill:#0d1117}"
        ".soft{fill:#9198a1}.frame,.roof{stroke:#9198a1}.grid{stroke:#2a313c}"
        ".mark{stroke:#0d1117}.on{fill:#0d1117}"
        ".t0{fill:#6cb6ff}.t1{fill:#ffa657}.t2{fill:#57d364}.t3{fill:#d2a8ff}}\n"
        "</style>\n";
  }

  void AddAxes() {
    for (int decade = x_.first_decade(); decade <= x_.last_decade(); ++decade) {
      const double x = X(std::pow(10.0, decade));
      Add("<line class=\"grid\" x1=\"{0:.2f}\" y1=\"{1:.0f}\" x2=\"{0:.2f}\" y2=\"{2:.0f}\"/>", x,
          kTop, kTop + kHeight);
      Add("<text class=\"small soft middle\" x=\"{:.2f}\" y=\"{:.0f}\">{}</text>", x,
          kTop + kHeight + 18, PowerText(decade));
    }
    for (int decade = y_.first_decade(); decade <= y_.last_decade(); ++decade) {
      const double y = Y(std::pow(10.0, decade));
      Add("<line class=\"grid\" x1=\"{1:.0f}\" y1=\"{0:.2f}\" x2=\"{2:.0f}\" y2=\"{0:.2f}\"/>", y,
          kLeft, kLeft + kWidth);
      Add("<text class=\"small soft end\" x=\"{:.0f}\" y=\"{:.2f}\">{}</text>", kLeft - 6, y + 4,
          PowerText(decade));
    }
    Add("<rect class=\"frame\" x=\"{:.0f}\" y=\"{:.0f}\" width=\"{:.0f}\" height=\"{:.0f}\"/>",
        kLeft, kTop, kWidth, kHeight);
    Add("<text class=\"middle\" x=\"{:.0f}\" y=\"{:.0f}\">arithmetic intensity: "
        "operations a byte of memory (op/B)</text>",
        kLeft + kWidth / 2, kTop + kHeight + 40);
    const double middle = kTop + kHeight / 2;
    Add("<text class=\"middle\" x=\"16\" y=\"{0:.0f}\" transform=\"rotate(-90 16 {0:.0f})\">"
        "operations a second (Gop/s)</text>",
        middle);
  }

  // From where memory gives enough bytes for `peak` to the right edge.
  void AddFlatRoof(const char* id, double peak, const std::string& label) {
    const double from = X(peak / roofline_.peaks.gb_per_s);
    const double y = Y(peak);
    Add("<line id=\"{}\" class=\"roof\" x1=\"{:.2f}\" y1=\"{:.2f}\" x2=\"{:.0f}\" y2=\"{:.2f}\"/>",
        id, from, y, kLeft + kWidth, y);
    Add("<text class=\"small\" x=\"{:.2f}\" y=\"{:.2f}\">{}</text>",
        std::min(from + 22, kLeft + kWidth - 112), y - 6, label);
  }

  void AddRoofs() {
    const Peaks& peaks = roofline_.peaks;
    AddFlatRoof("roof-f32", peaks.gflops, "f32 " + Short(peaks.gflops) + " Gop/s");
    AddFlatRoof("roof-int8", peaks.int8_gops, "int8 " + Short(peaks.int8_gops) + " Gop/s");
    // Memory's: a straight line on these axes, up to the higher of the two, from where it enters.
    const double most = std::max(peaks.gflops, peaks.int8_gops);
    const double least = std::max(std::pow(10.0, x_.low), std::pow(10.0, y_.low) / peaks.gb_per_s);
    const double from_x = X(least);
    const double from_y = Y(least * peaks.gb_per_s);
    const double to_x = X(most / peaks.gb_per_s);
    const double to_y = Y(most);
    Add("<line id=\"roof-memory\" class=\"roof\" x1=\"{:.2f}\" y1=\"{:.2f}\" x2=\"{:.2f}\" "
        "y2=\"{:.2f}\"/>",
        from_x, from_y, to_x, to_y);
    const double angle = std::atan2(to_y - from_y, to_x - from_x) * 180 / 3.14159265358979;
    const double x = (from_x + to_x) / 2;
    const double y = (from_y + to_y) / 2;
    Add("<text class=\"small middle\" x=\"{0:.2f}\" y=\"{1:.2f}\" dy=\"-7\" "
        "transform=\"rotate({2:.2f} {0:.2f} {1:.2f})\">memory {3} GB/s</text>",
        x, y, angle, Short(peaks.gb_per_s));
  }

  size_t ColourOf(const RooflinePoint& point) const {
    const auto known = std::find(types_.begin(), types_.end(), point.weights);
    return static_cast<size_t>(known - types_.begin()) % 4;
  }

  // A circle is a prefill, a square a decode; `number` is the one in the list.
  void AddMark(const RooflinePoint& point, size_t number, double x, double y) {
    if (point.is_prefill) {
      Add("<circle class=\"mark t{}\" cx=\"{:.2f}\" cy=\"{:.2f}\" r=\"9\"/>", ColourOf(point), x,
          y);
    } else {
      Add("<rect class=\"mark t{}\" x=\"{:.2f}\" y=\"{:.2f}\" width=\"17\" height=\"17\"/>",
          ColourOf(point), x - 8.5, y - 8.5);
    }
    Add("<text class=\"on middle\" x=\"{:.2f}\" y=\"{:.2f}\">{}</text>", x, y + 4, number);
  }

  std::string Line(const RooflinePoint& point) const {
    return EscapeMarkup(point.weights + ", " + point.name + ": " + point.value) +
           fmt::format(", {:.0f}%", 100 * point.share);
  }

  void AddPoints() {
    for (size_t i = 0; i < roofline_.points.size(); ++i) {
      const RooflinePoint& point = roofline_.points[i];
      Add("<g class=\"point\"><title>{} of its limit; {} Gop/s at {} op/B</title>", Line(point),
          Short(point.gops), Short(point.arithmetic_intensity));
      AddMark(point, i + 1, X(point.arithmetic_intensity), Y(point.gops));
      Add("</g>");
    }
  }

  void AddList() {
    double y = kTop + 14;
    Add("<text class=\"soft small\" x=\"{:.0f}\" y=\"{:.0f}\">weights, work: speed, share of its "
        "limit</text>",
        kListLeft - 9, y);
    for (size_t i = 0; i < roofline_.points.size(); ++i) {
      y += kRowHeight;
      AddMark(roofline_.points[i], i + 1, kListLeft, y - 4);
      Add("<text x=\"{:.0f}\" y=\"{:.0f}\">{}</text>", kListLeft + 16, y,
          Line(roofline_.points[i]));
    }
    const char* const notes[] = {"circles: prefill, squares: decode",
                                 "share: of computing's limit or memory's, the nearer",
                                 "bytes: weights and visible KV, once"};
    y += kRowHeight / 2;
    for (const char* note : notes) {
      y += 18;
      Add("<text class=\"soft small\" x=\"{:.0f}\" y=\"{:.0f}\">{}</text>", kListLeft - 9, y, note);
    }
  }

  const Roofline& roofline_;
  std::vector<std::string> types_;  // of weights, in the order of their first points
  Axis x_;
  Axis y_;
  std::string out_;
};

}  // namespace

std::string RooflineSvg(const Roofline& roofline) {
  const Peaks& peaks = roofline.peaks;
  ONEPASS_CHECK(peaks.gflops > 0 && peaks.int8_gops > 0 && peaks.gb_per_s > 0, "peaks");
  return Picture(roofline).Text();
}

}  // namespace onepass
