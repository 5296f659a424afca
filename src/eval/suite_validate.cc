// What a suite must be, whoever made it.
#include <fmt/format.h>

#include <algorithm>

#include "core/quote.h"
#include "eval/accuracy.h"
#include "eval/suite.h"

namespace onepass {
namespace {

constexpr size_t kMaxSeeds = 64;

// A method's name becomes part of a file name.
bool IsPlainName(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  });
}

Status CheckMethod(const SuiteSpec& suite, const std::string& name) {
  const bool known = std::ranges::any_of(
      suite.methods, [&](const MethodSpec& method) { return method.method == name; });
  if (known) return Status::Ok();
  return InvalidArgument("want a method of this suite, found " + Quote(name));
}

}  // namespace

Status SuiteSpec::Validate() const {
  const std::string where = file.empty() ? "suite" : file;
  if (n < 0) return InvalidArgument(fmt::format("{}: n: want >= 0, found {}", where, n));
  if (seeds.empty() || seeds.size() > kMaxSeeds) {
    return InvalidArgument(
        fmt::format("{}: seeds: want 1 to {}, found {}", where, kMaxSeeds, seeds.size()));
  }
  for (size_t i = 0; i < seeds.size(); ++i) {
    if (std::find(seeds.begin(), seeds.begin() + static_cast<std::ptrdiff_t>(i), seeds[i]) !=
        seeds.begin() + static_cast<std::ptrdiff_t>(i)) {
      return InvalidArgument(fmt::format("{}: seeds: {} stands twice", where, seeds[i]));
    }
  }
  if (data.empty()) return InvalidArgument(where + ": data: want a file, found none");
  if (methods.empty() || methods.size() > kMaxSuiteMethods) {
    return InvalidArgument(fmt::format("{}: methods: want 1 to {}, found {}", where,
                                       kMaxSuiteMethods, methods.size()));
  }
  for (size_t i = 0; i < methods.size(); ++i) {
    const MethodSpec& method = methods[i];
    if (!IsPlainName(method.method)) {
      return InvalidArgument(
          fmt::format("{}: methods[{}].method: want letters, digits, - and _, found {}", where, i,
                      Quote(method.method)));
    }
    for (size_t j = 0; j < i; ++j) {
      if (methods[j].method == method.method) {
        return InvalidArgument(
            fmt::format("{}: methods[{}].method: \"{}\" stands twice", where, i, method.method));
      }
    }
  }
  if (batch < 1 || batch > kMaxSuiteBatch) {
    return InvalidArgument(
        fmt::format("{}: batch: want 1 to {}, found {}", where, kMaxSuiteBatch, batch));
  }
  RETURN_IF_ERROR(CheckChoices(choices).WithPrefix(where + ": choices"));
  if (!choices.empty() && metric != Metric::kAccuracy) {
    return InvalidArgument(fmt::format("{}: choices: want metric accuracy beside it, found {}",
                                       where, NameOf(metric)));
  }
  if (!reference.empty()) {
    RETURN_IF_ERROR(CheckMethod(*this, reference).WithPrefix(where + ": reference"));
  }
  for (size_t i = 0; i < paper.size(); ++i) {
    for (const auto& [method, values] : paper[i].values) {
      const std::string place = fmt::format("{}: paper[{}].values.{}", where, i, method);
      RETURN_IF_ERROR(CheckMethod(*this, method).WithPrefix(place));
      if (values.size() != paper[i].metrics.size() || values.empty()) {
        return InvalidArgument(
            fmt::format("{}: want a number for each of its metrics ({}), "
                        "found {}",
                        place, paper[i].metrics.size(), values.size()));
      }
    }
  }
  return Status::Ok();
}

}  // namespace onepass
