// The web page at "/": plain HTML, its script and style within (page.html).
#pragma once

#include <string_view>

namespace onepass {

extern const std::string_view kPage;

}  // namespace onepass
