// HTTP/1.1 over TCP: connections, limits, timeouts, streams; requests in, responses out. Knows no
// route and no JSON. Boost.Beast does the protocol.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/status.h"

namespace onepass {

// As names of headers and hosts are compared.
std::string LowerAscii(std::string_view text);

struct HttpRequest {
  std::string method;
  std::string path;                                          // without what stands behind "?"
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;

  // The first of that name; empty: there is none.
  std::string_view Header(std::string_view lower_case_name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

// One request's answer, whole or as a stream. Used on the server's thread alone. Calls behind the
// end, or after the client went away, do nothing.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;

  virtual void Respond(HttpResponse response) = 0;
  // Sends status and headers; then Write and EndStream. The body of `head` is not sent.
  virtual void BeginStream(HttpResponse head) = 0;
  virtual void Write(std::string_view bytes) = 0;
  virtual void EndStream() = 0;
  // Called once if the client goes away, or is too slow, before the answer's end.
  virtual void OnClose(std::function<void()> callback) = 0;
};

using HttpHandler =
    std::function<void(HttpRequest request, const std::shared_ptr<HttpExchange>& exchange)>;
// What is answered where there is no request to handle, or its handler threw: its status (400, 413,
// 431, 500, 503) and why.
using HttpFault = std::function<HttpResponse(int status, std::string_view why)>;

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8000;  // 0: any that is free
  int64_t max_connections = 1024;
  int64_t max_header_bytes = 16 << 10;
  int64_t max_header_fields = 100;
  int64_t max_body_bytes = 4 << 20;
  // Of the bodies that all connections have sent and wait for answers to; more: 503.
  int64_t max_total_body_bytes = 256 << 20;
  // Of a stream that the client does not read: more than this waits, and it is dropped.
  int64_t max_unsent_bytes = 1 << 20;
  // For a whole request to arrive, a keep-alive connection's wait for it included, and for the
  // client to take what is sent.
  std::chrono::milliseconds read_timeout{30'000};
  std::chrono::milliseconds write_timeout{30'000};

  Status Validate() const;
};

// Runs on the thread that calls Run; Post and Stop may come from any. Not copyable.
class HttpServer {
 public:
  // kInvalidArgument: a host that is no address; kIoError: the port is taken ...
  static Result<std::unique_ptr<HttpServer>> Listen(const HttpServerOptions& options,
                                                    HttpHandler handler, HttpFault fault);
  virtual ~HttpServer() = default;

  virtual uint16_t port() const = 0;
  virtual std::string address() const = 0;  // "127.0.0.1:8000"
  virtual bool on_loopback() const = 0;     // nobody else's machine reaches it
  // Serves until Stop.
  virtual void Run() = 0;
  // Ends Run; what is unanswered is dropped.
  virtual void Stop() = 0;
  // Runs it on the server's thread, soon.
  virtual void Post(std::function<void()> task) = 0;
  // The same after a while.
  virtual void PostAfter(std::chrono::milliseconds delay, std::function<void()> task) = 0;
  // Called on the server's thread for each of these signals of the process.
  virtual void OnSignals(const std::vector<int>& signals, std::function<void(int)> callback) = 0;
  // Every connection ends with its next answer, at once where it has had one and waits. New ones are taken
  // still, so that who asks learns why. On its thread.
  virtual void Drain() = 0;
  // After Drain: no new connections either. On its thread.
  virtual void StopListening() = 0;
  // Open connections; on its thread.
  virtual int64_t connections() const = 0;
};

}  // namespace onepass
