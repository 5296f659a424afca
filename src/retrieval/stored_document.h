// A document as it lies in the index's data file: two lengths of 4 bytes, little-endian, of the id
// and the title; the id; the title; the text.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace onepass {

struct StoredDocument {
  std::string_view id, title, text;  // into the bytes it was read from
};

// REQUIRES: id and title shorter than 4 GiB.
std::string PackDocument(const StoredDocument& document);

// None where the lengths point beyond the end.
std::optional<StoredDocument> UnpackDocument(std::string_view bytes);

}  // namespace onepass
