#include "bench/measure.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/check.h"

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

Spread SpreadOf(std::vector<double> values) {
  ONEPASS_CHECK(!values.empty(), "the spread of nothing");
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {.median = median, .low = values.front(), .high = values.back()};
}

}  // namespace onepass
