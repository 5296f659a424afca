// An index's manifest of hostile origin: facts that are written and read back the same, or a
// one-line fault. The same bytes serve as a stored document.
#include <cstdint>
#include <string>
#include <string_view>

#include "core/utf8.h"
#include "retrieval/manifest.h"
#include "retrieval/stored_document.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const onepass::Result<onepass::IndexManifest> manifest = onepass::ParseManifest(text);
  if (manifest.ok()) {
    ONEPASS_CHECK(onepass::IsManifest(text), "what is read is a manifest");
    const std::string json = onepass::ToJson(*manifest);
    const onepass::Result<onepass::IndexManifest> again = onepass::ParseManifest(json);
    ONEPASS_CHECK(again.ok(), again.status().message());
    ONEPASS_CHECK(onepass::ToJson(*again) == json, "the same facts");
  } else {
    const std::string& message = manifest.status().message();
    ONEPASS_CHECK(message.find('\n') == std::string::npos, "a message is one line");
    ONEPASS_CHECK(onepass::IsUtf8(message), "a message is UTF-8");
  }
  if (const auto document = onepass::UnpackDocument(text)) {
    ONEPASS_CHECK(onepass::PackDocument(*document) == text, "the same bytes");
  }
  return 0;
}
