// The server within the test's process, over sockets of loopback: what sanitizers see of it.
#include "serve/server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "chain/tiny_chain_for_test.h"

namespace onepass {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr char kChain[] = R"(name: two
base: base
shared: "Q: {Q}\n"
api: {prompt: Q, system: D}
stages:
  - {name: a, input: "{D}:", start: "<bos>", stop_tokens: ["<eos>"], max_tokens: 20}
  - {name: b, start: "<note>", stop_tokens: ["<eos>"], max_tokens: 12}
)";

// A connection to the server; what comes back until it closes.
class Client {
 public:
  explicit Client(uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  ~Client() { ::close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool connected() const { return connected_; }
  void Send(const std::string& bytes) {
    EXPECT_EQ(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL), std::ssize(bytes));
  }
  // At most so many bytes; 0: all.
  std::string Read(size_t most = 0) {
    std::string answer;
    char block[4096];
    while (most == 0 || answer.size() < most) {
      const ssize_t count = ::recv(fd_, block, sizeof(block), 0);
      if (count <= 0) break;
      answer.append(block, count);
    }
    return answer;
  }

 private:
  int fd_;
  bool connected_;
};

std::string Post(const std::string& path, const json& body) {
  const std::string text = body.dump();
  return "POST " + path + " HTTP/1.1\r\nConnection: close\r\nContent-Type: application/json\r\n" +
         "Content-Length: " + std::to_string(text.size()) + "\r\n\r\n" + text;
}

json BodyOf(const std::string& response) {
  return json::parse(response.substr(response.find("\r\n\r\n") + 4));
}

class ServerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const std::string base = WriteTinyBase("server_test/base");
    folder_ = std::filesystem::path(base).parent_path();
    ASSERT_TRUE(WriteFileAtomically(folder_ + "/chain.yaml", kChain).ok());
  }

  void Start(ServeOptions options = {}) {
    options.catalog.chains = {{"two", folder_ + "/chain.yaml"}};
    options.base.thread_count = 2;
    options.http.port = 0;
    options.log_file = folder_ + "/log.jsonl";
    if (options.engine.scheduler.max_kv_bytes == SchedulerOptions().max_kv_bytes) {
      options.engine.scheduler.max_kv_bytes = 8 << 20;
    }
    Result<std::unique_ptr<ChainServer>> server = ChainServer::Start(options);
    ASSERT_TRUE(server.ok()) << server.status().message();
    server_ = std::move(server).value();
    thread_ = std::thread([this] { server_->Run({}); });
  }
  void TearDown() override {
    if (server_ == nullptr) return;
    server_->Stop();
    thread_.join();
    server_.reset();
  }

  std::string Ask(const std::string& request) {
    Client client(server_->port());
    if (!client.connected()) return {};
    client.Send(request);
    return client.Read();
  }
  // Waits until nothing runs and, idle segments dropped, no page is used. They are dropped again and
  // again: what a client sent before it went away may be read at any time, and leaves front prompts.
  void ExpectIdle() {
    for (int i = 0; i < 2000; ++i) {
      const SchedulerStats now = server_->engine().stats();
      if (now.running == 0 && now.waiting == 0 && now.pages_used == 0) break;
      server_->engine().DropIdleSegments();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    EXPECT_EQ(server_->engine().stats().pages_used, 0);
    EXPECT_EQ(server_->engine().stats().running, 0);
  }

  static inline std::string folder_;
  std::unique_ptr<ChainServer> server_;
  std::thread thread_;
};

json Chat(const std::string& question, bool stream) {
  return {{"model", "two"},
          {"stream", stream},
          {"messages",
           {{{"role", "system"}, {"content", "a document"}},
            {{"role", "user"}, {"content", question}}}}};
}

json LongStream(int64_t tokens) {
  return {{"model", "base"},
          {"prompt", "x"},
          {"max_tokens", tokens},
          {"ignore_eos", true},
          {"stream", true}};
}

