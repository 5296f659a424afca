#include "bench/http_load.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <charconv>
#include <chrono>
#include <memory>
#include <optional>

#include "core/quote.h"

namespace onepass {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Clock = std::chrono::steady_clock;
using Error = beast::error_code;

struct Load {
  asio::io_context io{1};
  Clock::time_point begin = Clock::now();
  const LoadHooks& hooks;
  double timeout_seconds;
  std::vector<LoadedRequest> requests;

  double Now() const { return std::chrono::duration<double>(Clock::now() - begin).count(); }
};

// A request: its calls one after the other, each on a connection of its own.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(Load& load, size_t request) : load_(load), request_(request) {}

  void Next(const std::string& answer) {
    const HttpCall call = load_.hooks.call(request_, ++part_, answer);
    if (call.path.empty()) return;
    stream_.emplace(load_.io);
    buffer_.clear();
    parser_.emplace();
    parser_->body_limit(boost::none);
    answer_.clear();
    message_ = {http::verb::post, call.path, 11};
    message_.set(http::field::host, call.target.host);
    message_.set(http::field::content_type, "application/json");
    if (!call.key.empty()) message_.set(http::field::authorization, "Bearer " + call.key);
    message_.body() = call.body;
    message_.keep_alive(false);
    message_.prepare_payload();
    Error error;
    const asio::ip::tcp::endpoint endpoint(asio::ip::make_address(call.target.host, error),
                                           call.target.port);
    stream_->expires_after(
        std::chrono::milliseconds(static_cast<int64_t>(load_.timeout_seconds * 1e3)));
    stream_->async_connect(endpoint, [self = shared_from_this()](const Error& failed) {
      if (failed) return self->End(0);
      self->Write();
    });
  }

 private:
  void Write() {
    http::async_write(*stream_, message_, [self = shared_from_this()](const Error& failed, size_t) {
      if (failed) return self->End(0);
      http::async_read_header(*self->stream_, self->buffer_, *self->parser_,
                              [self](const Error& error, size_t) {
                                if (error) return self->End(0);
                                self->Read();
                              });
    });
  }

  void Read() {
    Take();
    if (parser_->is_done()) return End(parser_->get().result_int());
    http::async_read_some(*stream_, buffer_, *parser_,
                          [self = shared_from_this()](const Error& error, size_t) {
                            // What ends with the connection may say so.
                            if (error && error != http::error::end_of_stream) return self->End(0);
                            self->Read();
                          });
  }

  void Take() {
    std::string& body = parser_->get().body();
    if (body.empty()) return;
    if (load_.hooks.on_bytes) load_.hooks.on_bytes(request_, part_, load_.Now(), body);
    answer_ += body;
    body.clear();
  }

  void End(unsigned status) {
    LoadedRequest& result = load_.requests[request_];
    result.end = load_.Now();
    result.status = static_cast<int>(status);
    Error ignored;
    stream_->socket().shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
    stream_->close();
    if (status == 200) Next(answer_);
  }

  Load& load_;
  const size_t request_;
  int part_ = -1;
  std::optional<beast::tcp_stream> stream_;
  beast::flat_buffer buffer_;
  http::request<http::string_body> message_;
  std::optional<http::response_parser<http::string_body>> parser_;
  std::string answer_;
};

}  // namespace

Result<HttpTarget> HttpTarget::Parse(std::string_view url) {
  const auto bad = [&] { return InvalidArgument("want http://ADDRESS:PORT, found " + Quote(url)); };
  std::string_view rest = url;
  constexpr std::string_view kScheme = "http://";
  if (!rest.starts_with(kScheme)) return bad();
  rest.remove_prefix(kScheme.size());
  if (rest.ends_with('/')) rest.remove_suffix(1);
  const size_t colon = rest.rfind(':');
  if (colon == std::string_view::npos) return bad();
  HttpTarget target;
  target.host = std::string(rest.substr(0, colon));
  if (target.host == "localhost") target.host = "127.0.0.1";
  const std::string_view port = rest.substr(colon + 1);
  const auto [end, fault] = std::from_chars(port.data(), port.data() + port.size(), target.port);
  if (fault != std::errc() || end != port.data() + port.size()) return bad();
  Error error;
  asio::ip::make_address(target.host, error);
  if (error) return bad();
  return target;
}

std::vector<LoadedRequest> RunLoad(const std::vector<double>& begins, const LoadHooks& hooks,
                                   double timeout_seconds) {
  Load load{.hooks = hooks, .timeout_seconds = timeout_seconds, .requests = {}};
  load.requests.resize(begins.size());
  asio::steady_timer timer(load.io);
  size_t next = 0;
  std::function<void()> wait = [&] {
    while (next < begins.size() && begins[next] <= load.Now()) {
      load.requests[next].begin = begins[next];
      std::make_shared<Session>(load, next)->Next({});
      ++next;
    }
    if (next == begins.size()) return;
    timer.expires_at(load.begin + std::chrono::duration_cast<Clock::duration>(
                                      std::chrono::duration<double>(begins[next])));
    timer.async_wait([&](const Error& error) {
      if (!error) wait();
    });
  };
  wait();
  load.io.run();
  return std::move(load.requests);
}

}  // namespace onepass
