#include "serve/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

namespace onepass {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;

const Histogram::BucketBoundaries kSeconds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                              0.5,   1,      2.5,   5,    10,    30,   60,  300};

}  // namespace

struct ServeMetrics::Impl {
  // A counter that follows a number of the scheduler's.
  struct Followed {
    Counter* counter;
    std::function<int64_t(const SchedulerStats&)> value;
    int64_t last = 0;
  };
  struct Shown {
    Gauge* gauge;
    std::function<double(const SchedulerStats&)> value;
  };

  Counter& NewCounter(const char* name, const char* help) {
    return BuildCounter().Name(name).Help(help).Register(registry).Add({});
  }
  void Follow(const char* name, const char* help,
              std::function<int64_t(const SchedulerStats&)> value) {
    followed.push_back({&NewCounter(name, help), std::move(value)});
  }
  void Show(const char* name, const char* help,
            std::function<double(const SchedulerStats&)> value) {
    shown.push_back(
        {&BuildGauge().Name(name).Help(help).Register(registry).Add({}), std::move(value)});
  }
  Family<Histogram>& NewHistogram(const char* name, const char* help) {
    return BuildHistogram().Name(name).Help(help).Register(registry);
  }

  prometheus::Registry registry;
  std::vector<Followed> followed;
  std::vector<Shown> shown;
  Family<Histogram>& first_token = NewHistogram("onepass:time_to_first_token_seconds",
                                                "From a request to its answer's first token.");
  Family<Histogram>& per_token = NewHistogram("onepass:request_time_per_output_token_seconds",
                                              "Between an answer's tokens, its average.");
  Family<Histogram>& total =
      NewHistogram("onepass:e2e_request_latency_seconds", "From a request to its end.");
  Family<Histogram>& queue =
      NewHistogram("onepass:request_queue_time_seconds", "From a request to the begin of its run.");
  Family<Counter>& success = BuildCounter()
                                 .Name("onepass:request_success_total")
                                 .Help("Requests that ended, by reason.")
                                 .Register(registry);
  Family<Counter>& rejected =
      BuildCounter()
          .Name("onepass:requests_rejected_total")
          .Help("Requests that got no answer or a broken one, by HTTP status.")
          .Register(registry);
  Family<Counter>& prompt_tokens = BuildCounter()
                                       .Name("onepass:prompt_tokens_total")
                                       .Help("Tokens read by stages, those reused included.")
                                       .Register(registry);
  Family<Counter>& generation_tokens = BuildCounter()
                                           .Name("onepass:generation_tokens_total")
                                           .Help("Tokens generated, of all stages.")
                                           .Register(registry);
};

ServeMetrics::ServeMetrics() : impl_(std::make_unique<Impl>()) {
  using Stats = const SchedulerStats&;
  Impl& m = *impl_;
  m.Show("onepass:num_requests_running", "Runs in the batch.",
         [](Stats s) { return static_cast<double>(s.running); });
  m.Show("onepass:num_requests_waiting", "Runs that wait for admission.",
         [](Stats s) { return static_cast<double>(s.waiting); });
  m.Show("onepass:kv_cache_usage_perc", "Pages of KV that runs hold, 1 being all.", [](Stats s) {
    const int64_t held = std::max<int64_t>(0, s.pages_used - s.pages_held_by_index);
    return s.pages == 0 ? 0 : static_cast<double>(held) / static_cast<double>(s.pages);
  });
  m.Show("onepass:kv_pages_used", "Pages of KV in use.",
         [](Stats s) { return static_cast<double>(s.pages_used); });
  m.Show("onepass:kv_pages_idle", "Pages of KV that only the index of segments holds.",
         [](Stats s) { return static_cast<double>(s.pages_held_by_index); });
  m.Show("onepass:kv_bytes_live", "Bytes of KV in use.",
         [](Stats s) { return static_cast<double>(s.pages_used * s.page_bytes); });
  m.Follow("onepass:kv_bytes_freed_total", "Bytes of KV given back.",
           [](Stats s) { return s.pages_returned * s.page_bytes; });
  m.Follow("onepass:hand_offs_total", "Stages that began behind another's output.",
           [](Stats s) { return s.hand_offs; });
  m.Follow("onepass:tokens_reused_total", "Tokens read whose KV was there already.",
           [](Stats s) { return s.tokens_reused; });
  m.Follow("onepass:tokens_recomputed_total",
           "Tokens prefilled again that an earlier stage had computed.",
           [](Stats s) { return s.tokens_recomputed; });
  m.Follow("onepass:tokens_computed_total", "Rows that went through the model.",
           [](Stats s) { return s.tokens_computed; });
  m.Follow("onepass:prefix_cache_queries_total", "Tokens looked for in the index.",
           [](Stats s) { return s.index_queried_tokens; });
  m.Follow("onepass:prefix_cache_hits_total", "Tokens found in the index.",
           [](Stats s) { return s.index_hit_tokens; });
  m.Follow("onepass:kv_evictions_total", "Idle segments that made room.",
           [](Stats s) { return s.evictions; });
  m.Follow("onepass:engine_steps_total", "Forward calls of the batch.",
           [](Stats s) { return s.steps; });
}

ServeMetrics::~ServeMetrics() = default;

void ServeMetrics::RequestEnded(const RequestFacts& facts) {
  Impl& m = *impl_;
  const prometheus::Labels model = {{"model_name", facts.model}};
  m.success.Add({{"model_name", facts.model}, {"finished_reason", facts.reason}}).Increment();
  // Those that were refused would make the rest look quick.
  if (facts.queue >= 0) m.total.Add(model, kSeconds).Observe(facts.total);
  if (facts.queue >= 0) m.queue.Add(model, kSeconds).Observe(facts.queue);
  if (facts.first_token >= 0) m.first_token.Add(model, kSeconds).Observe(facts.first_token);
  for (const double seconds : facts.per_token) m.per_token.Add(model, kSeconds).Observe(seconds);
  m.prompt_tokens.Add(model).Increment(static_cast<double>(facts.usage.prompt));
  m.generation_tokens.Add(model).Increment(static_cast<double>(facts.usage.completion));
}

void ServeMetrics::RequestRejected(int http_status) {
  impl_->rejected.Add({{"status", std::to_string(http_status)}}).Increment();
}

std::string ServeMetrics::Expose(const SchedulerStats& stats) {
  for (Impl::Followed& followed : impl_->followed) {
    const int64_t value = followed.value(stats);
    followed.counter->Increment(static_cast<double>(value - followed.last));
    followed.last = value;
  }
  for (const Impl::Shown& shown : impl_->shown) shown.gauge->Set(shown.value(stats));
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace onepass
