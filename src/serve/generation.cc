#include "serve/generation.h"

#include <algorithm>
#include <functional>
#include <random>
#include <utility>

#include "chain/result_json.h"
#include "core/quote.h"
#include "core/utf8.h"

namespace onepass {
namespace {

using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

Status NotFinished() { return Unavailable("the server could not finish the request"); }

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

int64_t UnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// A request that asks for chance has another draw each time, unless it says which.
template <class Request>
Request Seeded(Request request) {
  SamplingRequest& sampling = request.sampling;
  if (sampling.temperature.value_or(0) > 0 && !sampling.seed) {
    sampling.seed = std::random_device()();
    sampling.seed_is_drawn = true;
  }
  return request;
}

const char* OpenAiName(FinishReason reason) {
  return reason == FinishReason::kLength ? "length" : "stop";
}

// What both kinds of request do: make runs and submit them, take their events, end once.
class GenerationBase : public Generation, public std::enable_shared_from_this<GenerationBase> {
 public:
  // `prefix`: of the id within the answer.
  GenerationBase(const GenerationContext& context, const ServedModel& model, const char* prefix,
                 const std::string& id, std::shared_ptr<HttpExchange> exchange)
      : context_(context),
        model_(model),
        request_id_(id),
        id_(prefix + id),
        exchange_(std::move(exchange)),
        begin_(context.begin),
        deadline_(begin_ + context.max_time) {
    facts_.model = model.id();
  }

  void Prepare() override {
    try {
      orders_ = Orders();
    } catch (const std::exception&) {
      orders_ = NotFinished();
    }
  }

  void Begin() override {
    EndIfItThrows([this] {
      if (!orders_.ok()) return EndWith(orders_.status());
      if (Submit(*std::exchange(orders_, NotFinished())) && WantsStream()) BeginStream();
    });
  }

 protected:
  using RunOrders = std::vector<std::unique_ptr<RunOrder>>;
  // The request's runs.
  virtual Result<RunOrders> Orders() = 0;
  virtual bool WantsStream() const = 0;
  virtual void OnEvent(size_t run, RunEvent event) = 0;

  // What a library throws (no memory, above all) ends this request and no other.
  template <class Work>
  void EndIfItThrows(Work work) {
    try {
      work();
    } catch (const std::exception&) {
      EndWith(NotFinished());
    }
  }

  // An order for a record, or the fault of the request.
  Result<std::unique_ptr<RunOrder>> Order(std::vector<RecordField> fields, Handoff handoff,
                                          const SamplingRequest& sampling) {
    const BoundChain* chain = model_.ChainWith(handoff);
    if (chain == nullptr) {
      return InvalidArgument("handoff: " + std::string(NameOf(handoff)) +
                             " is not possible for this chain");
    }
    auto order = std::make_unique<RunOrder>();
    order->chain = chain;
    order->tools = &model_.tools();
    order->record.number = 1;
    order->record.fields = std::move(fields);
    order->outputs = chain->Outputs();
    RETURN_IF_ERROR(sampling.ApplyTo(model_.answer_stage(), &order->outputs));
    // The answer of a base or a stage may be as long as the context allows, if nobody says more.
    const bool shorten = !sampling.max_tokens && model_.kind() != ServedModel::Kind::kChain;
    const int64_t most = order->outputs.front().max_tokens;
    if (shorten) order->outputs.front().max_tokens = 1;
    ASSIGN_OR_RETURN(order->prepared, chain->Prepare(order->record, order->outputs));
    if (shorten) {
      int64_t used = std::ssize(order->prepared.inputs.shared) + chain->PromptLengths().front() +
                     std::ssize(chain->templates().StartTokens(0));
      for (const auto& own : order->prepared.inputs.own) used += std::ssize(own);
      const int64_t left = chain->base().config().max_positions - used;
      order->outputs.front().max_tokens = std::clamp<int64_t>(left, 1, most);
    }
    // Of what no run reads there shall not be a copy for each.
    std::optional<Record>& cut = order->prepared.cut_record;
    std::erase_if(cut ? cut->fields : order->record.fields, [&](const RecordField& field) {
      return std::ranges::find(model_.fields(), field.name) == model_.fields().end();
    });
    if (cut) order->record = *cut;
    order->need =
        chain->PagesOf(order->prepared, order->outputs, context_.engine->layout().page_tokens);
    order->deadline = deadline_;
    return order;
  }

