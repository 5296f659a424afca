#include "bench/serve_load.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "bench/http_load.h"
#include "bench/measure.h"
#include "chain/record.h"
#include "chain/template.h"
#include "core/quantile.h"
#include "core/quote.h"
#include "core/rng.h"

namespace onepass {
namespace {

using nlohmann::json;

constexpr double kTimeoutSeconds = 300;
constexpr size_t kMaxRecords = 200;

// A template with a record's fields filled in; `text` stands for {text}.
Result<std::string> Filled(const std::string& text_template, const Record& record,
                           const std::string& text = {}) {
  ASSIGN_OR_RETURN(const std::vector<TemplatePiece> pieces, ParseTemplate(text_template));
  std::string filled;
  for (const TemplatePiece& piece : pieces) {
    if (!piece.is_field) {
      filled += piece.text;
    } else if (piece.text == "text") {
      filled += text;
    } else {
      ASSIGN_OR_RETURN(const std::string_view field, record.Text(piece.text));
      filled += field;
    }
  }
  return filled;
}

// One way to have the chain's answer: what is sent, and when the answer's first token is there.
class Way {
 public:
  explicit Way(std::string name) : name_(std::move(name)) {}
  virtual ~Way() = default;

  const std::string& name() const { return name_; }
  virtual HttpCall Call(size_t record, int part, const std::string& answer) = 0;
  // Whether what came of a call so far holds the answer's begin; whether a call's whole body does
  // not break off.
  virtual bool BeginsAnswer(int part, const std::string& seen) const = 0;
  virtual bool IsWhole(const std::string& body) const = 0;

 private:
  std::string name_;
};

class OnepassWay : public Way {
 public:
  OnepassWay(const ServeBenchOptions& options, HttpTarget target, std::string handoff,
             const std::vector<json>& fields, int64_t stage_count)
      : Way(handoff), target_(std::move(target)), stage_count_(stage_count) {
    for (const json& record : fields) {
      const json body = {{"fields", record}, {"handoff", handoff},
                         {"stream", true},   {"ignore_eos", true},
                         {"temperature", 0}, {"max_tokens", options.output_tokens}};
      bodies_.push_back(body.dump());
    }
    path_ = "/v1/chains/" + options.chain + "/run";
    key_ = options.key;
  }

  HttpCall Call(size_t record, int part, const std::string&) override {
    if (part > 0) return {};
    return {
        .target = target_, .path = path_, .body = bodies_[record % bodies_.size()], .key = key_};
  }
  bool BeginsAnswer(int, const std::string& seen) const override {
    size_t at = 0;
    for (int64_t stage = 0; stage < stage_count_; ++stage) {
      at = seen.find("event: stage_started", at);
      if (at == std::string::npos) return false;
      ++at;
    }
    return seen.find("event: token", at) != std::string::npos;
  }
  bool IsWhole(const std::string& body) const override {
    return body.find("event: finished") != std::string::npos;
  }

 private:
  const HttpTarget target_;
  const int64_t stage_count_;
  std::string path_, key_;
  std::vector<std::string> bodies_;
};

// Two calls: the second one's prompt has the first one's answer as text.
class LlamaCppWay : public Way {
 public:
  LlamaCppWay(const ServeBenchOptions& options, HttpTarget target, const ChainSpec& spec,
              const std::vector<Record>& records, const std::vector<int64_t>& first_tokens)
      : Way("llama.cpp, text"),
        target_(std::move(target)),
        spec_(spec),
        records_(records),
        first_tokens_(first_tokens),
        output_tokens_(options.output_tokens) {}

