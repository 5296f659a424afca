#include "serve/http_server.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <cctype>
#include <deque>
#include <optional>
#include <unordered_set>

#include "core/quote.h"

namespace onepass {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Tcp = asio::ip::tcp;
using Error = beast::error_code;

class Connection;

class Server final : public HttpServer {
 public:
  Server(const HttpServerOptions& options, HttpHandler handler, HttpFault fault)
      : options_(options),
        handler_(std::move(handler)),
        fault_(std::move(fault)),
        acceptor_(io_),
        retry_(io_) {}
  ~Server() override;

  Status Open();
  uint16_t port() const override { return port_; }
  std::string address() const override {
    const bool v6 = options_.host.find(':') != std::string::npos;
    return (v6 ? "[" + options_.host + "]" : options_.host) + ":" + std::to_string(port_);
  }
  bool on_loopback() const override {
    Error error;
    return acceptor_.local_endpoint(error).address().is_loopback();
  }
  void Run() override;
  void Stop() override { io_.stop(); }
  void Post(std::function<void()> task) override { asio::post(io_, std::move(task)); }
  void PostAfter(std::chrono::milliseconds delay, std::function<void()> task) override {
    auto timer = std::make_shared<asio::steady_timer>(io_, delay);
    timer->async_wait([timer, task = std::move(task)](const Error& error) {
      if (!error) task();
    });
  }
  void OnSignals(const std::vector<int>& signals, std::function<void(int)> callback) override;
  void Drain() override;
  void StopListening() override;
  int64_t connections() const override { return std::ssize(connections_); }

  const HttpServerOptions& options() const { return options_; }
  bool draining() const { return draining_; }
  void Handle(HttpRequest request, const std::shared_ptr<HttpExchange>& exchange) {
    handler_(std::move(request), exchange);
  }
  HttpResponse Fault(int status, std::string_view why) const { return fault_(status, why); }
  void Add(Connection* connection) { connections_.insert(connection); }
  void Remove(Connection* connection) { connections_.erase(connection); }
  // For a part of a body that has come; false: connections hold too many.
  bool TakeBodyBytes(int64_t count) {
    if (body_bytes_ + count > options_.max_total_body_bytes) return false;
    body_bytes_ += count;
    return true;
  }
  void GiveBodyBytes(int64_t count) { body_bytes_ -= count; }

 private:
  void Accept();
  void WaitForSignal();
  void CloseIdle(bool new_too);

  const HttpServerOptions options_;
  const HttpHandler handler_;
  const HttpFault fault_;
  // Both outlive what io_ still holds of connections.
  std::unordered_set<Connection*> connections_;
  int64_t body_bytes_ = 0;  // that they hold
  asio::io_context io_{1};
  Tcp::acceptor acceptor_;
  asio::steady_timer retry_;
  std::optional<asio::signal_set> signals_;
  std::function<void(int)> on_signal_;
  uint16_t port_ = 0;
  bool draining_ = false;
};

// One client: a request after the other, each answered before the next is read. While it is
// answered the socket is watched, so that a client that goes away is noticed at once.
class Connection final : public HttpExchange, public std::enable_shared_from_this<Connection> {
 public:
  Connection(Server& server, Tcp::socket socket)
      : server_(server),
        stream_(std::move(socket)),
        buffer_(static_cast<size_t>(server.options().max_header_bytes) + 2 * kMaxPipelined) {
    server_.Add(this);
  }
  ~Connection() override {
    GiveBodyBytes();
    server_.Remove(this);
  }

  void Start() { ReadHead(); }
  // Full: a word of apology, and nothing is read.
  void Refuse() {
    state_ = State::kAnswering;
    close_after_ = unread_ = true;
    Respond(server_.Fault(503, "too many connections"));
  }
  // Ends it where it waits for another request, or even for its first one.
  void CloseIfIdle(bool new_too) {
    if (state_ == State::kReading && !began_ && (served_ || new_too)) Close();
  }