  // False: the request was answered with the error.
  bool Submit(RunOrders orders) {
    // The engine's thread holds orders, but whatever dies with this, its connection above all, must
    // die on this thread: the last of the orders posts it back.
    const std::shared_ptr<void> keep(
        nullptr, [self = shared_from_this(), post = context_.post](void*) mutable {
          post([moved = std::move(self)] { moved->EndIfForgotten(); });
        });
    for (size_t i = 0; i < orders.size(); ++i) {
      orders[i]->on_event = [this, keep, i, post = context_.post](RunEvent&& event) {
        post([this, keep, i, moved = std::make_shared<RunEvent>(std::move(event))] {
          if (ended_) return;
          EndIfItThrows([&] { OnEvent(i, std::move(*moved)); });
        });
      };
    }
    Result<std::vector<uint64_t>> ids = context_.engine->Submit(std::move(orders));
    if (!ids.ok()) {
      EndWith(ids.status());
      return false;
    }
    runs_ = *std::move(ids);
    exchange_->OnClose([self = shared_from_this()] {
      if (self->ended_) return;
      self->CancelAll();
      self->End("abort", 499);
    });
    return true;
  }

  // No event comes any more: an answer that has not begun by now never would.
  void EndIfForgotten() {
    if (!answering_) EndWith(NotFinished());
  }

  void CancelAll() {
    for (const uint64_t run : runs_) context_.engine->Cancel(run);
  }

  // The whole request fails.
  void EndWith(const Status& status) {
    if (ended_) return;
    const ApiError error = ErrorOf(status);
    CancelAll();
    if (streaming_) {
      exchange_->Write(SseEvent(ErrorToJson(error), StreamErrorName()));
      exchange_->EndStream();
    } else {
      HttpResponse response = ErrorResponse(error, context_.retry_after_seconds());
      response.headers.emplace_back("X-Request-Id", request_id_);
      exchange_->Respond(std::move(response));
    }
    End("error", error.http_status);
  }
  virtual const char* StreamErrorName() const { return ""; }

  void BeginStream() {
    streaming_ = true;
    exchange_->BeginStream({.status = 200,
                            .content_type = "text/event-stream; charset=utf-8",
                            .headers = {{"Cache-Control", "no-cache"},
                                        {"X-Accel-Buffering", "no"},
                                        {"X-Request-Id", request_id_}},
                            .body = {}});
  }

  void Respond(std::string body) {
    exchange_->Respond(
        {.status = 200, .headers = {{"X-Request-Id", request_id_}}, .body = std::move(body)});
  }

  // The whole answer, of about so many values. Writing a long one would hold streams up. `write`
  // reads what nothing changes any more.
  void RespondWith(int64_t values, const char* reason, std::function<std::string()> write) {
    constexpr int64_t kLong = 4096;
    answering_ = true;
    if (values < kLong) {
      Respond(write());
      return End(reason, 200);
    }
    const std::chrono::microseconds cost(2 * values);
    context_.reader->Run(cost, [self = shared_from_this(), reason, write = std::move(write),
                                post = context_.post]() mutable {
      std::string body;
      try {
        body = write();
      } catch (const std::exception&) {  // no memory
      }
      post([self = std::move(self), reason, body = std::make_shared<std::string>(std::move(body))] {
        if (self->ended_) return;
        self->EndIfItThrows([&] {
          if (body->empty()) return self->EndWith(NotFinished());
          self->Respond(std::move(*body));
          self->End(reason, 200);
        });
      });
    });
  }

  void End(const char* reason, int http_status) {
    if (std::exchange(ended_, true)) return;
    facts_.reason = reason;
    facts_.total = SecondsSince(begin_);
    context_.on_end(facts_, http_status);
  }

  // When an answer's tokens came.
  struct Pace {
    double first = -1, last = -1;  // seconds since the request
    int64_t tokens = 0;
  };
  void SawTokens(size_t count, Pace* pace) {
    if (count == 0) return;
    pace->last = SecondsSince(begin_);
    if (pace->first < 0) pace->first = pace->last;
    if (facts_.first_token < 0) facts_.first_token = pace->first;
    pace->tokens += static_cast<int64_t>(count);
  }
  // An answer that came in one part has no pace.
  void EndPace(const Pace& pace) {
    if (pace.last <= pace.first) return;
    facts_.per_token.push_back((pace.last - pace.first) / static_cast<double>(pace.tokens - 1));
  }

