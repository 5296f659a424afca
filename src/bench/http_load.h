// HTTP requests that begin at given times, whatever happened to those before: an open loop, as many
// clients of a server are one. Knows no API.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace onepass {

// "http://HOST:PORT" with an address for a host; no path.
struct HttpTarget {
  std::string host;
  uint16_t port = 80;

  static Result<HttpTarget> Parse(std::string_view url);
};

// One POST of JSON.
struct HttpCall {
  HttpTarget target;
  std::string path;
  std::string body;
  std::string key = {};  // Authorization: Bearer; empty: none
};

// Called on the caller's thread of RunLoad. Times are seconds since its begin.
struct LoadHooks {
  // The call number `part` of a request (0: its first); `answer` is the body of the one before. An
  // empty path: the request is done.
  std::function<HttpCall(size_t request, int part, const std::string& answer)> call;
  // Bytes of an answer's body, as they come.
  std::function<void(size_t request, int part, double now, std::string_view bytes)> on_bytes;
};

struct LoadedRequest {
  double begin = 0;  // when it was due
  double end = 0;
  int status = 0;  // of the last call; 0: no answer, or it broke off
};

// Runs a request for each of `begins` (ascending), all that are due at once. No request waits for
// another; one that takes longer than `timeout_seconds` is broken off.
std::vector<LoadedRequest> RunLoad(const std::vector<double>& begins, const LoadHooks& hooks,
                                   double timeout_seconds);

}  // namespace onepass
