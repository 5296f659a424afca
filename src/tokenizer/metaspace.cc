#include "tokenizer/metaspace.h"

#include "tokenizer/unicode.h"

namespace onepass {

Result<MetaspaceOptions> ParseMetaspace(const JsonNode& node) {
  MetaspaceOptions options;
  ASSIGN_OR_RETURN(options.replacement, node.Member("replacement").StringOr("\xE2\x96\x81"));
  if (options.replacement.empty() ||
      FirstCharLength(options.replacement) != options.replacement.size()) {
    return node.Member("replacement").Want("one character");
  }
  ASSIGN_OR_RETURN(const bool add_prefix, node.Member("add_prefix_space").BoolOr(true));
  const JsonNode scheme = node.Member("prepend_scheme");
  if (scheme.present()) {
    ASSIGN_OR_RETURN(const std::string name, scheme.String());
    if (name == "always") {
      options.prepend = MetaspaceOptions::Prepend::kAlways;
    } else if (name == "first") {
      options.prepend = MetaspaceOptions::Prepend::kFirst;
    } else if (name == "never") {
      options.prepend = MetaspaceOptions::Prepend::kNever;
    } else {
      return scheme.Want("one of always, first, never");
    }
    if (!add_prefix && options.prepend != MetaspaceOptions::Prepend::kNever) {
      return scheme.Want("\"never\", as add_prefix_space is false");
    }
  } else if (!add_prefix) {
    options.prepend = MetaspaceOptions::Prepend::kNever;
  }
  ASSIGN_OR_RETURN(options.split, node.Member("split").BoolOr(true));
  return options;
}

}  // namespace onepass
