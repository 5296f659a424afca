#include "serve/server.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "core/file.h"

namespace onepass {

Result<std::vector<std::string>> LoadApiKeys(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, 1 << 20));
  std::vector<std::string> keys;
  int64_t line_number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    ++line_number;
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty() || line.starts_with('#')) continue;
    const bool word =
        std::ranges::all_of(line, [](unsigned char c) { return std::isgraph(c) != 0; });
    if (!word || line.size() < 8 || line.size() > 512) {
      // A message goes to logs: it never has the key.
      const std::string found =
          word ? std::to_string(line.size()) + " of them" : "a blank or a byte that is no such one";
      return InvalidArgument(path + ":" + std::to_string(line_number) +
                             ": want a key of 8 to 512 printable characters, found " + found);
    }
    keys.push_back(line);
  }
  if (keys.empty()) return InvalidArgument(path + ": want a key a line, found none");
  return keys;
}

Result<std::unique_ptr<ChainServer>> ChainServer::Start(const ServeOptions& options) {
  RETURN_IF_ERROR(options.engine.Validate());
  std::unique_ptr<ChainServer> server(new ChainServer);
  server->drain_time_ = options.drain_time;
  ApiOptions api = options.api;
  if (!options.api_key_file.empty()) {
    Result<std::vector<std::string>> keys = LoadApiKeys(options.api_key_file);
    RETURN_IF_ERROR(keys.status().WithPrefix("API keys"));
    api.keys = *std::move(keys);
  }
  ASSIGN_OR_RETURN(server->log_, EventLog::Open(options.log_file));
  ASSIGN_OR_RETURN(const std::string path, ModelCatalog::BasePath(options.catalog));
  Result<std::unique_ptr<Base>> base = LoadBase(path, options.base);
  RETURN_IF_ERROR(base.status().WithPrefix("base"));
  server->base_ = *std::move(base);
  ASSIGN_OR_RETURN(server->catalog_, ModelCatalog::Load(*server->base_, options.catalog));
  ChainServer* raw = server.get();
  // Requests come only when Run is called: by then all of it is there.
  ASSIGN_OR_RETURN(
      server->http_,
      HttpServer::Listen(
          options.http,
          [raw](HttpRequest request, const std::shared_ptr<HttpExchange>& exchange) {
            raw->api_->Handle(std::move(request), exchange);
          },
          [raw](int status, std::string_view why) { return raw->api_->Fault(status, why); }));
  api.check_host = server->http_->on_loopback() || !api.hosts.empty();
  server->engine_ = std::make_unique<EngineThread>(*server->base_, options.engine);
  if (server->engine_->stats().pages == 0) {
    return InvalidArgument("max_kv_bytes: want at least a page, " +
                           std::to_string(server->engine_->layout().PageBytes()) + ", found " +
                           std::to_string(options.engine.scheduler.max_kv_bytes));
  }
  server->reader_ = std::make_unique<WorkerThread>();
  server->api_ =
      std::make_unique<Api>(*server->base_, *server->catalog_, *server->engine_, *server->reader_,
                            *server->log_, std::move(api), [raw](std::function<void()> task) {
                              if (!raw->closing_) raw->http_->Post(std::move(task));
                            });
  return server;
}

// The reader's and the engine's threads post to the HTTP server: they end first. What that still
// holds of requests speaks to the API when it dies: it dies before the API.
ChainServer::~ChainServer() {
  reader_.reset();
  engine_.reset();
  closing_ = true;
  http_.reset();
  api_.reset();
}

void ChainServer::Run(const std::vector<int>& signals) {
  if (!signals.empty()) http_->OnSignals(signals, [this](int) { OnStop(); });
  nlohmann::ordered_json facts;
  facts["address"] = address();
  facts["models"] = catalog_->models().size();
  facts["kv_pages"] = engine_->stats().pages;
  log_->Write("info", "listening", std::move(facts));
  http_->Run();
  log_->Write("info", "stopped", {{"unfinished", api_->running()}});
}

void ChainServer::Stop() {
  http_->Post([this] { OnStop(); });
}

void ChainServer::OnStop() {
  if (draining_) return StopNow();
  draining_ = true;
  drain_end_ = std::chrono::steady_clock::now() + drain_time_;
  log_->Write("info", "draining", {{"running", api_->running()}});
  api_->Drain();
  http_->Drain();
  StopWhenIdle();
}

// Who waits for an answer is told that it ends here.
void ChainServer::StopNow() {
  if (std::exchange(stopping_, true)) return http_->Stop();
  log_->Write("warning", "stopping", {{"unfinished", api_->running()}});
  engine_->EndAll();
  constexpr std::chrono::milliseconds kToTell(200);
  http_->PostAfter(kToTell, [this] { http_->Stop(); });
}

void ChainServer::StopWhenIdle() {
  const bool late = std::chrono::steady_clock::now() >= drain_end_;
  const bool done = api_->running() == 0;
  if (done) http_->StopListening();
  if (done && http_->connections() == 0) return http_->Stop();
  if (late && !stopping_) StopNow();
  http_->PostAfter(std::chrono::milliseconds(20), [this] { StopWhenIdle(); });
}

}  // namespace onepass
