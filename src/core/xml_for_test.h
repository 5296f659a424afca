// For tests of what is written as XML: a small, strict parser.
#pragma once

#include <algorithm>
#include <cctype>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/utf8.h"

namespace onepass {

struct XmlElement {
  std::string name;
  std::map<std::string, std::string> attributes;

  double Number(const std::string& attribute) const { return std::stod(attributes.at(attribute)); }
};

inline bool IsXmlName(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == ':';
  });
}

// No '<' and '&' but as the five entities.
inline bool IsXmlEscaped(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '<') return false;
    if (text[i] != '&') continue;
    const std::string_view rest = text.substr(i);
    if (!rest.starts_with("&lt;") && !rest.starts_with("&gt;") && !rest.starts_with("&amp;") &&
        !rest.starts_with("&quot;") && !rest.starts_with("&apos;")) {
      return false;
    }
  }
  return true;
}

// The elements of a well-formed XML document (no declarations, comments, CDATA), in the order in
// which they open; none: it is not well-formed.
inline std::optional<std::vector<XmlElement>> ParseXml(std::string_view text) {
  if (!IsUtf8(text)) return std::nullopt;
  std::vector<XmlElement> elements;
  std::vector<std::string> open;
  while (true) {
    const size_t tag = text.find('<');
    if (!IsXmlEscaped(text.substr(0, tag))) return std::nullopt;
    if (tag == std::string_view::npos) break;
    if (open.empty() && !elements.empty()) return std::nullopt;  // two roots
    text.remove_prefix(tag + 1);
    const size_t end = text.find('>');
    if (end == std::string_view::npos) return std::nullopt;
    std::string_view inside = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (inside.starts_with('/')) {
      if (open.empty() || open.back() != inside.substr(1)) return std::nullopt;
      open.pop_back();
      continue;
    }
    const bool is_empty = inside.ends_with('/');
    if (is_empty) inside.remove_suffix(1);
    XmlElement element;
    element.name = inside.substr(0, inside.find(' '));
    if (!IsXmlName(element.name)) return std::nullopt;
    inside.remove_prefix(element.name.size());
    while (!inside.empty()) {
      const size_t equals = inside.find("=\"");
      if (inside[0] != ' ' || equals == std::string_view::npos) return std::nullopt;
      const std::string name(inside.substr(1, equals - 1));
      inside.remove_prefix(equals + 2);
      const size_t quote = inside.find('"');
      if (!IsXmlName(name) || quote == std::string_view::npos) return std::nullopt;
      if (!IsXmlEscaped(inside.substr(0, quote))) return std::nullopt;
      if (!element.attributes.emplace(name, inside.substr(0, quote)).second) return std::nullopt;
      inside.remove_prefix(quote + 1);
    }
    if (!is_empty) open.push_back(element.name);
    elements.push_back(std::move(element));
  }
  if (!open.empty() || elements.empty()) return std::nullopt;
  return elements;
}

}  // namespace onepass