  void Respond(HttpResponse response) override;
  void BeginStream(HttpResponse head) override;
  void Write(std::string_view bytes) override;
  void EndStream() override;
  void OnClose(std::function<void()> callback) override {
    if (state_ == State::kClosed && callback) return callback();
    on_close_ = std::move(callback);
  }

 private:
  enum class State { kReading, kAnswering, kStreaming, kEnding, kClosed };

  void ReadHead();
  void ReadSome();
  bool TakeBodyBytes();
  void GiveBodyBytes() { server_.GiveBodyBytes(std::exchange(body_bytes_, 0)); }
  void ReadBody();
  void OnRead(const Error& error);
  void Handle();
  void Fail(int status, std::string_view why);
  void Watch();
  void WriteNext();
  void EndAnswer();
  void Close();
  void GoneAway();
  void Linger();
  void Discard();
  http::response<http::string_body> Message(HttpResponse response) const;

  static constexpr size_t kMaxPipelined = 64 << 10;
  static constexpr size_t kMaxDiscarded = 16 << 20;
  static constexpr std::chrono::seconds kLinger{2};

  Server& server_;
  beast::tcp_stream stream_;
  // Heads, pieces of bodies, and what is pipelined; chunks' extensions and trailers too, which
  // nothing else bounds.
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  std::optional<http::response<http::string_body>> response_;
  std::optional<http::response<http::empty_body>> head_;
  std::optional<http::response_serializer<http::empty_body>> head_serializer_;
  std::optional<http::response<http::empty_body>> continue_;
  std::function<void()> on_close_;
  std::string unsent_, in_flight_;  // chunks that wait, that are being written
  unsigned version_ = 11;
  bool keep_alive_ = true;
  bool close_after_ = false;
  bool head_only_ = false;  // the request's method is HEAD
  bool served_ = false;     // a request was answered
  bool began_ = false;      // a request's head has come, or what was pipelined
  bool watching_ = false;
  bool writing_ = false;
  bool stream_ended_ = false;
  bool read_next_ = false;  // when the watch is over
  bool unread_ = false;     // part of the request was not read
  size_t discarded_ = 0;
  int64_t body_bytes_ = 0;  // taken from the server's
  State state_ = State::kReading;
};

void Connection::ReadHead() {
  state_ = State::kReading;
  GiveBodyBytes();
  began_ = buffer_.size() > 0;
  head_only_ = false;
  version_ = 11;
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(server_.options().max_header_bytes));
  parser_->body_limit(static_cast<uint64_t>(server_.options().max_body_bytes));
  stream_.expires_after(server_.options().read_timeout);
  http::async_read_header(
      stream_, buffer_, *parser_, [self = shared_from_this()](const Error& error, size_t) {
        if (error) return self->OnRead(error);
        self->began_ = true;
        // Where a body ends must not be a matter of opinion.
        const auto& head = self->parser_->get();
        const bool coded = head.count(http::field::transfer_encoding) > 0;
        if (coded && !beast::iequals(head[http::field::transfer_encoding], "chunked")) {
          return self->Fail(400, "want no transfer coding but chunked");
        }
        self->ReadBody();
      });
}

void Connection::ReadBody() {
  const auto read = [self = shared_from_this()](const Error& sent = {}, size_t = 0) {
    if (sent) return self->Close();
    if (self->parser_->is_done()) return self->OnRead({});
    self->ReadSome();
  };
  const auto& head = parser_->get();
  // Who asks first whether the body is welcome learns it now.
  const bool asks = beast::iequals(head[http::field::expect], "100-continue");
  if (!asks || parser_->is_done()) return read();
  continue_.emplace(http::status::continue_, head.version());
  http::async_write(stream_, *continue_, read);
}

void Connection::ReadSome() {
  http::async_read_some(stream_, buffer_, *parser_,
                        [self = shared_from_this()](const Error& error, size_t) {
                          if (error) return self->OnRead(error);
                          if (!self->TakeBodyBytes()) {
                            return self->Fail(503, "too many requests are being read");
                          }
                          if (self->parser_->is_done()) return self->OnRead({});
                          self->ReadSome();
                        });
}

