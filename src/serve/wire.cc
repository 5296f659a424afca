#include "serve/wire.h"

#include <algorithm>
#include <array>
#include <utility>

#include "chain/result_json.h"
#include "core/quote.h"
#include "core/utf8.h"
#include "format/strict_json.h"

namespace onepass {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr int kMaxLogprobs = 20;

ApiError BadRequest(std::string message, std::string param = {}) {
  return {.http_status = 400,
          .type = "invalid_request_error",
          .message = std::move(message),
          .param = std::move(param),
          .code = {}};
}

// Reads the keys of a request's object. The first fault is kept, and every later read does nothing.
class Body {
 public:
  Body(const json& object, std::string_view text) : object_(object), text_(text) {}

  bool failed() const { return error_.has_value(); }
  const ApiError& error() const { return *error_; }
  // found: part of the value; null: all of it.
  void Fail(const std::string& key, const std::string& wanted, const json* found = nullptr) {
    if (failed()) return;
    const auto value = object_.find(key);
    if (found == nullptr && value != object_.end()) found = &*value;
    std::string what = found == nullptr ? "nothing" : DescribeJson(*found);
    if (found != nullptr && found->is_structured() && found->empty()) what = "an empty one";
    error_ = BadRequest(key + ": want " + wanted + ", found " + what, key);
  }
  void Fail(const std::string& key, const Status& status) {
    if (!failed()) error_ = BadRequest(key + ": " + status.message(), key);
  }

