// Records of hostile origin, as JSONL or a JSON array: each is a record or a one-line fault, and
// the file ends. Their values then serve as templates.
#include <cstdint>
#include <string>
#include <string_view>

#include "chain/record.h"
#include "chain/template.h"
#include "core/quote.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  onepass::RecordReader reader(text, "fuzz.jsonl", {.max_record_bytes = 1 << 16, .max_depth = 8});
  for (size_t i = 0;; ++i) {
    ONEPASS_CHECK(i <= size + 1, "more records than bytes");
    const onepass::Result<std::optional<onepass::Record>> record = reader.Next();
    if (!record.ok()) {
      const std::string& message = record.status().message();
      ONEPASS_CHECK(message.find('\n') == std::string::npos, "a message is one line");
      ONEPASS_CHECK(onepass::IsUtf8(message), "a message is UTF-8");
      continue;
    }
    if (!record->has_value()) return 0;
    const std::string missing = (*record)->Text("no such field").status().message();
    ONEPASS_CHECK(missing.find('\n') == std::string::npos, "a message is one line");
    for (const onepass::RecordField& field : (*record)->fields) {
      ONEPASS_CHECK(onepass::IsUtf8(field.name) && onepass::IsUtf8(field.text), "UTF-8 alone");
      const onepass::Result<std::string_view> value = (*record)->Text(field.name);
      ONEPASS_CHECK(value.ok() == (field.kind == onepass::RecordField::Kind::kText), "text or not");
      const auto pieces = onepass::ParseTemplate(field.text);
      if (!pieces.ok()) ONEPASS_CHECK(!pieces.status().message().empty(), "a fault has a message");
    }
  }
}
