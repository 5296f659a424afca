// One request that runs chains: from its parsed form to its answer, whole or as a stream.
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
#include "serve/worker_thread.h"

namespace onepass {

// What a generation needs of the server.
struct GenerationContext {
  const Tokenizer* tokenizer = nullptr;
  EngineThread* engine = nullptr;
  std::function<void(std::function<void()>)> post;  // to the HTTP server's thread
  WorkerThread* reader = nullptr;                   // writes large answers too
  std::chrono::steady_clock::time_point begin;      // when the request came
  std::chrono::milliseconds max_time{0};            // for it, from then on
  std::function<int64_t()> retry_after_seconds;
  // Called once, when it has ended.
  std::function<void(const RequestFacts&, int http_status)> on_end;
};

// Destroyed on the HTTP server's thread; the engine's thread only posts events to it.
class Generation {
 public:
  virtual ~Generation() = default;
  // Makes the request's runs, which takes as long as its texts are. First, and on any thread, one
  // at a time. Does not throw.
  virtual void Prepare() = 0;
  // Submits them. On the HTTP server's thread. The exchange is answered in any case.
  virtual void Begin() = 0;
};

// `id` is of the request.
std::shared_ptr<Generation> NewGeneration(const GenerationContext& context,
                                          const ServedModel& model, GenerationRequest request,
                                          bool chat, const std::string& id,
                                          std::shared_ptr<HttpExchange> exchange);
std::shared_ptr<Generation> NewChainRun(const GenerationContext& context, const ServedModel& model,
                                        ChainRunRequest request, const std::string& id,
                                        std::shared_ptr<HttpExchange> exchange);

// An error as a response. 429 and 503 say when to come again.
HttpResponse ErrorResponse(const ApiError& error, int64_t retry_after_seconds = 5);

}  // namespace onepass