  HttpCall Call(size_t request, int part, const std::string& answer) override {
    const Record& record = records_[request % records_.size()];
    if (part > 1) return {};
    const StageSpec& stage = spec_.stages[part];
    std::string prompt = *Filled(spec_.shared, record);
    if (part == 1) {
      const json said = json::parse(answer, nullptr, false);
      const std::string text = said.is_object() ? said.value("content", "") : "";
      prompt += *Filled(spec_.stages[0].read_as, record, text);
    }
    prompt += *Filled(stage.input, record) + stage.start;
    const json body = {
        {"prompt", prompt},
        {"n_predict", part == 0 ? first_tokens_[request % records_.size()] : output_tokens_},
        {"temperature", 0},
        {"ignore_eos", true},
        {"cache_prompt", true},
        {"stream", part == 1}};
    return {.target = target_,
            .path = "/completion",
            .body = body.dump(-1, ' ', false, json::error_handler_t::replace)};
  }
  bool BeginsAnswer(int part, const std::string& seen) const override {
    return part == 1 && seen.find("data: ") != std::string::npos;
  }
  bool IsWhole(const std::string& body) const override {
    return body.find("\"content\"") != std::string::npos &&
           body.find("\"error\"") == std::string::npos;
  }

 private:
  const HttpTarget target_;
  const ChainSpec& spec_;
  const std::vector<Record>& records_;
  const std::vector<int64_t>& first_tokens_;
  const int64_t output_tokens_;
};

// What a load showed.
struct Measured {
  int64_t sent = 0, rejected = 0, failed = 0;
  std::vector<double> latencies, first_tokens;  // of those answered
  std::vector<double> goodputs;                 // a run each
};

class ServeBench {
 public:
  explicit ServeBench(const ServeBenchOptions& options) : options_(options) {}

  Result<BenchReport> Run() {
    RETURN_IF_ERROR(options_.Validate());
    ASSIGN_OR_RETURN(target_, HttpTarget::Parse(options_.url));
    RETURN_IF_ERROR(LoadRecords());
    RETURN_IF_ERROR(Probe());
    RETURN_IF_ERROR(MakeWays());
    RETURN_IF_ERROR(MeasureAlone());
    if (rates_.empty()) MeasureCapacity();
    std::vector<std::vector<Measured>> results(rates_.size(), std::vector<Measured>(ways_.size()));
    // The ways take turns, so that a slow moment hits all.
    for (size_t r = 0; r < rates_.size(); ++r) {
      for (int64_t run = 0; run < options_.runs; ++run) {
        const std::vector<double> begins = Begins(rates_[r], options_.seed + run);
        for (size_t w = 0; w < ways_.size(); ++w) {
          Progress(fmt::format("{:.3g} requests a second, {}", rates_[r], ways_[w]->name()));
          Add(Load(*ways_[w], begins), begins.back(), &results[r][w]);
        }
      }
    }
    return Report(results);
  }

 private:
  void Progress(const std::string& what) const {
    if (options_.on_progress) options_.on_progress(what);
  }

  Status LoadRecords() {
    ASSIGN_OR_RETURN(records_, onepass::LoadRecords(options_.input));
    if (records_.empty()) return InvalidArgument(options_.input + ": want records, found none");
    records_.resize(std::min(records_.size(), kMaxRecords));
    for (const Record& record : records_) {
      json& fields = fields_.emplace_back(json::object());
      for (const RecordField& field : record.fields) {
        if (field.kind == RecordField::Kind::kText) fields[field.name] = field.text;
      }
    }
    return Status::Ok();
  }

  // Each record once, alone: what it says in the first stage, and that the server answers.
  Status Probe() {
    Progress("each record once");
    for (size_t i = 0; i < records_.size(); ++i) {
      std::string answer;
      const auto loaded = RunLoad(
          {0.0},
          {.call = [&](size_t, int part, const std::string&) -> HttpCall {
             if (part > 0) return {};
             return {.target = target_,
                     .path = "/v1/chains/" + options_.chain + "/run",
                     .body = json{{"fields", fields_[i]}, {"temperature", 0}}.dump(),
                     .key = options_.key};
           },
           .on_bytes = [&](size_t, int, double, std::string_view bytes) { answer += bytes; }},
          kTimeoutSeconds);
      const json body = json::parse(answer, nullptr, false);
      if (loaded.front().status != 200 || !body.is_object()) {
        return InvalidArgument(fmt::format("{}: want an answer of chain {}, found status {}: {}",
                                           options_.url, Quote(options_.chain),
                                           loaded.front().status, Quote(answer, 200)));
      }
      stage_count_ = std::ssize(body["stages"]);
      first_tokens_.push_back(std::ssize(body["stages"][0]["token_ids"]));
    }
    return Status::Ok();
  }