  // The value; null where the key is absent or null.
  const json* Find(const char* key) {
    known_.emplace_back(key);
    const auto found = object_.find(key);
    return failed() || found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  // The same; null also where it is empty and the record's fields stand beside it.
  const json* FindUnlessFields(const char* key) {
    const json* value = Find(key);
    if (value == nullptr || Find("fields") == nullptr) return value;
    const bool empty = value->empty() || (value->is_string() && *value == "");
    return empty ? nullptr : value;
  }

  // The value's text as the body spells it.
  std::string_view Spelled(const char* key) const { return SpelledValue(text_, key); }

  void Text(const char* key, std::string* out) {
    const json* value = Find(key);
    if (value == nullptr) return;
    if (!value->is_string()) return Fail(key, "a string");
    *out = value->get<std::string>();
  }
  void Flag(const char* key, bool* out) {
    const json* value = Find(key);
    if (value == nullptr) return;
    if (!value->is_boolean()) return Fail(key, "true or false");
    *out = value->get<bool>();
  }
  void Real(const char* key, double low, double high, std::optional<double>* out) {
    const json* value = Find(key);
    if (value == nullptr) return;
    const std::string wanted = "a number from " + json(low).dump() + " to " + json(high).dump();
    if (!value->is_number()) return Fail(key, wanted);
    const double number = value->get<double>();
    if (!(number >= low && number <= high)) return Fail(key, wanted);
    *out = number;
  }
  void Integer(const char* key, int64_t low, int64_t high, std::optional<int64_t>* out) {
    const json* value = Find(key);
    if (value == nullptr) return;
    const bool fits = value->is_number_integer() &&
                      (!value->is_number_unsigned() || value->get<uint64_t>() <= INT64_MAX);
    if (!fits || value->get<int64_t>() < low || value->get<int64_t>() > high) {
      return Fail(key, "an integer from " + std::to_string(low) + " to " + std::to_string(high));
    }
    *out = value->get<int64_t>();
  }
  // What changes an answer and cannot be done is refused, but for values that ask for nothing.
  void Refuse(const char* key, const std::vector<json>& neutral = {}) {
    const json* value = Find(key);
    if (value == nullptr) return;
    const bool empty = (value->is_number() && value->get<double>() == 0) || *value == false ||
                       (value->is_structured() && value->empty());
    if (empty || std::ranges::find(neutral, *value) != neutral.end()) return;
    if (failed()) return;
    error_ = BadRequest(
        std::string(key) + ": this server does not support it, found " + DescribeJson(*value), key);
  }
  void Ignore(const char* key) { known_.emplace_back(key); }

  // Keys that nobody asked for.
  void Finish() {
    for (const auto& [key, value] : object_.items()) {
      if (failed()) return;
      if (std::ranges::find(known_, key) != known_.end()) continue;
      error_ = BadRequest("Unrecognized request argument supplied: " + Quote(key),
                          key.substr(0, CharacterBorder(key, 64)));
    }
  }

 private:
  const json& object_;
  std::string_view text_;
  std::vector<std::string> known_;
  std::optional<ApiError> error_;
};

Parsed<json> ParseObject(std::string_view text, const WireLimits& limits) {
  Result<json> value = ParseStrictJson(
      text, "request body", {.max_depth = limits.max_depth, .max_values = limits.max_values});
  if (!value.ok()) return {.value = {}, .error = BadRequest(value.status().message())};
  if (!value->is_object()) {
    return {.value = {},
            .error = BadRequest("request body: want an object, found " + DescribeJson(*value))};
  }
  return {.value = std::move(value).value(), .error = {}};
}

// A request from a body: `read` takes the keys that it knows; others are faults.
template <class T, class Read>
Parsed<T> ParseBody(std::string_view text, const WireLimits& limits, Read read) {
  const Parsed<json> object = ParseObject(text, limits);
  if (!object.value) return {.value = {}, .error = object.error};
  Body body(*object.value, text);
  T request;
  read(body, &request);
  body.Finish();
  if (body.failed()) return {.value = {}, .error = body.error()};
  return {.value = std::move(request), .error = {}};
}

void ReadFields(Body& body, const WireLimits& limits,
                std::optional<std::vector<RecordField>>* out) {
  const json* value = body.Find("fields");
  if (value == nullptr) return;
  if (!value->is_object()) return body.Fail("fields", "an object of a record's fields");
  // Numbers are what the request spells, as those of a file are: 1.50 is not 1.5.
  Result<Record> record =
      ParseRecord(body.Spelled("fields"), 1, 0, {.max_depth = limits.max_depth});
  if (!record.ok()) return body.Fail("fields", record.status());
  *out = std::move(record->fields);
}

void ReadHandoff(Body& body, std::optional<Handoff>* out) {
  const json* value = body.Find("handoff");
  if (value == nullptr) return;
  const Result<Handoff> handoff = ParseHandoff(value->is_string() ? value->get<std::string>() : "");
  if (!handoff.ok()) return body.Fail("handoff", "kv, text or text-cached");
  *out = *handoff;
}

void ReadStop(Body& body, const WireLimits& limits, std::vector<std::string>* out) {
  const json* value = body.Find("stop");
  if (value == nullptr) return;
  const std::string wanted = "a string or at most " + std::to_string(limits.max_stops) +
                             " of them, each of 1 to " + std::to_string(limits.max_stop_bytes) +
                             " bytes";
  const json list = value->is_array() ? *value : json::array({*value});
  if (std::ssize(list) > limits.max_stops) return body.Fail("stop", wanted);
  for (const json& stop : list) {
    const int64_t size = stop.is_string() ? std::ssize(stop.get_ref<const std::string&>()) : 0;
    if (size < 1 || size > limits.max_stop_bytes) return body.Fail("stop", wanted, &stop);
    out->push_back(stop.get<std::string>());
  }
}

void ReadSampling(Body& body, const WireLimits& limits, SamplingRequest* sampling) {
  body.Real("temperature", 0, 2, &sampling->temperature);
  body.Real("top_p", 0, 1, &sampling->top_p);
  if (sampling->top_p && *sampling->top_p == 0) body.Fail("top_p", "a number above 0, at most 1");
  body.Integer("top_k", -1, INT32_MAX, &sampling->top_k);
  if (sampling->top_k == -1) sampling->top_k = 0;
  body.Integer("max_tokens", 1, INT32_MAX, &sampling->max_tokens);
  body.Integer("max_completion_tokens", 1, INT32_MAX, &sampling->max_tokens);
  std::optional<int64_t> seed;
  body.Integer("seed", INT64_MIN, INT64_MAX, &seed);
  if (seed) sampling->seed = static_cast<uint64_t>(*seed);
  body.Flag("ignore_eos", &sampling->ignore_eos);
  ReadStop(body, limits, &sampling->stop);
}

void ReadPrompts(Body& body, const WireLimits& limits, std::vector<std::string>* out) {
  const json* value = body.FindUnlessFields("prompt");
  if (value == nullptr) return;
  const std::string wanted =
      "a string or a list of 1 to " + std::to_string(limits.max_choices) + " strings";
  const json list = value->is_array() ? *value : json::array({*value});
  if (list.empty() || std::ssize(list) > limits.max_choices) return body.Fail("prompt", wanted);
  for (const json& prompt : list) {
    if (!prompt.is_string()) return body.Fail("prompt", wanted + " (no token ids)", &prompt);
    out->push_back(prompt.get<std::string>());
  }
}

// A string, or a list of {"type": "text", "text": "..."}.
bool ReadContent(const json& content, std::string* out) {
  if (content.is_string()) {
    *out = content.get<std::string>();
    return true;
  }
  if (!content.is_array()) return false;
  for (const json& part : content) {
    if (!part.is_object() || part.value("type", json()) != "text" || !part.contains("text") ||
        !part["text"].is_string()) {
      return false;
    }
    *out += part["text"].get<std::string>();
  }
  return true;
}

void ReadMessages(Body& body, std::vector<ChatMessage>* out) {
  const json* value = body.FindUnlessFields("messages");
  if (value == nullptr) return;
  if (!value->is_array() || value->empty()) return body.Fail("messages", "a list of messages");
  for (size_t i = 0; i < value->size(); ++i) {
    const json& message = (*value)[i];
    const std::string place = "messages[" + std::to_string(i) + "]";
    ChatMessage& read = out->emplace_back();
    if (message.is_object() && message.contains("role") && message["role"].is_string()) {
      read.role = message["role"].get<std::string>();
    }
    if (read.role == "developer") read.role = "system";
    if (read.role != "system" && read.role != "user" && read.role != "assistant") {
      const bool has_role = message.is_object() && message.contains("role");
      return body.Fail("messages", "the role system, developer, user or assistant in " + place,
                       has_role ? &message["role"] : &message);
    }
    if (!message.contains("content") || !ReadContent(message["content"], &read.text)) {
      return body.Fail("messages", "text as the content of " + place, &message);
    }
  }
}

void ReadLogprobs(Body& body, bool chat, int* out) {
  if (!chat) {
    std::optional<int64_t> count;
    body.Integer("logprobs", 0, kMaxLogprobs, &count);
    if (count) *out = static_cast<int>(*count);
    return;
  }
  bool wanted = false;
  std::optional<int64_t> count;
  body.Flag("logprobs", &wanted);
  body.Integer("top_logprobs", 0, kMaxLogprobs, &count);
  if (count && !wanted) return body.Fail("top_logprobs", "logprobs: true beside it");
  if (wanted) *out = static_cast<int>(count.value_or(0));
}

void ReadStream(Body& body, GenerationRequest* request) {
  body.Flag("stream", &request->stream);
  const json* options = body.Find("stream_options");
  if (options == nullptr) return;
  if (!options->is_object()) return body.Fail("stream_options", "an object");
  if (!request->stream) return body.Fail("stream_options", "stream: true beside it");
  for (const auto& [key, value] : options->items()) {
    if (key == "include_usage" && value.is_boolean()) {
      request->include_usage = value.get<bool>();
    } else if (key != "include_obfuscation") {
      return body.Fail("stream_options", "include_usage, true or false");
    }
  }
}

ordered_json OrNull(const std::string& text) {
  return text.empty() ? ordered_json() : ordered_json(text);
}

ordered_json BytesOf(const std::string& text) {
  ordered_json bytes = ordered_json::array();
  for (const unsigned char c : text) bytes.push_back(c);
  return bytes;
}

}  // namespace

std::string ErrorToJson(const ApiError& error) {
  ordered_json body;
  body["error"]["message"] = error.message;
  body["error"]["type"] = error.type;
  body["error"]["param"] = OrNull(error.param);
  body["error"]["code"] = OrNull(error.code);
  return JsonLine(body);
}

ApiError ErrorOf(const Status& status) {
  ApiError error{.http_status = 500,
                 .type = "server_error",
                 .message = status.message(),
                 .param = {},
                 .code = {}};
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
    case StatusCode::kUnsupported:
      error.http_status = 400;
      error.type = "invalid_request_error";
      break;
    case StatusCode::kNotFound:
      error.http_status = 404;
      error.type = "invalid_request_error";
      break;
    case StatusCode::kExhausted:
      error.http_status = 429;
      error.type = "rate_limit_error";
      error.code = "overloaded";
      break;
    case StatusCode::kDeadline:
      error.http_status = 504;
      error.type = "timeout_error";
      error.code = "deadline_exceeded";
      break;
    case StatusCode::kUnavailable:
      error.http_status = 503;
      error.type = "server_error";
      error.code = "unavailable";
      break;
    case StatusCode::kOk:
    case StatusCode::kIoError:
      break;
  }
  return error;
}