TEST_F(ServerTest, ManyClientsAtOnceGetWhatEachGetsAlone) {
  Start();
  std::vector<std::string> alone;
  for (int i = 0; i < 4; ++i) {
    const std::string response =
        Ask(Post("/v1/chat/completions", Chat("who is number " + std::to_string(i), false)));
    ASSERT_THAT(response, HasSubstr("HTTP/1.1 200"));
    alone.push_back(BodyOf(response)["choices"][0]["message"]["content"]);
  }
  std::atomic<int> right = 0;
  std::vector<std::thread> clients;
  for (int c = 0; c < 12; ++c) {
    clients.emplace_back([&, c] {
      for (int i = 0; i < 4; ++i) {
        const bool stream = (c + i) % 2 == 0;
        const std::string response =
            Ask(Post("/v1/chat/completions", Chat("who is number " + std::to_string(i), stream)));
        if (!stream) {
          right += BodyOf(response)["choices"][0]["message"]["content"] == alone[i] ? 1 : 0;
          continue;
        }
        std::string text;
        for (size_t at = 0; (at = response.find("data: {", at)) != std::string::npos; ++at) {
          const size_t end = response.find("\n\n", at);
          const json part = json::parse(response.substr(at + 6, end - at - 6));
          text += part["choices"][0]["delta"].value("content", "");
        }
        right += text == alone[i] && response.find("[DONE]") != std::string::npos ? 1 : 0;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(right, 48);
  ExpectIdle();
}

TEST_F(ServerTest, ClientsThatGoAwayLeaveNothing) {
  Start();
  std::vector<std::thread> clients;
  for (int c = 0; c < 8; ++c) {
    clients.emplace_back([&, c] {
      for (int i = 0; i < 6; ++i) {
        json body = Chat("who is number " + std::to_string(i), true);
        body["ignore_eos"] = true;
        body["max_tokens"] = 100;
        Client client(server_->port());
        client.Send(Post("/v1/chat/completions", body));
        if ((c + i) % 3 != 0) client.Read(50 * i);
      }
    });
  }
  for (std::thread& client : clients) client.join();
  ExpectIdle();
}

TEST_F(ServerTest, EveryRouteAnswersAndEveryFaultIsJson) {
  Start();
  for (const char* path : {"/", "/health", "/ready", "/version", "/metrics", "/v1/models",
                           "/v1/models/two%2Fa", "/v1/chains/two"}) {
    EXPECT_THAT(Ask(std::string("GET ") + path + " HTTP/1.1\r\nConnection: close\r\n\r\n"),
                HasSubstr("HTTP/1.1 200"))
        << path;
  }
  const std::string whole = Post("/v1/completions", {{"model", "base"}, {"prompt", "x"}});
  EXPECT_THAT(Ask(whole), HasSubstr("HTTP/1.1 200"));
  for (const json& body : {json{{"model", "base"}}, json{{"model", "none"}, {"prompt", "x"}},
                           json("text"), json{{"model", "base"}, {"prompt", "x"}, {"n", -1}},
                           json{{"model", "base"}, {"prompt", std::string(5000, 'x')}},
                           json{{"model", "two"}, {"fields", {{"Q", "x"}}}},
                           json{{"model", "two/a"}, {"fields", {{"Q", "x"}}}}}) {
    const std::string response = Ask(Post("/v1/completions", body));
    EXPECT_THAT(response, HasSubstr("HTTP/1.1 4")) << body;
    EXPECT_FALSE(BodyOf(response)["error"]["message"].get<std::string>().empty());
  }
  EXPECT_THAT(Ask("nothing like HTTP\r\n\r\n"), HasSubstr("HTTP/1.1 400"));
  ExpectIdle();
}

TEST_F(ServerTest, AFullQueueSays429AndWhen) {
  ServeOptions options;
  options.engine.max_waiting = 0;
  options.engine.scheduler.max_running = 1;
  Start(options);
  const json body = LongStream(200);
  Client first(server_->port());
  first.Send(Post("/v1/completions", body));
  EXPECT_THAT(first.Read(400), HasSubstr("data: {"));
  const std::string second = Ask(Post("/v1/completions", body));
  // It may have ended by now: but then it was served.
  if (second.find("HTTP/1.1 200") == std::string::npos) {
    EXPECT_THAT(second, HasSubstr("HTTP/1.1 429"));
    EXPECT_THAT(second, HasSubstr("Retry-After: "));
  }
  first.Read();
  ExpectIdle();
}

TEST_F(ServerTest, AStopFinishesWhatRuns) {
  Start();
  const json body = LongStream(200);
  Client client(server_->port());
  client.Send(Post("/v1/completions", body));
  std::string answer = client.Read(200);
  server_->Stop();
  answer += client.Read();
  EXPECT_THAT(answer, HasSubstr("[DONE]"));
  thread_.join();
  EXPECT_FALSE(Client(server_->port()).connected());
  server_.reset();
}

TEST_F(ServerTest, WhileItDrainsItSaysSo) {
  Start();
  json body = LongStream(240);
  body["n"] = 100;
  Client client(server_->port());
  client.Send(Post("/v1/completions", body));
  client.Read(200);
  std::string rest;
  std::thread reader([&] { rest = client.Read(); });
  server_->Stop();
  std::string ready;
  for (int i = 0; i < 1000 && ready.find("503") == std::string::npos; ++i) {
    ready = Ask("GET /ready HTTP/1.1\r\n\r\n");  // closed, though it does not ask for that
  }
  EXPECT_THAT(ready, HasSubstr("HTTP/1.1 503"));
  EXPECT_THAT(ready, HasSubstr("draining"));
  EXPECT_THAT(Ask("GET /health HTTP/1.1\r\n\r\n"), HasSubstr("HTTP/1.1 200"));
  const std::string refused = Ask(Post("/v1/completions", LongStream(1)));
  EXPECT_THAT(refused, HasSubstr("HTTP/1.1 503"));
  EXPECT_THAT(refused, HasSubstr("Retry-After: "));
  reader.join();
  EXPECT_TRUE(rest.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n")) << rest.substr(rest.size() - 60);
  thread_.join();
  server_.reset();
}

TEST_F(ServerTest, BodiesOfAllConnectionsTogetherHaveALimit) {
  ServeOptions options;
  options.http.max_body_bytes = 1000;
  options.http.max_total_body_bytes = 1500;
  Start(options);
  const std::string head =
      "POST /tokenize HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n";
  const auto body = [](size_t size) {
    const std::string text = R"({"prompt":"x"})";
    return std::string(size - text.size(), ' ') + text;
  };
  // What is announced takes nothing; what has come does.
  Client announces(server_->port());
  announces.Send(head);
  Client holds(server_->port());
  holds.Send(head + body(900).substr(0, 899));
  std::string refused;
  for (int i = 0; i < 1000 && refused.find("503") == std::string::npos; ++i) {
    refused =
        Ask("POST /tokenize HTTP/1.1\r\nContent-Type: application/json\r\n"
            "Connection: close\r\nContent-Length: 900\r\n\r\n" +
            body(900));  // the first may not have been seen yet
  }
  EXPECT_THAT(refused, HasSubstr("HTTP/1.1 503"));
  EXPECT_THAT(refused, HasSubstr("Retry-After: "));
  EXPECT_THAT(Ask("GET /health HTTP/1.1\r\nConnection: close\r\n\r\n"), HasSubstr("200"));
  holds.Send("}");
  EXPECT_THAT(holds.Read(1), HasSubstr("HTTP/1.1 200"));
  announces.Send(body(900));
  EXPECT_THAT(announces.Read(1), HasSubstr("HTTP/1.1 200"));
}

TEST_F(ServerTest, ARequestThatWaitedTooLongToBeReadIsLate) {
  ServeOptions options;
  options.api.max_request_time = std::chrono::milliseconds(1);
  Start(options);
  // Read one after the other; some 30 ms each.
  std::vector<std::unique_ptr<Client>> clients;
  const json body = {{"prompt", std::string(200'000, 'x')}};
  for (int i = 0; i < 4; ++i) {
    clients.push_back(std::make_unique<Client>(server_->port()));
    clients.back()->Send(Post("/tokenize", body));
  }
  int late = 0;
  for (const auto& client : clients) {
    late += client->Read().find("HTTP/1.1 504") != std::string::npos ? 1 : 0;
  }
  EXPECT_GE(late, 2);
}

TEST_F(ServerTest, ALongRequestIsReadBesideStreams) {
  Start();
  Client stream(server_->port());
  stream.Send(Post("/v1/completions", LongStream(240)));
  stream.Read(200);
  // Read by the other thread; it is too long, which is told at its end.
  Client dear(server_->port());
  dear.Send(Post("/v1/completions", {{"model", "base"}, {"prompt", std::string(2'000'000, 'x')}}));
  EXPECT_THAT(stream.Read(), HasSubstr("[DONE]"));
  EXPECT_THAT(dear.Read(), HasSubstr("HTTP/1.1 400"));
  // A client that goes away meanwhile leaves nothing.
  {
    Client gone(server_->port());
    json body = Chat(std::string(100'000, 'x'), false);
    gone.Send(Post("/v1/chat/completions", body));
  }
  ExpectIdle();
}

TEST_F(ServerTest, TheSecondStopEndsAtOnce) {
  Start();
  json body = LongStream(240);
  body["n"] = 100;
  Client client(server_->port());
  client.Send(Post("/v1/completions", body));
  client.Read(200);
  server_->Stop();
  server_->Stop();
  thread_.join();
  server_.reset();
}

TEST(LoadApiKeys, SaysTheLineAndNeverTheKey) {
  const std::string path = testing::TempDir() + "/keys";
  ASSERT_TRUE(WriteFileAtomically(path, "# ours\r\nlong-enough\n\nother-key-1\r\n").ok());
  EXPECT_EQ(*LoadApiKeys(path), (std::vector<std::string>{"long-enough", "other-key-1"}));
  for (const char* text : {"", "# none\n", "long-enough\nwith space 1\n", "long-enough\nshort\n"}) {
    ASSERT_TRUE(WriteFileAtomically(path, text).ok());
    const Status status = LoadApiKeys(path).status();
    EXPECT_FALSE(status.ok()) << text;
    EXPECT_THAT(status.message(), testing::Not(HasSubstr("short")));
  }
}

}  // namespace
}  // namespace onepass
