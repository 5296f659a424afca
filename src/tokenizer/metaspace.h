// The options of "Metaspace", which is a pre-tokenizer and, with the same fields, a decoder.
#pragma once

#include <string>

#include "core/status.h"
#include "tokenizer/json_node.h"

namespace onepass {

struct MetaspaceOptions {
  enum class Prepend { kAlways, kFirst, kNever };
  std::string replacement;  // one character
  Prepend prepend = Prepend::kAlways;
  bool split = true;
};

// Understands the older add_prefix_space where prepend_scheme is absent.
Result<MetaspaceOptions> ParseMetaspace(const JsonNode& node);

}  // namespace onepass