Status SamplingRequest::ApplyTo(int answer_stage, std::vector<OutputOptions>* outputs) const {
  for (OutputOptions& output : *outputs) {
    if (seed) output.sampling.seed = *seed;
  }
  OutputOptions& answer = (*outputs)[answer_stage];
  if (temperature) answer.sampling.temperature = *temperature;
  if (top_p) answer.sampling.top_p = *top_p;
  if (top_k) answer.sampling.top_k = *top_k;
  if (max_tokens) answer.max_tokens = *max_tokens;
  answer.stop_strings.insert(answer.stop_strings.end(), stop.begin(), stop.end());
  answer.logprobs = logprobs;
  answer.ignore_stop_tokens = ignore_eos;
  return answer.sampling.Validate();
}

Parsed<GenerationRequest> ParseGeneration(std::string_view text, bool chat,
                                          const WireLimits& limits) {
  return ParseBody<GenerationRequest>(text, limits, [&](Body& body, GenerationRequest* request) {
    body.Text("model", &request->model);
    if (request->model.empty()) body.Fail("model", "the name of a model");
    ReadFields(body, limits, &request->fields);
    ReadHandoff(body, &request->handoff);
    if (chat) {
      ReadMessages(body, &request->messages);
      if (request->messages.empty() && !request->fields)
        body.Fail("messages", "a list of messages");
    } else {
      ReadPrompts(body, limits, &request->prompts);
      if (request->prompts.empty() && !request->fields) body.Fail("prompt", "a string");
    }
    ReadSampling(body, limits, &request->sampling);
    std::optional<int64_t> n;
    body.Integer("n", 1, limits.max_choices, &n);
    request->n = n.value_or(1);
    if (request->n * std::max<int64_t>(1, std::ssize(request->prompts)) > limits.max_choices) {
      body.Fail("n", "at most " + std::to_string(limits.max_choices) + " choices in all");
    }
    ReadLogprobs(body, chat, &request->sampling.logprobs);
    ReadStream(body, request);
    body.Flag("return_token_ids", &request->return_token_ids);

    body.Refuse("best_of", {json(request->n)});
    body.Refuse("echo");
    body.Refuse("suffix", {""});
    body.Refuse("logit_bias");
    body.Refuse("presence_penalty");
    body.Refuse("frequency_penalty");
    body.Refuse("response_format", {{{"type", "text"}}});
    body.Refuse("tools");
    body.Refuse("tool_choice", {"none", "auto"});
    body.Refuse("functions");
    body.Refuse("function_call", {"none", "auto"});
    body.Refuse("modalities", {{"text"}});
    body.Refuse("audio");
    body.Refuse("prediction");
    body.Refuse("web_search_options");
    for (const char* key :
         {"user", "metadata", "store", "service_tier", "parallel_tool_calls", "safety_identifier",
          "prompt_cache_key", "reasoning_effort", "verbosity"}) {
      body.Ignore(key);
    }
  });
}