  std::vector<TokenLogprob> Named(std::span<const TokenId> tokens,
                                  std::span<const TokenLogprobs> logprobs) const {
    std::vector<TokenLogprob> named;
    for (size_t i = 0; i < std::min(tokens.size(), logprobs.size()); ++i) {
      TokenLogprob& entry = named.emplace_back();
      entry.token = TextOf(tokens[i]);
      entry.logprob = logprobs[i].logprob;
      for (const auto& [token, logprob] : logprobs[i].likeliest) {
        entry.likeliest.emplace_back(TextOf(token), logprob);
      }
    }
    return named;
  }
  std::string TextOf(TokenId token) const {
    return context_.tokenizer->Decode({&token, 1}, /*skip_special=*/false);
  }

  const GenerationContext context_;
  const ServedModel& model_;
  const std::string request_id_, id_;
  const std::shared_ptr<HttpExchange> exchange_;
  const Clock::time_point begin_, deadline_;
  std::vector<uint64_t> runs_;
  RequestFacts facts_;
  bool streaming_ = false;
  bool answering_ = false;  // all is there that the answer needs
  bool ended_ = false;

 private:
  Result<RunOrders> orders_ = NotFinished();
};

class Completion final : public GenerationBase {
 public:
  Completion(const GenerationContext& context, const ServedModel& model, GenerationRequest request,
             bool chat, const std::string& id, std::shared_ptr<HttpExchange> exchange)
      : GenerationBase(context, model, chat ? "chatcmpl-" : "cmpl-", id, std::move(exchange)),
        request_(Seeded(std::move(request))),
        chat_(chat),
        created_(UnixSeconds()) {}

 private:
  Result<RunOrders> Orders() override {
    ASSIGN_OR_RETURN(const std::vector<std::vector<RecordField>> records, Records());
    const Handoff handoff = request_.handoff.value_or(model_.handoff());
    RunOrders orders;
    for (const std::vector<RecordField>& fields : records) {
      ASSIGN_OR_RETURN(const std::unique_ptr<RunOrder> order,
                       Order(fields, handoff, request_.sampling));
      std::vector<TokenId> prompt_tokens;
      if (request_.return_token_ids) {
        prompt_tokens = order->prepared.inputs.shared;
        for (const std::vector<TokenId>& own : order->prepared.inputs.own) {
          prompt_tokens.insert(prompt_tokens.end(), own.begin(), own.end());
        }
      }
      // A prompt's answers differ in their draws alone.
      for (int64_t k = 0; k < request_.n; ++k) {
        Choice& choice = choices_.emplace_back();
        choice.first_of_prompt = k == 0;
        choice.prompt_tokens = prompt_tokens;
        orders.push_back(std::make_unique<RunOrder>(*order));
        // Where nobody chose the draws, those of equal prompts differ too.
        orders.back()->record.number =
            request_.sampling.seed_is_drawn ? std::ssize(choices_) : 1 + k;
      }
    }
    return orders;
  }

  bool WantsStream() const override { return request_.stream; }

  struct Choice {
    bool first_of_prompt = false;
    std::vector<TokenId> prompt_tokens;
    size_t characters = 0;  // of the text so far
    std::vector<TokenId> tokens;
    std::vector<TokenLogprob> logprobs;
    std::string text, finish;
    Pace pace;
    bool role_sent = false, prompt_ids_sent = false;
    bool done = false;
  };