// As many as have come, until the answer has ended; false: others hold too many.
bool Connection::TakeBodyBytes() {
  const int64_t more = std::ssize(parser_->get().body()) - body_bytes_;
  if (!server_.TakeBodyBytes(more)) return false;
  body_bytes_ += more;
  return true;
}

void Connection::OnRead(const Error& error) {
  if (state_ == State::kClosed) return;
  if (!error) return Handle();
  if (error == http::error::header_limit) return Fail(431, "the header is too large");
  if (error == http::error::body_limit) return Fail(413, "the body is too large");
  if (error == http::error::buffer_overflow) return Fail(400, "a chunk's head is too large");
  const bool protocol =
      error.category() == http::make_error_code(http::error::bad_method).category();
  if (protocol && error != http::error::end_of_stream && error != http::error::partial_message) {
    return Fail(400, "no HTTP request: " + error.message());
  }
  Close();
}

// What cannot be read cannot be followed by another request either.
void Connection::Fail(int status, std::string_view why) {
  state_ = State::kAnswering;
  close_after_ = unread_ = true;
  Respond(server_.Fault(status, why));
}

void Connection::Handle() {
  auto message = parser_->release();
  version_ = message.version();
  head_only_ = message.method() == http::verb::head;
  keep_alive_ = message.keep_alive();
  HttpRequest request;
  request.method = std::string(message.method_string());
  const std::string target(message.target());
  request.path = target.substr(0, target.find('?'));
  for (const auto& field : message) {
    request.headers.emplace_back(LowerAscii(field.name_string()), std::string(field.value()));
  }
  request.body = std::move(message.body());
  if (std::ssize(request.headers) > server_.options().max_header_fields) {
    return Fail(431, "the header has too many fields");
  }
  state_ = State::kAnswering;
  began_ = false;
  stream_.expires_never();
  Watch();
  try {
    server_.Handle(std::move(request), shared_from_this());
  } catch (const std::exception&) {  // of a library: no memory, above all
    Respond(server_.Fault(500, "the server could not handle the request"));
  }
}

// Reads ahead, only to notice an end: what comes is the next request's. Who sends more than so much
// of it does not wait for answers.
void Connection::Watch() {
  if (watching_) return;
  if (buffer_.size() > kMaxPipelined) return GoneAway();
  watching_ = true;
  stream_.async_read_some(
      buffer_.prepare(4096), [self = shared_from_this()](const Error& error, size_t count) {
        self->watching_ = false;
        self->buffer_.commit(count);
        if (self->state_ == State::kClosed) return;
        if (self->read_next_) {
          self->read_next_ = false;
          const bool gone = error && error != asio::error::operation_aborted;
          return gone || self->server_.draining() ? self->Close() : self->ReadHead();
        }
        if (error) return self->GoneAway();
        self->Watch();
      });
}

http::response<http::string_body> Connection::Message(HttpResponse response) const {
  http::response<http::string_body> message(static_cast<http::status>(response.status), version_);
  message.set(http::field::content_type, response.content_type);
  for (const auto& [name, value] : response.headers) message.set(name, value);
  message.keep_alive(keep_alive_ && !close_after_ && !server_.draining());
  message.body() = std::move(response.body);
  message.prepare_payload();
  return message;
}

void Connection::Respond(HttpResponse response) {
  if (state_ != State::kAnswering) return;
  state_ = State::kEnding;
  response_ = Message(std::move(response));
  if (head_only_) response_->body().clear();
  if (!response_->keep_alive()) close_after_ = true;
  stream_.expires_after(server_.options().write_timeout);
  http::async_write(stream_, *response_, [self = shared_from_this()](const Error& error, size_t) {
    if (error) return self->Close();
    self->EndAnswer();
  });
}

