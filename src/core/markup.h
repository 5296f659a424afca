// Text from outside within XML and HTML. Pure; thread-safe.
#pragma once

#include <string>
#include <string_view>

namespace onepass {

// `text` as the content of an element or of an attribute between double quotes: nothing of it is
// markup, and what XML cannot hold (control characters, bytes that are not UTF-8) is a question
// mark.
std::string EscapeMarkup(std::string_view text);

}  // namespace onepass
