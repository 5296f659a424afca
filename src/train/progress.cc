#include "train/progress.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace onepass {
namespace {

template <class... Args>
std::string Format(const char* format, Args... args) {
  char text[256];
  std::snprintf(text, sizeof(text), format, args...);
  return text;
}

std::string Rate(const TrainProgress& progress) {
  return Format("%.0f tokens/s", progress.tokens_per_second);
}

}  // namespace

std::string FormatDuration(double seconds) {
  const int64_t whole = std::isfinite(seconds) ? std::max<int64_t>(std::llround(seconds), 0) : 0;
  const long long hours = whole / 3600;
  const int minutes = static_cast<int>(whole / 60 % 60);
  const int rest = static_cast<int>(whole % 60);
  return hours > 0 ? Format("%lld:%02d:%02d", hours, minutes, rest)
                   : Format("%d:%02d", minutes, rest);
}

std::string FormatProgressBar(const TrainProgress& progress, int columns) {
  const std::string left = Format("step %lld/%lld ", static_cast<long long>(progress.step),
                                  static_cast<long long>(progress.total_steps));
  const std::string right = Format(" loss %.4f  ", progress.loss) + Rate(progress) + "  " +
                            FormatDuration(progress.seconds_left) + " left";
  const int width = std::min(40, columns - static_cast<int>(left.size() + right.size()) - 2);
  if (width < 4) return (left + right).substr(0, std::max(columns, 0));
  const double done = static_cast<double>(progress.step) /
                      static_cast<double>(std::max<int64_t>(progress.total_steps, 1));
  const int filled = static_cast<int>(done * width);
  std::string bar(width, ' ');
  std::fill_n(bar.begin(), filled, '=');
  if (filled < width) bar[filled] = '>';
  return left + "[" + bar + "]" + right;
}

std::string FormatProgressLine(const TrainProgress& progress) {
  return Format("step %lld/%lld  epoch %.2f  loss %.4f  learning rate %.3g  ",
                static_cast<long long>(progress.step), static_cast<long long>(progress.total_steps),
                progress.epoch, progress.loss, progress.learning_rate) +
         Rate(progress) + "  " + FormatDuration(progress.seconds_left) + " left";
}

}  // namespace onepass
