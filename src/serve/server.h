// The whole server: a base, a catalog, HTTP, a thread that reads requests, the engine's thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/status.h"
#include "engine/engine.h"
#include "serve/api.h"
#include "serve/catalog.h"
#include "serve/engine_thread.h"
#include "serve/event_log.h"
#include "serve/http_server.h"
#include "serve/worker_thread.h"

namespace onepass {

struct ServeOptions {
  CatalogOptions catalog;
  BaseOptions base;
  EngineThreadOptions engine;
  HttpServerOptions http;
  ApiOptions api;
  std::string api_key_file;  // a key a line; "#" begins a comment
  std::string log_file;      // empty: standard error
  // For what runs, once a stop was asked for.
  std::chrono::milliseconds drain_time{60'000};
};

// Keys of a file, one a line. kInvalidArgument: none, or one that is no text of one word.
Result<std::vector<std::string>> LoadApiKeys(const std::string& path);

// Not copyable. Run is called once; Stop may be called by any thread.
class ChainServer {
 public:
  // Loads everything and listens; answers from Run on.
  static Result<std::unique_ptr<ChainServer>> Start(const ServeOptions& options);
  ~ChainServer();
  ChainServer(const ChainServer&) = delete;
  ChainServer& operator=(const ChainServer&) = delete;

  std::string address() const { return http_->address(); }
  uint16_t port() const { return http_->port(); }
  const ModelCatalog& catalog() const { return *catalog_; }
  EngineThread& engine() { return *engine_; }

  // Serves until a stop. The first one of these signals drains: what runs is finished, meanwhile new
  // requests are answered with 503; the second one stops at once. Empty: no signal is waited for.
  void Run(const std::vector<int>& signals);
  // As the signals do.
  void Stop();

 private:
  ChainServer() = default;
  void OnStop();
  void StopNow();
  void StopWhenIdle();

  std::unique_ptr<EventLog> log_;
  std::unique_ptr<Base> base_;
  std::unique_ptr<ModelCatalog> catalog_;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<EngineThread> engine_;
  std::unique_ptr<WorkerThread> reader_;
  std::unique_ptr<Api> api_;
  std::chrono::milliseconds drain_time_{0};
  std::chrono::steady_clock::time_point drain_end_;
  bool draining_ = false, stopping_ = false;
  // No other thread is left, and HTTP ends: what dying requests would post to it is dropped.
  std::atomic<bool> closing_ = false;
};

}  // namespace onepass
