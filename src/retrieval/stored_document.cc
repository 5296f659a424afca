#include "retrieval/stored_document.h"

#include <cstdint>

namespace onepass {
namespace {

constexpr size_t kLengthBytes = 4;

void AppendLength(size_t length, std::string* out) {
  for (size_t i = 0; i < kLengthBytes; ++i) out->push_back(static_cast<char>(length >> (8 * i)));
}

size_t LengthAt(std::string_view bytes, size_t at) {
  size_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) {
    length |= static_cast<size_t>(static_cast<uint8_t>(bytes[at + i])) << (8 * i);
  }
  return length;
}

}  // namespace

std::string PackDocument(const StoredDocument& document) {
  std::string bytes;
  bytes.reserve(2 * kLengthBytes + document.id.size() + document.title.size() +
                document.text.size());
  AppendLength(document.id.size(), &bytes);
  AppendLength(document.title.size(), &bytes);
  bytes.append(document.id).append(document.title).append(document.text);
  return bytes;
}

std::optional<StoredDocument> UnpackDocument(std::string_view bytes) {
  if (bytes.size() < 2 * kLengthBytes) return std::nullopt;
  const size_t id = LengthAt(bytes, 0);
  const size_t title = LengthAt(bytes, kLengthBytes);
  bytes.remove_prefix(2 * kLengthBytes);
  if (id > bytes.size() || title > bytes.size() - id) return std::nullopt;
  return StoredDocument{.id = bytes.substr(0, id),
                        .title = bytes.substr(id, title),
                        .text = bytes.substr(id + title)};
}

}  // namespace onepass
