#include "bench/measure.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/check.h"
#include "core/quantile.h"

namespace onepass {

std::vector<int32_t> RandomTokens(int64_t count, int64_t vocab_size, Rng& rng) {
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(rng.Uniform(vocab_size));
  return tokens;
}

Status WantCount(const char* name, int64_t count) {
  if (count >= 1 && count <= 1'000'000) return Status::Ok();
  return InvalidArgument(fmt::format("bench: {}: want 1 to 1000000, found {}", name, count));
}

Status WantPositions(const ModelConfig& config, int64_t position_count) {
  if (position_count <= config.max_positions) return Status::Ok();
  return InvalidArgument(
      fmt::format("bench: want at most {} positions, found {} (context, text, prompts and steps)",
                  config.max_positions, position_count));
}

Status WantPages(const KvLayout& layout, int64_t page_count) {
  const int64_t memory = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
  const int64_t most =
      std::min<int64_t>(memory / 2 / layout.PageBytes(), std::numeric_limits<int32_t>::max());
  if (page_count <= most) return Status::Ok();
  const auto megabytes = [&](int64_t pages) {
    return 1e-6 * static_cast<double>(pages) * static_cast<double>(layout.PageBytes());
  };
  return InvalidArgument(fmt::format("bench: want at most {:.0f} MB of KV, found {:.0f}",
                                     megabytes(most), megabytes(page_count)));
}

Spread SpreadOf(std::vector<double> values) {
  ONEPASS_CHECK(!values.empty(), "the spread of nothing");
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {.median = median, .low = values.front(), .high = values.back()};
}

Summary SummaryOf(std::vector<double> values) {
  ONEPASS_CHECK(!values.empty(), "the summary of nothing");
  std::sort(values.begin(), values.end());
  const auto count = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {.mean = mean,
          .deviation = values.size() < 2 ? 0 : std::sqrt(squares / (count - 1)),
          .tenth = QuantileOf(values, 0.1),
          .median = QuantileOf(values, 0.5),
          .ninetieth = QuantileOf(values, 0.9)};
}

}  // namespace onepass
