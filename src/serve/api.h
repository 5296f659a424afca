// The server's routes: who may ask what, and who answers.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "serve/catalog.h"
#include "serve/engine_thread.h"
#include "serve/event_log.h"
#include "serve/generation.h"
#include "serve/http_server.h"
#include "serve/metrics.h"
#include "serve/wire.h"
#include "serve/worker_thread.h"

namespace onepass {

struct ApiOptions {
  std::vector<std::string> keys;  // any of them opens /v1; empty: no key is asked for
  WireLimits limits;
  std::chrono::milliseconds max_request_time{300'000};
  // Whether a request's Host must be localhost, an address, or one of these names.
  bool check_host = false;
  std::vector<std::string> hosts;
  std::string version;
};

// Used on the HTTP server's thread alone; what is long of a request is read by the worker. Not
// copyable.
class Api {
 public:
  // All must outlive it, but for the reader, which ends before it does. post: to the HTTP server's
  // thread.
  Api(const Base& base, const ModelCatalog& catalog, EngineThread& engine, WorkerThread& reader,
      EventLog& log, ApiOptions options, std::function<void(std::function<void()>)> post);
  Api(const Api&) = delete;
  Api& operator=(const Api&) = delete;

  void Handle(HttpRequest request, const std::shared_ptr<HttpExchange>& exchange);
  // What has no request.
  HttpResponse Fault(int status, std::string_view why);

  // No new runs: /ready says 503, and what would run is answered so.
  void Drain() { draining_ = true; }
  int64_t running() const { return running_; }  // requests

 private:
  struct Call;
  using Handler = void (Api::*)(const Call&);
  // What is left to do on the HTTP server's thread for a call that was read.
  using Reply = std::function<void(Api&, const Call&)>;
  using Reader = Reply (Api::*)(const Call&) const;
  struct Route {
    const char* method;
    const char* path;  // ends with "*": any path that begins so
    bool open;         // no key is asked for
    Handler handler;   // either this, at once
    Reader reader;     // or this, on the worker's thread
  };
  static const std::vector<Route>& Routes();

  bool IsForUs(const HttpRequest& request) const;
  bool HasKey(const HttpRequest& request) const;
  void Answer(const Call& call, HttpResponse response);
  // allow: the methods that the path has, where it has another.
  void Refuse(const Call& call, const ApiError& error, const std::string& allow = {});
  const ServedModel* FindModel(const Call& call, const std::string& id);
  nlohmann::ordered_json ToJson(const ServedModel& model) const;
  GenerationContext ContextOf(const Call& call);
  void Read(Reader reader, Call call);

  void Health(const Call& call);
  void Ready(const Call& call);
  void Version(const Call& call);
  void Page(const Call& call);
  void Metrics(const Call& call);
  void ListModels(const Call& call);
  void GetModel(const Call& call);
  void GetChain(const Call& call);

  // Replies: an error, JSON, runs (which it prepares).
  static Reply Refusing(ApiError error);
  static Reply Answering(const nlohmann::ordered_json& body);
  static Reply Generating(std::shared_ptr<Generation> generation);

  Reply ReadGeneration(const Call& call, bool chat) const;
  Reply ReadCompletion(const Call& call) const { return ReadGeneration(call, false); }
  Reply ReadChat(const Call& call) const { return ReadGeneration(call, true); }
  Reply ReadChainRun(const Call& call) const;
  Reply ReadTokenize(const Call& call) const;
  Reply ReadDetokenize(const Call& call) const;

  const Base& base_;
  const ModelCatalog& catalog_;
  EngineThread& engine_;
  WorkerThread& reader_;
  EventLog& log_;
  const ApiOptions options_;
  const std::function<void(std::function<void()>)> post_;
  ServeMetrics metrics_;
  const int64_t created_;
  uint64_t id_seed_;
  uint64_t request_count_ = 0;
  int64_t running_ = 0;
  double mean_seconds_ = 1;  // of a request, of late
  bool draining_ = false;
};

}  // namespace onepass
