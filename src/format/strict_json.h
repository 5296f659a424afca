// JSON from outside, parsed strictly: one whole value, valid UTF-8, no key twice in an object,
// bounded nesting and size. Not a schema: what the values must be is the caller's matter.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>

#include "core/status.h"

namespace onepass {

struct JsonLimits {
  int max_depth = 32;              // nested lists and objects
  int64_t max_values = 4'000'000;  // of any kind, in all
};

// kInvalidArgument says what and at which byte; `name` (usually a path) stands at its end.
Result<nlohmann::json> ParseStrictJson(std::string_view text, const std::string& name,
                                       const JsonLimits& limits = {});

// The text of an object's value as it is spelled; empty: there is no such key. REQUIRES: `object` was
// parsed without a fault, and is an object.
std::string_view SpelledValue(std::string_view object, std::string_view key);

// A value as a message's "found": a scalar as it is written (strings cut), "a list", "an object".
std::string DescribeJson(const nlohmann::json& value);

}  // namespace onepass
