#include "model/gguf_keys.h"

#include <array>

namespace onepass {

void GgufKeys::Fail(std::string_view key, const std::string& wanted) {
  Keep(file_.Want(Name(key), wanted));
}

void GgufKeys::FailSupport(std::string_view key, const std::string& wanted) {
  Keep(file_.WantSupported(Name(key), wanted));
}

int64_t GgufKeys::Int(std::string_view key, int64_t low, int64_t high,
                      std::optional<int64_t> if_absent) {
  const auto number = file_.Integer(Name(key), low, high);
  if (!number.ok()) return Keep(number.status()), low;
  if (*number) return **number;
  if (!if_absent) {
    Fail(key, "a whole number from " + std::to_string(low) + " to " + std::to_string(high));
  }
  return if_absent.value_or(low);
}

int64_t GgufKeys::IntOfAllLayers(std::string_view key, int64_t high,
                                 std::optional<int64_t> if_absent) {
  constexpr std::array kIntegers = {GgufKind::kU32, GgufKind::kI32, GgufKind::kU64,
                                    GgufKind::kI64, GgufKind::kU16, GgufKind::kI16};
  const auto it = file_.metadata().find(Name(key));
  if (it == file_.metadata().end() || it->second.kind != GgufKind::kArray) {
    return Int(key, 1, high, if_absent);
  }
  const auto list = file_.Array(Name(key), kIntegers);
  if (!list.ok()) return Keep(list.status()), 1;
  const GgufArray& array = **list;
  const int64_t first = array.count > 0 ? array.Integer(0) : 0;
  for (int64_t i = 0; i < array.count; ++i) {
    if (array.Integer(i) != first) return FailSupport(key, "the same for every layer"), 1;
  }
  if (first < 1 || first > high) Fail(key, "numbers from 1 to " + std::to_string(high));
  return first;
}

double GgufKeys::Positive(std::string_view key, double high, std::optional<double> if_absent) {
  const auto number = file_.Number(Name(key));
  if (!number.ok()) return Keep(number.status()), 1.0;
  if (!*number && if_absent) return *if_absent;
  if (!*number || !(**number > 0 && **number <= high)) {
    Fail(key, "a number above 0, at most " + std::to_string(static_cast<int64_t>(high)));
    return 1.0;
  }
  return **number;
}

std::string GgufKeys::Text(std::string_view key, const std::string& if_absent) {
  const auto text = file_.Text(Name(key));
  if (!text.ok()) return Keep(text.status()), if_absent;
  return *text ? std::string(**text) : if_absent;
}

}  // namespace onepass
