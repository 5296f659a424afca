// Chain YAML of hostile origin: it parses to a spec whose plan is sound, or gives a one-line fault.
#include <cstdint>
#include <string>
#include <string_view>

#include "chain/explain.h"
#include "chain/plan.h"
#include "chain/spec.h"

namespace {

void CheckMessage(const onepass::Status& status) {
  ONEPASS_CHECK(!status.message().empty(), "a fault without a message");
  ONEPASS_CHECK(status.message().find('\n') == std::string::npos, "a message is one line");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const onepass::Result<onepass::ChainSpec> spec = onepass::ParseChainSpec(text, "fuzz.yaml");
  if (!spec.ok()) {
    CheckMessage(spec.status());
    return 0;
  }
  const std::vector<int64_t> lengths(spec->stages.size(), 3);
  const onepass::Result<onepass::Plan> plan = onepass::CompilePlan(*spec, lengths);
  if (!plan.ok()) {
    CheckMessage(plan.status());
    return 0;
  }
  for (size_t id = 0; id < plan->segments.size(); ++id) {
    const onepass::PlannedSegment& segment = plan->segments[id];
    ONEPASS_CHECK(segment.after < static_cast<int>(id), "it follows what is written later");
    for (const int seen : segment.view) {
      ONEPASS_CHECK(seen < static_cast<int>(id), "it sees what is written later");
    }
  }
  onepass::ExplainPlan(*spec, *plan, {.prompt_lengths = lengths});
  onepass::ExplainPlanJson(*spec, *plan, {.prompt_lengths = lengths});
  return 0;
}