  Status MakeWays() {
    for (const std::string& handoff : options_.handoffs) {
      ways_.push_back(
          std::make_unique<OnepassWay>(options_, target_, handoff, fields_, stage_count_));
    }
    if (options_.llamacpp.empty()) return Status::Ok();
    ASSIGN_OR_RETURN(spec_, LoadChainSpec(options_.file));
    if (spec_.stages.size() != 2 || !spec_.tools.empty() || !spec_.flow.empty()) {
      return InvalidArgument(options_.file + ": want a chain of two stages, found another");
    }
    for (const Record& record : records_) {
      RETURN_IF_ERROR(Filled(spec_.shared, record).status());
      for (const StageSpec& stage : spec_.stages) {
        RETURN_IF_ERROR(Filled(stage.input, record).status());
      }
    }
    ASSIGN_OR_RETURN(HttpTarget target, HttpTarget::Parse(options_.llamacpp));
    ways_.push_back(
        std::make_unique<LlamaCppWay>(options_, std::move(target), spec_, records_, first_tokens_));
    return Status::Ok();
  }

  std::vector<double> Begins(double rate, uint64_t seed) const {
    Rng rng(seed);
    std::vector<double> begins;
    for (double at = 0; at < options_.seconds || begins.empty();) {
      begins.push_back(at);
      at += -std::log(1 - rng.UniformDouble()) / rate;
    }
    return begins;
  }

  struct Loaded {
    LoadedRequest request;
    double first_token = -1;
  };

  std::vector<Loaded> Load(Way& way, const std::vector<double>& begins) {
    std::vector<double> first(begins.size(), -1);
    std::vector<std::string> seen(begins.size());
    std::vector<char> whole(begins.size(), 0);
    const std::vector<LoadedRequest> requests =
        RunLoad(begins,
                {.call =
                     [&](size_t request, int part, const std::string& answer) {
                       if (part > 0) whole[request] = way.IsWhole(answer);
                       seen[request].clear();
                       return way.Call(request + offset_, part, answer);
                     },
                 .on_bytes =
                     [&](size_t request, int part, double now, std::string_view bytes) {
                       if (first[request] >= 0) return;
                       seen[request] += bytes;
                       if (way.BeginsAnswer(part, seen[request])) first[request] = now;
                     }},
                kTimeoutSeconds);
    offset_ += begins.size();
    std::vector<Loaded> loaded;
    for (size_t i = 0; i < requests.size(); ++i) {
      loaded.push_back({.request = requests[i], .first_token = whole[i] != 0 ? first[i] : -1});
    }
    return loaded;
  }

  void Add(const std::vector<Loaded>& loaded, double seconds, Measured* measured) const {
    int64_t in_time = 0;
    double end = std::max(seconds, options_.seconds);
    for (const Loaded& one : loaded) {
      ++measured->sent;
      if (one.request.status == 429) {
        ++measured->rejected;
      } else if (one.request.status != 200 || one.first_token < 0) {
        ++measured->failed;
      } else {
        const double latency = one.request.end - one.request.begin;
        measured->latencies.push_back(latency);
        measured->first_tokens.push_back(one.first_token - one.request.begin);
        if (latency <= deadline_) ++in_time;
        end = std::max(end, one.request.end);
      }
    }
    measured->goodputs.push_back(static_cast<double>(in_time) / end);
  }

  // One request after the other: what the deadline is made of.
  Status MeasureAlone() {
    deadline_ = options_.deadline_seconds;
    std::vector<double> medians;
    for (const std::unique_ptr<Way>& way : ways_) {
      Progress("one at a time, " + way->name());
      std::vector<double> latencies;
      for (int i = 0; i < 12; ++i) {
        const Loaded one = Load(*way, {0.0}).front();
        if (one.request.status != 200) {
          return InvalidArgument(
              fmt::format("{}: want status 200, found {}", way->name(), one.request.status));
        }
        if (i >= 2) latencies.push_back(one.request.end - one.request.begin);
      }
      medians.push_back(SpreadOf(latencies).median);
    }
    alone_ = medians;
    if (deadline_ == 0) deadline_ = 5 * *std::ranges::max_element(medians);
    rates_ = options_.rates;
    return Status::Ok();
  }

