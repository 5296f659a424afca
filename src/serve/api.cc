#include "serve/api.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <random>

#include "chain/explain.h"
#include "chain/result_json.h"
#include "core/hash.h"
#include "core/quote.h"
#include "serve/page.h"

namespace onepass {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

ApiError NotThere(std::string message) {
  return {.http_status = 404,
          .type = "invalid_request_error",
          .message = std::move(message),
          .param = {},
          .code = {}};
}

ApiError NoModel(const std::string& id) {
  ApiError error = NotThere("The model " + Quote(id) + " does not exist");
  error.param = "model";
  error.code = "model_not_found";
  return error;
}

// %41 -> A; none: it is not well-formed.
std::optional<std::string> PercentDecoded(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    if (i + 2 >= text.size() || digit(text[i + 1]) < 0 || digit(text[i + 2]) < 0) return {};
    decoded += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
    i += 2;
  }
  return decoded;
}

// As long as the texts are, wherever they differ: time tells nothing of a key.
bool Equal(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned char difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]);
  }
  return difference == 0;
}

bool IsJson(std::string_view content_type) {
  const std::string type = LowerAscii(content_type.substr(0, content_type.find(';')));
  return type.substr(0, type.find_last_not_of(" \t") + 1) == "application/json";
}

// "name:8000", "[::1]:8000" -> name, ::1
std::string NameOfHost(std::string_view host) {
  if (host.starts_with('[')) return std::string(host.substr(1, host.find(']') - 1));
  return LowerAscii(host.substr(0, host.find(':')));
}

bool IsAddress(const std::string& text) {
  in6_addr address{};
  return inet_pton(AF_INET, text.c_str(), &address) == 1 ||
         inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

const char* NameOf(ServedModel::Kind kind) {
  switch (kind) {
    case ServedModel::Kind::kChain:
      return "chain";
    case ServedModel::Kind::kStage:
      return "stage";
    case ServedModel::Kind::kBase:
      return "base";
  }
  return "?";
}

}  // namespace

struct Api::Call {
  HttpRequest request;
  std::shared_ptr<HttpExchange> exchange;
  std::string id;
  std::string rest;   // of the path, behind the route's, decoded
  const char* route;  // for the log, which has no paths
  std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();
  GenerationContext context;
};

Api::Api(const Base& base, const ModelCatalog& catalog, EngineThread& engine, WorkerThread& reader,
         EventLog& log, ApiOptions options, std::function<void(std::function<void()>)> post)
    : base_(base),
      catalog_(catalog),
      engine_(engine),
      reader_(reader),
      log_(log),
      options_(std::move(options)),
      post_(std::move(post)),
      created_(std::chrono::duration_cast<std::chrono::seconds>(
                   std::chrono::system_clock::now().time_since_epoch())
                   .count()) {
  std::random_device random;
  id_seed_ = (uint64_t{random()} << 32) | random();
}

const std::vector<Api::Route>& Api::Routes() {
  static const std::vector<Route> routes = {
      {"GET", "/", true, &Api::Page, nullptr},
      {"GET", "/health", true, &Api::Health, nullptr},
      {"GET", "/ready", true, &Api::Ready, nullptr},
      {"GET", "/version", true, &Api::Version, nullptr},
      {"GET", "/metrics", true, &Api::Metrics, nullptr},
      {"GET", "/v1/models", false, &Api::ListModels, nullptr},
      {"GET", "/v1/models/*", false, &Api::GetModel, nullptr},
      {"POST", "/v1/completions", false, nullptr, &Api::ReadCompletion},
      {"POST", "/v1/chat/completions", false, nullptr, &Api::ReadChat},
      {"GET", "/v1/chains/*", false, &Api::GetChain, nullptr},
      {"POST", "/v1/chains/*", false, nullptr, &Api::ReadChainRun},
      {"POST", "/tokenize", false, nullptr, &Api::ReadTokenize},
      {"POST", "/detokenize", false, nullptr, &Api::ReadDetokenize},
  };
  return routes;
}

HttpResponse Api::Fault(int status, std::string_view why) {
  metrics_.RequestRejected(status);
  log_.Write("warning", "refused", {{"status", status}});
  ApiError error{.http_status = status,
                 .type = status >= 500 ? "server_error" : "invalid_request_error",
                 .message = std::string(why),
                 .param = {},
                 .code = {}};
  return ErrorResponse(error);
}