  // One a prompt, the fields of the chain's record.
  Result<std::vector<std::vector<RecordField>>> Records() const {
    std::vector<std::vector<RecordField>> records;
    if (request_.fields) {
      if (model_.kind() != ServedModel::Kind::kChain) {
        return InvalidArgument("fields: only a chain has them, found the model " +
                               Quote(model_.id()));
      }
      if (!request_.prompts.empty() || !request_.messages.empty()) {
        return InvalidArgument("fields: want them or a prompt, found both");
      }
      records.push_back(*request_.fields);
      return records;
    }
    const ApiFields& api = model_.api();
    if (api.prompt.empty()) {
      std::string names;
      for (const std::string& field : model_.fields()) names += (names.empty() ? "" : ", ") + field;
      return InvalidArgument("model " + Quote(model_.id()) + ": want \"fields\" with " + names +
                             ", for its chain does not say which of them a prompt fills");
    }
    std::vector<std::string> prompts = request_.prompts;
    std::string system;
    if (chat_) {
      ASSIGN_OR_RETURN(prompts.emplace_back(), Spoken(&system));
    }
    const auto field = [](const std::string& name, const std::string& text) {
      return RecordField{.name = name,
                         .kind = RecordField::Kind::kText,
                         .text = text,
                         .list = {},
                         .json_type = "string"};
    };
    for (const std::string& prompt : prompts) {
      std::vector<RecordField>& fields = records.emplace_back();
      fields.push_back(field(api.prompt, prompt));
      if (api.system.empty()) continue;
      if (system.empty()) {
        return InvalidArgument("messages: want a system message too, the chain's field " +
                               Quote(api.system) + " (or \"fields\"), found none");
      }
      fields.push_back(field(api.system, system));
    }
    return records;
  }

  // What the user says. A base or a stage goes on with all messages' texts, a line each; a chain
  // takes one user message, and system messages where it has a field for them.
  Result<std::string> Spoken(std::string* system) const {
    std::string text;
    const bool chain = model_.kind() == ServedModel::Kind::kChain;
    int users = 0;
    for (const ChatMessage& message : request_.messages) {
      if (!chain) {
        text += (text.empty() ? "" : "\n") + message.text;
        continue;
      }
      if (message.role == "system") {
        *system += (system->empty() ? "" : "\n") + message.text;
      } else if (message.role == "user" && ++users == 1) {
        text = message.text;
      } else {
        return InvalidArgument("messages: a chain answers one user message, found " +
                               std::string(users > 1 ? "several" : "an assistant's"));
      }
    }
    if (!chain) return text;
    if (users == 0) return InvalidArgument("messages: want one of the user, found none");
    if (!system->empty() && model_.api().system.empty()) {
      return InvalidArgument("messages: the chain has no field for a system message");
    }
    return text;
  }

  void OnEvent(size_t run, RunEvent event) override {
    Choice& choice = choices_[run];
    const int answer = model_.answer_step();
    if (event.kind == RunEvent::Kind::kToken && event.step == answer) {
      Append(run, event.text, event.tokens, event.logprobs);
      return;
    }
    if (event.kind != RunEvent::Kind::kEnd) return;
    if (!event.result.status.ok()) return EndWith(event.result.status);
    if (facts_.queue < 0) facts_.queue = event.queue_ms / 1e3;
    const StageResult& last = event.result.stages.back();
    if (answer < 0) Append(run, last.text, last.sampled(), last.token_logprobs);
    EndPace(choice.pace);
    choice.finish = OpenAiName(last.finish);
    choice.done = true;
    Usage usage;
    usage.Add(event.result);
    // A prompt counts once, however many answers it has.
    if (!choice.first_of_prompt) usage.prompt = usage.cached = 0;
    facts_.usage.prompt += usage.prompt;
    facts_.usage.cached += usage.cached;
    facts_.usage.completion += usage.completion;
    if (request_.stream) Chunk(run, ordered_json::object(), {}, {}, choice.finish.c_str());
    if (std::ranges::all_of(choices_, &Choice::done)) Finish();
  }

  void Append(size_t run, const std::string& text, std::span<const TokenId> tokens,
              std::span<const TokenLogprobs> logprobs) {
    Choice& choice = choices_[run];
    SawTokens(tokens.size(), &choice.pace);
    std::vector<TokenLogprob> named = Named(tokens, logprobs);
    // Parts of a character share its place: the text alone says how long they are together.
    const size_t begin = choice.characters;
    choice.characters += CharacterCount(text);
    size_t at = begin;
    for (TokenLogprob& token : named) {
      token.offset = std::min(at, choice.characters);
      at += CharacterCount(token.token);
    }
    if (request_.stream) {
      const ordered_json delta = chat_ ? ordered_json{{"content", text}} : ordered_json(text);
      if (!text.empty() || request_.return_token_ids || !named.empty()) {
        Chunk(run, delta, tokens, named, nullptr);
      }
    } else {
      choice.tokens.insert(choice.tokens.end(), tokens.begin(), tokens.end());
      choice.logprobs.insert(choice.logprobs.end(), named.begin(), named.end());
    }
    choice.text += text;
  }

