// Bodies of requests of hostile origin: each parser gives a request within its limits, or an error
// that is one line of JSON.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/check.h"
#include "serve/wire.h"

namespace {

void CheckError(const onepass::ApiError& error) {
  ONEPASS_CHECK(error.http_status == 400, "a fault of the client's");
  ONEPASS_CHECK(error.message.find('\n') == std::string::npos, "a message is one line");
  const nlohmann::json body = nlohmann::json::parse(onepass::ErrorToJson(error));
  ONEPASS_CHECK(!body["error"]["message"].get<std::string>().empty(), "an error without a message");
}

void CheckSampling(const onepass::SamplingRequest& sampling) {
  std::vector<onepass::OutputOptions> outputs(2);
  ONEPASS_CHECK(sampling.ApplyTo(1, &outputs).ok(), "what was parsed can be applied");
  ONEPASS_CHECK(outputs[1].max_tokens >= 1 && outputs[1].logprobs <= 20, "limits");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const onepass::WireLimits limits;
  for (const bool chat : {false, true}) {
    const auto request = onepass::ParseGeneration(text, chat, limits);
    if (!request.value) {
      CheckError(request.error);
      continue;
    }
    CheckSampling(request.value->sampling);
    ONEPASS_CHECK(request.value->n >= 1 && request.value->n <= limits.max_choices, "n");
    ONEPASS_CHECK(std::ssize(request.value->prompts) <= limits.max_choices, "prompts");
    ONEPASS_CHECK(std::ssize(request.value->sampling.stop) <= limits.max_stops, "stop");
  }
  const auto run = onepass::ParseChainRun(text, limits);
  if (run.value) {
    CheckSampling(run.value->sampling);
  } else {
    CheckError(run.error);
  }
  if (const auto tokenize = onepass::ParseTokenize(text, limits); !tokenize.value) {
    CheckError(tokenize.error);
  }
  if (const auto tokens = onepass::ParseDetokenize(text, limits); !tokens.value) {
    CheckError(tokens.error);
  }
  return 0;
}
