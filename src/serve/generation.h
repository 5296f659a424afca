// One request that runs chains: from its parsed form to its answer, whole or as a stream. Lives on
// the HTTP server's thread; the engine's thread only posts events to it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "serve/catalog.h"
#include "serve/engine_thread.h"
#include "serve/http_server.h"
#include "serve/metrics.h"
#include "serve/wire.h"

namespace onepass {

// What a generation needs of the server.
struct GenerationContext {
  const Tokenizer* tokenizer = nullptr;
  EngineThread* engine = nullptr;
  std::function<void(std::function<void()>)> post;  // to the HTTP server's thread
  std::chrono::milliseconds max_time{0};            // for a request
  std::function<int64_t()> retry_after_seconds;
  // Called once, when it has ended.
  std::function<void(const RequestFacts&, int http_status)> on_end;
};

// Starts it. `id` is of the request. The exchange is answered in any case.
void StartGeneration(const GenerationContext& context, const ServedModel& model,
                     GenerationRequest request, bool chat, const std::string& id,
                     const std::shared_ptr<HttpExchange>& exchange);
void StartChainRun(const GenerationContext& context, const ServedModel& model,
                   ChainRunRequest request, const std::string& id,
                   const std::shared_ptr<HttpExchange>& exchange);

// An error as a response.
HttpResponse ErrorResponse(const ApiError& error);

}  // namespace onepass