Parsed<ChainRunRequest> ParseChainRun(std::string_view text, const WireLimits& limits) {
  return ParseBody<ChainRunRequest>(text, limits, [&](Body& body, ChainRunRequest* request) {
    std::optional<std::vector<RecordField>> fields;
    ReadFields(body, limits, &fields);
    if (!fields) return body.Fail("fields", "an object of a record's fields");
    request->fields = *std::move(fields);
    ReadHandoff(body, &request->handoff);
    ReadSampling(body, limits, &request->sampling);
    body.Flag("stream", &request->stream);
  });
}

Parsed<TokenizeRequest> ParseTokenize(std::string_view text, const WireLimits& limits) {
  return ParseBody<TokenizeRequest>(text, limits, [](Body& body, TokenizeRequest* request) {
    if (body.Find("prompt") == nullptr) body.Fail("prompt", "a string");
    body.Text("prompt", &request->text);
    body.Flag("add_special_tokens", &request->add_special_tokens);
    body.Ignore("model");
  });
}

Parsed<std::vector<TokenId>> ParseDetokenize(std::string_view text, const WireLimits& limits) {
  // A list of tokens may be as long as the body.
  const WireLimits long_list{.max_depth = limits.max_depth, .max_values = std::ssize(text) + 1};
  return ParseBody<std::vector<TokenId>>(
      text, long_list, [](Body& body, std::vector<TokenId>* tokens) {
        const std::string wanted = "a list of token ids, 0 to 2147483647";
        body.Ignore("model");
        const json* list = body.Find("tokens");
        if (list == nullptr || !list->is_array()) return body.Fail("tokens", wanted);
        for (const json& token : *list) {
          if (!token.is_number_unsigned() || token.get<uint64_t>() > INT32_MAX) {
            return body.Fail("tokens", wanted);
          }
          tokens->push_back(token.get<TokenId>());
        }
      });
}