  ordered_json Head(const char* object) const {
    ordered_json body;
    body["id"] = id_;
    body["object"] = object;
    body["created"] = created_;
    body["model"] = model_.id();
    return body;
  }

  ordered_json LogprobsOf(std::span<const TokenLogprob> tokens) const {
    if (request_.sampling.logprobs < 0) return nullptr;
    return chat_ ? ChatLogprobs(tokens) : CompletionLogprobs(tokens);
  }

  // A streamed part. delta: of chat an object, of completions text, or an empty object at the end.
  void Chunk(size_t run, ordered_json delta, std::span<const TokenId> tokens,
             std::span<const TokenLogprob> logprobs, const char* finish) {
    if (chat_ && !std::exchange(choices_[run].role_sent, true)) {
      Chunk(run, {{"role", "assistant"}, {"content", ""}}, {}, {}, nullptr);
    }
    ordered_json body = Head(chat_ ? "chat.completion.chunk" : "text_completion");
    ordered_json choice;
    choice["index"] = run;
    if (chat_) {
      choice["delta"] = std::move(delta);
    } else {
      choice["text"] = delta.is_string() ? std::move(delta) : ordered_json("");
    }
    choice["logprobs"] = logprobs.empty() ? ordered_json() : LogprobsOf(logprobs);
    choice["finish_reason"] = finish == nullptr ? ordered_json() : ordered_json(finish);
    if (request_.return_token_ids && finish == nullptr) {
      choice["token_ids"] = std::vector<TokenId>(tokens.begin(), tokens.end());
      if (!std::exchange(choices_[run].prompt_ids_sent, true)) {
        choice["prompt_token_ids"] = choices_[run].prompt_tokens;
      }
    }
    body["choices"] = ordered_json::array({std::move(choice)});
    if (request_.include_usage) body["usage"] = nullptr;
    exchange_->Write(SseEvent(JsonLine(body)));
  }

  void Finish() {
    if (request_.stream) {
      if (request_.include_usage) {
        ordered_json body = Head(chat_ ? "chat.completion.chunk" : "text_completion");
        body["choices"] = ordered_json::array();
        body["usage"] = UsageToJson(facts_.usage);
        exchange_->Write(SseEvent(JsonLine(body)));
      }
      exchange_->Write("data: [DONE]\n\n");
      exchange_->EndStream();
      return End(choices_.front().finish.c_str(), 200);
    }
    int64_t tokens = 0, prompts = 0;
    for (const Choice& choice : choices_) {
      tokens += std::ssize(choice.tokens);
      prompts += std::ssize(choice.prompt_tokens);
    }
    const int64_t values = prompts + tokens * (2 + std::max(0, request_.sampling.logprobs));
    RespondWith(values, choices_.front().finish.c_str(), [this] { return WholeAnswer(); });
  }

  std::string WholeAnswer() const {
    ordered_json body = Head(chat_ ? "chat.completion" : "text_completion");
    body["choices"] = ordered_json::array();
    for (size_t i = 0; i < choices_.size(); ++i) {
      const Choice& choice = choices_[i];
      ordered_json json;
      json["index"] = i;
      if (chat_) {
        json["message"] = {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
      } else {
        json["text"] = choice.text;
      }
      json["logprobs"] = LogprobsOf(choice.logprobs);
      json["finish_reason"] = choice.finish;
      if (request_.return_token_ids) {
        json["token_ids"] = choice.tokens;
        json["prompt_token_ids"] = choice.prompt_tokens;
      }
      body["choices"].push_back(std::move(json));
    }
    body["usage"] = UsageToJson(facts_.usage);
    return JsonLine(body);
  }

  const GenerationRequest request_;
  const bool chat_;
  const int64_t created_;
  std::vector<Choice> choices_;
};

// A chain's run with everything that its stages do.
class ChainRunExchange final : public GenerationBase {
 public:
  ChainRunExchange(const GenerationContext& context, const ServedModel& model,
                   ChainRunRequest request, const std::string& id,
                   std::shared_ptr<HttpExchange> exchange)
      : GenerationBase(context, model, "run-", id, std::move(exchange)),
        request_(Seeded(std::move(request))) {}