void Api::Answer(const Call& call, HttpResponse response) {
  response.headers.emplace_back("X-Request-Id", call.id);
  call.exchange->Respond(std::move(response));
}

void Api::Refuse(const Call& call, const ApiError& error, const std::string& allow) {
  metrics_.RequestRejected(error.http_status);
  log_.Write("warning", "refused",
             {{"id", call.id}, {"route", call.route}, {"status", error.http_status}});
  HttpResponse response = ErrorResponse(error);
  if (!allow.empty()) response.headers.emplace_back("Allow", allow);
  if (error.http_status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  Answer(call, std::move(response));
}

bool Api::HasKey(const HttpRequest& request) const {
  if (options_.keys.empty()) return true;
  std::string_view given = request.Header("authorization");
  constexpr std::string_view kBearer = "bearer ";  // in any case (RFC 9110)
  if (LowerAscii(given.substr(0, kBearer.size())) != kBearer) return false;
  given.remove_prefix(kBearer.size());
  bool found = false;
  for (const std::string& key : options_.keys) found = Equal(key, given) || found;
  return found;
}

// A page of another site may have its own name mean this machine's address (DNS rebinding); it
// cannot choose what Host says. Clients of HTTP/1.0 need not say it.
bool Api::IsForUs(const HttpRequest& request) const {
  const std::string_view host = request.Header("host");
  if (!options_.check_host || host.empty()) return true;
  const std::string name = NameOfHost(host);
  return name == "localhost" || IsAddress(name) ||
         std::ranges::any_of(options_.hosts,
                             [&](const std::string& known) { return NameOfHost(known) == name; });
}

void Api::Handle(HttpRequest request, const std::shared_ptr<HttpExchange>& exchange) {
  Call call{.request = std::move(request),
            .exchange = exchange,
            .id = HexDigits(HashCombine(id_seed_, ++request_count_)),
            .rest = {},
            .route = "?"};
  if (!IsForUs(call.request)) {
    return Refuse(call, {.http_status = 403,
                         .type = "invalid_request_error",
                         .message = "Host: want localhost, an address or a name of --allow-host",
                         .param = {},
                         .code = {}});
  }
  const Route* match = nullptr;
  std::string allowed;
  const std::string method = call.request.method == "HEAD" ? "GET" : call.request.method;
  for (const Route& route : Routes()) {
    std::string_view path = route.path;
    const bool prefix = path.ends_with('*');
    if (prefix) path.remove_suffix(1);
    const std::string& asked = call.request.path;
    if (prefix ? !asked.starts_with(path) || asked.size() == path.size() : asked != path) continue;
    call.route = route.path;
    if (method != route.method) {
      allowed += (allowed.empty() ? "" : ", ") + std::string(route.method);
      continue;
    }
    match = &route;
    const auto rest = PercentDecoded(std::string_view(asked).substr(path.size()));
    if (!rest) return Refuse(call, NotThere("the path is not well-formed"));
    call.rest = *rest;
  }
  if (match == nullptr && !allowed.empty()) {
    ApiError error = NotThere("want the method " + allowed);
    error.http_status = 405;
    return Refuse(call, error, allowed);
  }
  if (match == nullptr) return Refuse(call, NotThere("there is nothing at this path"));
  if (!match->open && !HasKey(call.request)) {
    return Refuse(call, {.http_status = 401,
                         .type = "invalid_request_error",
                         .message = "want an API key that is known (Authorization: Bearer KEY)",
                         .param = {},
                         .code = "invalid_api_key"});
  }
  // No page of another site can send this type without asking first.
  if (method == "POST" && !IsJson(call.request.Header("content-type"))) {
    return Refuse(call, {.http_status = 415,
                         .type = "invalid_request_error",
                         .message = "want the content type application/json",
                         .param = {},
                         .code = {}});
  }
  if (match->handler != nullptr) return (this->*match->handler)(call);
  Read(match->reader, std::move(call));
}

// Streams go on meanwhile.
void Api::Read(Reader reader, Call call) {
  if (draining_) return Refuse(call, ErrorOf(Unavailable("the server is stopping")));
  call.context = ContextOf(call);
  constexpr int64_t kBytesAMicrosecond = 7;  // of JSON and tokenising, or less
  const std::chrono::microseconds cost(std::ssize(call.request.body) / kBytesAMicrosecond);
  auto shared = std::make_shared<const Call>(std::move(call));
  // What is done hands the call back whole: it must die on the HTTP server's thread.
  reader_.Run(cost, [this, reader, shared = std::move(shared)]() mutable {
    const Reply fault = [](Api& api, const Call& of) {
      api.Refuse(of, ErrorOf(Unavailable("the server could not read the request")));
    };
    Reply reply;
    try {
      const bool late =
          std::chrono::steady_clock::now() - shared->begin > options_.max_request_time;
      reply = late ? Refusing(ErrorOf(RequestIsLate())) : (this->*reader)(*shared);
    } catch (const std::exception&) {  // of a library: no memory, above all
      reply = fault;
    }
    post_([this, fault, moved = std::move(reply), of = std::move(shared)] {
      --running_;
      try {
        moved(*this, *of);
      } catch (const std::exception&) {
        fault(*this, *of);
      }
    });
  });
  ++running_;
}

void Api::Health(const Call& call) { Answer(call, {.body = R"({"status":"ok"})"}); }

void Api::Ready(const Call& call) {
  if (draining_) return Answer(call, {.status = 503, .body = R"({"status":"draining"})"});
  Answer(call, {.body = R"({"status":"ready"})"});
}

void Api::Version(const Call& call) {
  Answer(call, {.body = JsonLine({{"version", options_.version}})});
}

void Api::Page(const Call& call) {
  Answer(call,
         {.content_type = "text/html; charset=utf-8",
          .headers = {{"Content-Security-Policy",
                       "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
                       "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
                       "frame-ancestors 'none'"},
                      {"X-Content-Type-Options", "nosniff"}},
          .body = std::string(kPage)});
}

void Api::Metrics(const Call& call) {
  Answer(call, {.content_type = "text/plain; version=0.0.4; charset=utf-8",
                .headers = {},
                .body = metrics_.Expose(engine_.stats())});
}

ordered_json Api::ToJson(const ServedModel& model) const {
  return {{"id", model.id()},
          {"object", "model"},
          {"created", created_},
          {"owned_by", "onepass"},
          {"kind", NameOf(model.kind())},
          {"max_model_len", base_.config().max_positions}};
}

void Api::ListModels(const Call& call) {
  ordered_json list = ordered_json::array();
  for (const auto& model : catalog_.models()) list.push_back(ToJson(*model));
  Answer(call, {.body = JsonLine({{"object", "list"}, {"data", std::move(list)}})});
}

const ServedModel* Api::FindModel(const Call& call, const std::string& id) {
  const ServedModel* model = catalog_.Find(id);
  if (model == nullptr) Refuse(call, NoModel(id));
  return model;
}

void Api::GetModel(const Call& call) {
  const ServedModel* model = FindModel(call, call.rest);
  if (model != nullptr) Answer(call, {.body = JsonLine(ToJson(*model))});
}

GenerationContext Api::ContextOf(const Call& call) {
  return {.tokenizer = base_.tokenizer.get(),
          .engine = &engine_,
          .post = post_,
          .reader = &reader_,
          .begin = call.begin,
          .max_time = options_.max_request_time,
          .retry_after_seconds =
              [this] {
                const SchedulerStats now = engine_.stats();
                const double ahead = static_cast<double>(now.waiting) /
                                     static_cast<double>(std::max<int64_t>(1, now.running));
                return std::clamp<int64_t>(
                    static_cast<int64_t>(std::ceil((ahead + 1) * mean_seconds_)), 1, 60);
              },
          .on_end =
              [this, id = call.id, route = call.route](const RequestFacts& facts, int status) {
                --running_;
                if (status == 200) mean_seconds_ += 0.1 * (facts.total - mean_seconds_);
                if (status != 200 && status != 499) metrics_.RequestRejected(status);
                metrics_.RequestEnded(facts);
                log_.Write(status >= 500 ? "warning" : "info", "request",
                           {{"id", id},
                            {"route", route},
                            {"model", facts.model},
                            {"status", status},
                            {"reason", facts.reason},
                            {"ms", std::round(facts.total * 1e5) / 1e2},
                            {"prompt_tokens", facts.usage.prompt},
                            {"cached_tokens", facts.usage.cached},
                            {"completion_tokens", facts.usage.completion}});
              }};
}

void Api::GetChain(const Call& call) {
  const ServedModel* model = FindModel(call, call.rest);
  if (model == nullptr) return;
  const BoundChain& chain = model->chain();
  ordered_json body;
  body["id"] = model->id();
  body["object"] = "chain";
  body["kind"] = NameOf(model->kind());
  body["fields"] = model->fields();
  body["api"] = {{"prompt", model->api().prompt}, {"system", model->api().system}};
  body["plans"] = ordered_json::object();
  for (const Handoff handoff : {Handoff::kKv, Handoff::kText, Handoff::kTextCached}) {
    const BoundChain* bound = model->ChainWith(handoff);
    if (bound == nullptr) continue;
    const ExplainFacts facts{
        .token_counts = {}, .prompt_lengths = bound->PromptLengths(), .layout = engine_.layout()};
    body["plans"][std::string(onepass::NameOf(handoff))] =
        ordered_json::parse(ExplainPlanJson(bound->spec(), bound->plan(), facts));
  }
  body["handoff"] = onepass::NameOf(chain.spec().handoff);
  Answer(call, {.body = JsonLine(body)});
}

Api::Reply Api::Refusing(ApiError error) {
  return [error = std::move(error)](Api& api, const Call& call) { api.Refuse(call, error); };
}

Api::Reply Api::Answering(const ordered_json& body) {
  return [text = JsonLine(body)](Api& api, const Call& call) {
    api.Answer(call, {.headers = {}, .body = text});
  };
}

Api::Reply Api::Generating(std::shared_ptr<Generation> generation) {
  generation->Prepare();
  return [moved = std::move(generation)](Api& api, const Call&) {
    ++api.running_;
    moved->Begin();
  };
}

Api::Reply Api::ReadGeneration(const Call& call, bool chat) const {
  Parsed<GenerationRequest> parsed = ParseGeneration(call.request.body, chat, options_.limits);
  if (!parsed.value) return Refusing(parsed.error);
  const ServedModel* model = catalog_.Find(parsed.value->model);
  if (model == nullptr) return Refusing(NoModel(parsed.value->model));
  return Generating(
      NewGeneration(call.context, *model, *std::move(parsed.value), chat, call.id, call.exchange));
}

Api::Reply Api::ReadChainRun(const Call& call) const {
  constexpr std::string_view kRun = "/run";
  if (!call.rest.ends_with(kRun)) return Refusing(NotThere("there is nothing at this path"));
  const std::string id = call.rest.substr(0, call.rest.size() - kRun.size());
  const ServedModel* model = catalog_.Find(id);
  if (model == nullptr) return Refusing(NoModel(id));
  Parsed<ChainRunRequest> parsed = ParseChainRun(call.request.body, options_.limits);
  if (!parsed.value) return Refusing(parsed.error);
  return Generating(
      NewChainRun(call.context, *model, *std::move(parsed.value), call.id, call.exchange));
}

Api::Reply Api::ReadTokenize(const Call& call) const {
  const Parsed<TokenizeRequest> parsed = ParseTokenize(call.request.body, options_.limits);
  if (!parsed.value) return Refusing(parsed.error);
  const std::vector<TokenId> tokens = base_.tokenizer->Encode(
      parsed.value->text, {.add_special_tokens = parsed.value->add_special_tokens});
  return Answering({{"count", tokens.size()},
                    {"max_model_len", base_.config().max_positions},
                    {"tokens", tokens}});
}

Api::Reply Api::ReadDetokenize(const Call& call) const {
  const Parsed<std::vector<TokenId>> parsed = ParseDetokenize(call.request.body, options_.limits);
  if (!parsed.value) return Refusing(parsed.error);
  const int64_t vocabulary = base_.tokenizer->Info().vocab_size;
  for (const TokenId id : *parsed.value) {
    if (id < vocabulary) continue;
    return Refusing(
        ErrorOf(InvalidArgument("tokens: want ids from 0 to " + std::to_string(vocabulary - 1) +
                                ", found " + std::to_string(id))));
  }
  return Answering({{"prompt", base_.tokenizer->Decode(*parsed.value, false)}});
}

}  // namespace onepass