void Connection::BeginStream(HttpResponse head) {
  if (state_ != State::kAnswering) return;
  state_ = State::kStreaming;
  stream_ended_ = false;
  head_.emplace(static_cast<http::status>(head.status), version_);
  head_->set(http::field::content_type, head.content_type);
  for (const auto& [name, value] : head.headers) head_->set(name, value);
  // Before HTTP/1.1 a body of unknown length ends with the connection.
  const bool chunks = version_ >= 11;
  if (!chunks) close_after_ = true;
  head_->keep_alive(keep_alive_ && !close_after_ && !server_.draining());
  if (!head_->keep_alive()) close_after_ = true;
  head_->chunked(chunks);
  head_serializer_.emplace(*head_);
  writing_ = true;
  stream_.expires_after(server_.options().write_timeout);
  http::async_write_header(stream_, *head_serializer_,
                           [self = shared_from_this()](const Error& error, size_t) {
                             self->writing_ = false;
                             if (error) return self->GoneAway();
                             self->WriteNext();
                           });
}

void Connection::Write(std::string_view bytes) {
  if (state_ != State::kStreaming || stream_ended_ || bytes.empty()) return;
  // A client that does not read costs nobody else anything.
  if (std::ssize(unsent_) > server_.options().max_unsent_bytes) return GoneAway();
  if (version_ >= 11) {
    char size[24];
    std::snprintf(size, sizeof(size), "%zx\r\n", bytes.size());
    unsent_ += size;
    unsent_ += bytes;
    unsent_ += "\r\n";
  } else {
    unsent_ += bytes;
  }
  WriteNext();
}

void Connection::EndStream() {
  if (state_ != State::kStreaming || stream_ended_) return;
  stream_ended_ = true;
  if (version_ >= 11) unsent_ += "0\r\n\r\n";
  WriteNext();
}

void Connection::WriteNext() {
  if (writing_ || state_ != State::kStreaming) return;
  if (unsent_.empty()) {
    if (stream_ended_) EndAnswer();
    return;
  }
  writing_ = true;
  in_flight_ = std::move(unsent_);
  unsent_.clear();
  stream_.expires_after(server_.options().write_timeout);
  asio::async_write(stream_, asio::buffer(in_flight_),
                    [self = shared_from_this()](const Error& error, size_t) {
                      self->writing_ = false;
                      if (self->state_ == State::kClosed) return;
                      if (error) return self->GoneAway();
                      self->WriteNext();
                    });
}

void Connection::EndAnswer() {
  if (state_ == State::kClosed) return;
  served_ = true;
  on_close_ = nullptr;
  if (unread_) return Linger();
  if (close_after_ || server_.draining()) return Close();
  if (!watching_) return ReadHead();
  read_next_ = true;
  stream_.cancel();
}

// A socket that is closed with bytes unread resets the connection, and the client never sees the
// answer: reads what still comes, for a moment.
void Connection::Linger() {
  Error ignored;
  stream_.socket().shutdown(Tcp::socket::shutdown_send, ignored);
  stream_.expires_after(kLinger);
  Discard();
}

void Connection::Discard() {
  buffer_.clear();
  stream_.async_read_some(buffer_.prepare(16 << 10),
                          [self = shared_from_this()](const Error& error, size_t count) {
                            self->discarded_ += count;
                            if (error || self->discarded_ > kMaxDiscarded) return self->Close();
                            self->Discard();
                          });
}

void Connection::GoneAway() {
  if (state_ == State::kClosed) return;
  const std::function<void()> callback = std::exchange(on_close_, nullptr);
  Close();
  if (callback) callback();
}

void Connection::Close() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  if (on_close_) server_.Post(std::exchange(on_close_, nullptr));
  Error ignored;
  stream_.socket().shutdown(Tcp::socket::shutdown_both, ignored);
  stream_.close();
}

// A request's answer and its connection hold each other while it is answered.
Server::~Server() {
  std::vector<std::shared_ptr<Connection>> open;
  for (Connection* connection : connections_) open.push_back(connection->shared_from_this());
  for (const std::shared_ptr<Connection>& connection : open) connection->OnClose(nullptr);
}

