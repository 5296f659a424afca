// Cutting the end of a text until what is made of it fits.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string_view>

#include "core/status.h"

namespace onepass {

// Asks `fits` of longer and longer prefixes of `text`, in whole characters, and returns the size of
// the last one that does; none if not even the empty one does. Every `true` is for a longer prefix
// than the one before. Found by bisection: where a longer text needs no fewer tokens it is the
// longest that fits; where one sometimes does, it fits, but a longer one may too.
// `guess`: the size near which the answer lies, so that far longer texts are not tried; 0: unknown.
// REQUIRES: text is well-formed UTF-8, and all of it does not fit.
Result<std::optional<size_t>> CutToFit(std::string_view text, size_t guess,
                                       const std::function<Result<bool>(std::string_view)>& fits);

}  // namespace onepass
