// The API's JSON, OpenAI's and our own: what requests say, and the parts that answers share. Only
// this reads keys of requests. docs/serving.md lists them.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chain/bound_chain.h"
#include "chain/record.h"
#include "chain/record_result.h"
#include "chain/spec.h"
#include "core/status.h"
#include "tokenizer/tokenizer.h"

namespace onepass {

// An error of the API. `http_status` is the response's, the rest its body.
struct ApiError {
  int http_status = 500;
  std::string type;
  std::string message;
  std::string param;  // the request's key; empty: none
  std::string code;   // empty: none
};
// {"error": {...}}
std::string ErrorToJson(const ApiError& error);
ApiError ErrorOf(const Status& status);

// What a request sets of its answer's sampling and end; what it leaves alone is the stage's.
struct SamplingRequest {
  std::optional<double> temperature, top_p;
  std::optional<int64_t> top_k, max_tokens;
  std::optional<uint64_t> seed;  // of all stages
  bool seed_is_drawn = false;    // by the server
  std::vector<std::string> stop;
  int logprobs = -1;        // OutputOptions::logprobs
  bool ignore_eos = false;  // OutputOptions::ignore_stop_tokens

  // The options of all stages, with the request's for the one that answers.
  Status ApplyTo(int answer_stage, std::vector<OutputOptions>* outputs) const;
};

struct ChatMessage {
  std::string role;  // "system" (also for "developer"), "user", "assistant"
  std::string text;
};

// POST /v1/completions and /v1/chat/completions.
struct GenerationRequest {
  std::string model;
  std::vector<std::string> prompts;                // of completions
  std::vector<ChatMessage> messages;               // of chat
  std::optional<std::vector<RecordField>> fields;  // of a chain, in place of prompt and messages
  std::optional<Handoff> handoff;
  SamplingRequest sampling;
  int64_t n = 1;
  bool stream = false;
  bool include_usage = false;
  bool return_token_ids = false;
};

// POST /v1/chains/{name}/run
struct ChainRunRequest {
  std::vector<RecordField> fields;
  std::optional<Handoff> handoff;
  SamplingRequest sampling;
  bool stream = false;
};

struct WireLimits {
  int max_depth = 16;
  int64_t max_values = 20'000;
  int64_t max_choices = 128;  // prompts times n
  int64_t max_stops = 16, max_stop_bytes = 1024;
};

template <class T>
struct Parsed {
  std::optional<T> value;
  ApiError error;  // where there is no value
};
Parsed<GenerationRequest> ParseGeneration(std::string_view body, bool chat,
                                          const WireLimits& limits);
Parsed<ChainRunRequest> ParseChainRun(std::string_view body, const WireLimits& limits);
struct TokenizeRequest {
  std::string text;
  bool add_special_tokens = true;
};
Parsed<TokenizeRequest> ParseTokenize(std::string_view body, const WireLimits& limits);
Parsed<std::vector<TokenId>> ParseDetokenize(std::string_view body, const WireLimits& limits);

// Tokens of a request: what each stage read and wrote, summed. `cached` is the part of `prompt`
// whose KV was there already.
struct Usage {
  int64_t prompt = 0, cached = 0, completion = 0;
  void Add(const RecordResult& result);
};
nlohmann::ordered_json UsageToJson(const Usage& usage);

// Of an answer's tokens, as completions and as chat write them.
struct TokenLogprob {
  std::string token;  // its text alone; U+FFFD for a part of a character
  size_t offset = 0;  // characters of the answer before it
  float logprob = 0;
  std::vector<std::pair<std::string, float>> likeliest;
};
nlohmann::ordered_json CompletionLogprobs(std::span<const TokenLogprob> tokens);
nlohmann::ordered_json ChatLogprobs(std::span<const TokenLogprob> tokens);

// "data: {...}\n\n", with the event's name where there is one.
std::string SseEvent(std::string_view json, std::string_view name = {});

}  // namespace onepass