Status Server::Open() {
  Error error;
  const auto address =
      asio::ip::make_address(options_.host == "localhost" ? "127.0.0.1" : options_.host, error);
  if (error) {
    return InvalidArgument("host: want an IP address, found " + Quote(options_.host));
  }
  const Tcp::endpoint endpoint(address, options_.port);
  const std::string where = options_.host + ":" + std::to_string(options_.port);
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(Tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (error) return IoError("listen on " + where + ": " + error.message());
  port_ = acceptor_.local_endpoint().port();
  Accept();
  return Status::Ok();
}

void Server::Accept() {
  acceptor_.async_accept([this](const Error& error, Tcp::socket socket) {
    if (error == asio::error::operation_aborted || !acceptor_.is_open()) return;
    if (error) {
      // No descriptors, no memory: some will be free again.
      retry_.expires_after(std::chrono::milliseconds(50));
      retry_.async_wait([this](const Error& stopped) {
        if (!stopped && acceptor_.is_open()) Accept();
      });
      return;
    }
    Accept();
    Error ignored;
    socket.set_option(Tcp::no_delay(true), ignored);
    const auto connection = std::make_shared<Connection>(*this, std::move(socket));
    if (connections() > options_.max_connections) {
      connection->Refuse();
    } else {
      connection->Start();
    }
  });
}

void Server::Run() {
  while (true) {
    try {
      io_.run();
      return;
    } catch (const std::exception&) {
      // What a library threw concerns one connection, which dies with it; the others go on.
    }
  }
}

void Server::OnSignals(const std::vector<int>& signals, std::function<void(int)> callback) {
  on_signal_ = std::move(callback);
  signals_.emplace(io_);
  for (const int signal : signals) signals_->add(signal);
  WaitForSignal();
}

void Server::WaitForSignal() {
  signals_->async_wait([this](const Error& error, int signal) {
    if (error) return;
    on_signal_(signal);
    WaitForSignal();
  });
}

void Server::Drain() {
  draining_ = true;
  CloseIdle(/*new_too=*/false);
}

void Server::StopListening() {
  Error ignored;
  acceptor_.close(ignored);
  CloseIdle(/*new_too=*/true);
}

void Server::CloseIdle(bool new_too) {
  const std::vector<Connection*> open(connections_.begin(), connections_.end());
  for (Connection* connection : open) connection->CloseIfIdle(new_too);
}

}  // namespace

std::string LowerAscii(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

std::string_view HttpRequest::Header(std::string_view lower_case_name) const {
  for (const auto& [name, value] : headers) {
    if (name == lower_case_name) return value;
  }
  return {};
}

Status HttpServerOptions::Validate() const {
  const auto positive = [](const char* name, int64_t value) {
    if (value >= 1 && value <= int64_t{1} << 31) return Status::Ok();
    return InvalidArgument(std::string(name) + ": want 1 to 2147483648, found " +
                           std::to_string(value));
  };
  RETURN_IF_ERROR(positive("max_connections", max_connections));
  RETURN_IF_ERROR(positive("max_header_bytes", max_header_bytes));
  RETURN_IF_ERROR(positive("max_header_fields", max_header_fields));
  RETURN_IF_ERROR(positive("max_body_bytes", max_body_bytes));
  if (max_total_body_bytes < max_body_bytes) {
    return InvalidArgument("max_total_body_bytes: want at least max_body_bytes, " +
                           std::to_string(max_body_bytes) + ", found " +
                           std::to_string(max_total_body_bytes));
  }
  RETURN_IF_ERROR(positive("max_unsent_bytes", max_unsent_bytes));
  RETURN_IF_ERROR(positive("read_timeout", read_timeout.count()));
  return positive("write_timeout", write_timeout.count());
}

Result<std::unique_ptr<HttpServer>> HttpServer::Listen(const HttpServerOptions& options,
                                                       HttpHandler handler, HttpFault fault) {
  RETURN_IF_ERROR(options.Validate());
  auto server = std::make_unique<Server>(options, std::move(handler), std::move(fault));
  RETURN_IF_ERROR(server->Open());
  return std::unique_ptr<HttpServer>(std::move(server));
}

}  // namespace onepass
