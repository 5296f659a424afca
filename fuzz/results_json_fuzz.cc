// results.json of hostile origin: it is read as it would be written, and its report is harmless, or
// it gives a one-line fault.
#include <cstdint>
#include <string>
#include <string_view>

#include "core/utf8.h"
#include "eval/report.h"
#include "eval/results.h"

namespace {

// A page has as many elements of each kind as the reports write: none comes from the data.
void CheckPage(const std::string& html) {
  for (const char* element : {"<script", "<img", "<a ", "<iframe", "<object", "<link"}) {
    ONEPASS_CHECK(html.find(element) == std::string::npos, "an element that reports do not have");
  }
  ONEPASS_CHECK(onepass::IsUtf8(html), "a page is UTF-8");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const onepass::Result<onepass::TaskResults> results = onepass::ParseResults(text, "fuzz.json");
  if (!results.ok()) {
    ONEPASS_CHECK(!results.status().message().empty(), "a fault without a message");
    ONEPASS_CHECK(results.status().message().find('\n') == std::string::npos,
                  "a message is one line");
    return 0;
  }
  const onepass::Result<onepass::TaskResults> again =
      onepass::ParseResults(onepass::ResultsToJson(*results), "again.json");
  ONEPASS_CHECK(again.ok(), "what was written can be read");
  ONEPASS_CHECK(*again == *results, "and is the same");
  const onepass::Report report{.title = results->task,
                               .sections = {SectionOf(*results), SectionOf(*again)}};
  CheckPage(onepass::ReportHtml(report));
  const std::string markdown = onepass::ReportMarkdown(report);
  ONEPASS_CHECK(markdown.find('<') == std::string::npos, "Markdown without HTML");
  onepass::ResultsToTable(*results);
  return 0;
}