void Usage::Add(const RecordResult& result) {
  for (const StageResult& stage : result.stages) {
    prompt += stage.tokens_prefilled + stage.tokens_reused;
    cached += stage.tokens_reused;
    completion += std::ssize(stage.sampled());
  }
}

ordered_json UsageToJson(const Usage& usage) {
  ordered_json json;
  json["prompt_tokens"] = usage.prompt;
  json["completion_tokens"] = usage.completion;
  json["total_tokens"] = usage.prompt + usage.completion;
  json["prompt_tokens_details"]["cached_tokens"] = usage.cached;
  return json;
}

ordered_json CompletionLogprobs(std::span<const TokenLogprob> tokens) {
  ordered_json json;
  for (const char* key : {"tokens", "token_logprobs", "top_logprobs", "text_offset"}) {
    json[key] = ordered_json::array();
  }
  for (const TokenLogprob& token : tokens) {
    json["tokens"].push_back(token.token);
    json["token_logprobs"].push_back(token.logprob);
    ordered_json top = ordered_json::object();
    for (const auto& [text, logprob] : token.likeliest) top[text] = logprob;
    if (!token.likeliest.empty()) top[token.token] = token.logprob;  // one more, if it is not there
    json["top_logprobs"].push_back(std::move(top));
    json["text_offset"].push_back(token.offset);
  }
  return json;
}

ordered_json ChatLogprobs(std::span<const TokenLogprob> tokens) {
  const auto entry = [](const std::string& token, float logprob) {
    ordered_json json;
    json["token"] = token;
    json["logprob"] = logprob;
    json["bytes"] = BytesOf(token);
    return json;
  };
  ordered_json content = ordered_json::array();
  for (const TokenLogprob& token : tokens) {
    ordered_json json = entry(token.token, token.logprob);
    json["top_logprobs"] = ordered_json::array();
    for (const auto& [text, logprob] : token.likeliest) {
      json["top_logprobs"].push_back(entry(text, logprob));
    }
    content.push_back(std::move(json));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

std::string SseEvent(std::string_view json, std::string_view name) {
  std::string event;
  if (!name.empty()) event += "event: " + std::string(name) + "\n";
  event += "data: ";
  event += json;
  event += "\n\n";
  return event;
}

}  // namespace onepass