  // A burst: how fast it is worked off.
  void MeasureCapacity() {
    Progress("a burst");
    const std::vector<Loaded> loaded = Load(*ways_.front(), std::vector<double>(48, 0.0));
    double end = 0;
    int64_t done = 0;
    for (const Loaded& one : loaded) {
      if (one.request.status != 200) continue;
      end = std::max(end, one.request.end);
      ++done;
    }
    const double capacity = static_cast<double>(std::max<int64_t>(done, 1)) / end;
    for (const double share : {0.25, 0.5, 0.75, 1.0, 1.5}) {
      const double rate = share * capacity;
      const double unit = std::pow(10, std::floor(std::log10(rate)) - 1);
      rates_.push_back(std::max(std::round(rate / unit) * unit, 1e-3));
    }
  }

  BenchReport Report(const std::vector<std::vector<Measured>>& results) const {
    BenchReport report{
        .name = "serve",
        .facts = {{"chain", options_.chain},
                  {"records", std::ssize(records_)},
                  {"seconds", options_.seconds},
                  {"runs", options_.runs},
                  {"output_tokens", options_.output_tokens},
                  {"deadline_ms", deadline_ * 1e3}},
        .columns = {"way", "rate", "sent", "rejected", "failed", "goodput", "goodput_low",
                    "goodput_high", "latency_p50_ms", "latency_p90_ms", "latency_p99_ms",
                    "first_token_p50_ms", "first_token_p90_ms", "first_token_p99_ms"},
        .rows = {}};
    for (size_t w = 0; w < ways_.size(); ++w) {
      report.facts.emplace_back("alone_ms " + ways_[w]->name(), alone_[w] * 1e3);
    }
    for (size_t w = 0; w < ways_.size(); ++w) {
      for (size_t r = 0; r < rates_.size(); ++r) {
        Measured measured = results[r][w];
        const Spread goodput = SpreadOf(measured.goodputs);
        std::vector<BenchCell> row = {ways_[w]->name(),  rates_[r],       measured.sent,
                                      measured.rejected, measured.failed, goodput.median,
                                      goodput.low,       goodput.high};
        for (std::vector<double>* times : {&measured.latencies, &measured.first_tokens}) {
          std::ranges::sort(*times);
          for (const double share : {0.5, 0.9, 0.99}) {
            row.emplace_back(times->empty() ? 0.0 : QuantileOf(*times, share) * 1e3);
          }
        }
        report.rows.push_back(std::move(row));
      }
    }
    return report;
  }

  const ServeBenchOptions& options_;
  HttpTarget target_;
  ChainSpec spec_;
  std::vector<Record> records_;
  std::vector<json> fields_;
  std::vector<int64_t> first_tokens_;  // of the first stage's output, by record
  int64_t stage_count_ = 0;
  std::vector<std::unique_ptr<Way>> ways_;
  std::vector<double> alone_, rates_;
  double deadline_ = 0;
  size_t offset_ = 0;  // records go on from load to load
};

}  // namespace

Status ServeBenchOptions::Validate() const {
  RETURN_IF_ERROR(WantCount("runs", runs));
  RETURN_IF_ERROR(WantCount("output_tokens", output_tokens));
  if (!(seconds > 0 && seconds <= 3600)) {
    return InvalidArgument(
        fmt::format("seconds: want more than 0, at most 3600, found {}", seconds));
  }
  for (const double rate : rates) {
    if (rate > 0 && rate * seconds <= 1e5) continue;
    return InvalidArgument(
        fmt::format("rates: want more than 0 and at most 100000 requests, found {}", rate));
  }
  if (!llamacpp.empty() && file.empty()) {
    return InvalidArgument("llamacpp: want the chain's file too, found none");
  }
  return Status::Ok();
}

Result<BenchReport> BenchServe(const ServeBenchOptions& options) {
  return ServeBench(options).Run();
}

}  // namespace onepass