 private:
  Result<RunOrders> Orders() override {
    const Handoff handoff = request_.handoff.value_or(model_.handoff());
    RunOrders orders;
    ASSIGN_OR_RETURN(orders.emplace_back(), Order(request_.fields, handoff, request_.sampling));
    chain_ = orders.front()->chain;
    return orders;
  }

  bool WantsStream() const override { return request_.stream; }

  const char* StreamErrorName() const override { return "error"; }

  void OnEvent(size_t, RunEvent event) override {
    const Plan& plan = chain_->plan();
    const ChainSpec& spec = chain_->spec();
    ordered_json json;
    if (event.kind != RunEvent::Kind::kEnd) {
      const PlanStep& step = plan.steps[event.step];
      json["step"] = event.step;
      json["name"] = step.stage >= 0 ? spec.stages[step.stage].name : spec.tools[step.tool].name;
      json["round"] = step.round + 1;
      json["at_ms"] = std::chrono::duration<double, std::milli>(event.at - begin_).count();
    }
    switch (event.kind) {
      case RunEvent::Kind::kStageBegin:
        json["handoff"] = NameOf(plan.steps[event.step].handoff);
        return Send("stage_started", json);
      case RunEvent::Kind::kToken:
        if (event.step == model_.answer_step()) SawTokens(event.tokens.size(), &pace_);
        json["text"] = event.text;
        json["token_ids"] = event.tokens;
        return Send("token", json);
      case RunEvent::Kind::kTool:
        json["result"] = ToolToJson(spec, plan, event.tool_result);
        return Send("tool_call", json);
      case RunEvent::Kind::kStageEnd:
        json["result"] = StageToJson(spec, plan, event.stage_result);
        return Send("stage_finished", json);
      case RunEvent::Kind::kEnd:
        break;
    }
    if (!event.result.status.ok()) return EndWith(event.result.status);
    facts_.queue = event.queue_ms / 1e3;
    facts_.usage.Add(event.result);
    EndPace(pace_);
    ordered_json body;
    body["id"] = id_;
    body["object"] = "chain.run";
    body["chain"] = model_.id();
    ordered_json done = RecordToJson(spec, plan, event.result);
    done.erase("record");
    body.update(done);
    body["queue_ms"] = event.queue_ms;
    body["usage"] = UsageToJson(facts_.usage);
    const char* reason = OpenAiName(event.result.stages.back().finish);
    if (request_.stream) {
      Send("finished", body);
      exchange_->Write("data: [DONE]\n\n");
      exchange_->EndStream();
    } else {
      Respond(JsonLine(body));
    }
    End(reason, 200);
  }

  void Send(std::string_view name, const ordered_json& json) {
    if (streaming_) exchange_->Write(SseEvent(JsonLine(json), name));
  }

  const ChainRunRequest request_;
  const BoundChain* chain_ = nullptr;
  Pace pace_;
};

}  // namespace

HttpResponse ErrorResponse(const ApiError& error, int64_t retry_after_seconds) {
  HttpResponse response{.status = error.http_status, .headers = {}, .body = ErrorToJson(error)};
  if (error.http_status == 429 || error.http_status == 503) {
    response.headers.emplace_back("Retry-After", std::to_string(retry_after_seconds));
  }
  return response;
}

std::shared_ptr<Generation> NewGeneration(const GenerationContext& context,
                                          const ServedModel& model, GenerationRequest request,
                                          bool chat, const std::string& id,
                                          std::shared_ptr<HttpExchange> exchange) {
  return std::make_shared<Completion>(context, model, std::move(request), chat, id,
                                      std::move(exchange));
}

std::shared_ptr<Generation> NewChainRun(const GenerationContext& context, const ServedModel& model,
                                        ChainRunRequest request, const std::string& id,
                                        std::shared_ptr<HttpExchange> exchange) {
  return std::make_shared<ChainRunExchange>(context, model, std::move(request), id,
                                            std::move(exchange));
}

}  // namespace onepass
