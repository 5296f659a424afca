#include "bench/speed.h"

#include <fmt/format.h>

#include <algorithm>

#include "bench/measure.h"
#include "core/stopwatch.h"
#include "kernels/machine.h"

namespace onepass {
namespace {

// Elements of the matrices that every token is multiplied with; the head apart.
int64_t LayerMatrixElements(const ModelConfig& c) {
  const int64_t attention =
      2 * c.width * c.heads * c.head_dim + 2 * c.width * c.kv_heads * c.head_dim;
  return c.layers * (attention + 3 * c.width * c.feed_forward);
}

Status WantPositive(const char* name, int64_t count) {
  if (count >= 1 && count <= 1'000'000) return Status::Ok();
  return InvalidArgument(fmt::format("bench: {}: want 1 to 1000000, found {}", name, count));
}

}  // namespace

double PrefillFlops(const ModelConfig& config, int64_t token_count) {
  const double t = static_cast<double>(token_count);
  const double matrices = 2 * t * static_cast<double>(LayerMatrixElements(config));
  // Scores and weighted sums of token i over i + 1 keys.
  const double pairs = t * (t + 1) / 2;
  const double attention =
      4 * pairs * static_cast<double>(config.layers * config.heads * config.head_dim);
  const double head = 2 * static_cast<double>(config.vocab_size * config.width);
  return matrices + attention + head;
}

Result<BenchReport> BenchMachine(int thread_count) {
  ThreadPool pool(thread_count);
  ThreadPool one(1);
  BenchReport report{.name = "machine", .facts = {}, .columns = {}, .rows = {}};
  report.facts = {{"instruction_set", std::string(InstructionSetName())},
                  {"threads", int64_t{pool.thread_count()}},
                  {"peak_gflops_one_thread", MeasurePeakGflops(one)},
                  {"peak_gflops", MeasurePeakGflops(pool)},
                  {"memory_gb_per_s", MeasureMemoryBandwidth(pool)}};
  return report;
}

Result<BenchReport> BenchPrefill(const PrefillBenchOptions& options) {
  RETURN_IF_ERROR(WantPositive("repeats", options.repeats));
  for (const int64_t count : options.token_counts) RETURN_IF_ERROR(WantPositive("tokens", count));
  ASSIGN_OR_RETURN(const BenchFolder folder, BenchFolder::Create(options.base));
  ASSIGN_OR_RETURN(const auto base, LoadBenchBase(folder.path(), options.base));
  const double peak_before = MeasurePeakGflops(base->ops->pool());

  BenchReport report{
      .name = "prefill",
      .facts = {{"base", options.base.Name()},
                {"weights", std::string(base->checkpoint->stored_type())},
                {"backend", std::string(base->ops->name())},
                {"threads", int64_t{base->ops->pool().thread_count()}},
                {"repeats", int64_t{options.repeats}}},
      .columns = {"tokens", "ms", "ms_low", "ms_high", "tokens_per_s", "gflops", "peak_share"},
      .rows = {}};
  Rng rng(1);
  std::vector<std::pair<int64_t, Spread>> times;
  for (const int64_t count : options.token_counts) {
    const KvLayout layout = base->config().Layout(32, DType::kF32);
    PagePool pool(layout, count / layout.page_tokens + 1);
    Engine engine(*base, pool);
    const std::vector<int32_t> tokens = RandomTokens(count, base->config().vocab_size, rng);
    std::vector<double> seconds;
    for (int run = 0; run <= options.repeats; ++run) {
      PrefillRequest request{.view = {},
                             .tokens = tokens,
                             .vectors = {},
                             .start_position = 0,
                             .provenance = {},
                             .want_logits = true};
      const Stopwatch watch;
      RETURN_IF_ERROR(engine.Prefill({&request, 1}));
      if (run > 0) seconds.push_back(watch.Seconds());
    }
    times.emplace_back(count, SpreadOf(seconds));
  }
  // The clock of a shared machine moves: the peak is taken on both sides of the runs.
  const double peak = std::max(peak_before, MeasurePeakGflops(base->ops->pool()));
  report.facts.emplace_back("peak_gflops", peak);
  for (const auto& [count, time] : times) {
    const double gflops = PrefillFlops(base->config(), count) / time.median / 1e9;
    report.rows.push_back({count, 1e3 * time.median, 1e3 * time.low, 1e3 * time.high,
                           static_cast<double>(count) / time.median, gflops, gflops / peak});
  }
  return report;
}

Result<BenchReport> BenchDecode(const DecodeBenchOptions& options) {
  RETURN_IF_ERROR(WantPositive("repeats", options.repeats));
  RETURN_IF_ERROR(WantPositive("tokens", options.token_count));
  RETURN_IF_ERROR(WantPositive("context", options.context_tokens));
  for (const int64_t size : options.batch_sizes) RETURN_IF_ERROR(WantPositive("batch", size));
  ASSIGN_OR_RETURN(const BenchFolder folder, BenchFolder::Create(options.base));
  ASSIGN_OR_RETURN(const auto base, LoadBenchBase(folder.path(), options.base));
  const ModelConfig& config = base->config();
  const double bandwidth = MeasureMemoryBandwidth(base->ops->pool());
  // What a step reads: all weights, but of an embedding of its own only some rows.
  const Checkpoint& checkpoint = *base->checkpoint;
  int64_t unread = 0;
  if (!config.tied_head) {
    const std::string embedding = "model.embed_tokens.weight";
    const BlockTensor* blocks = checkpoint.blocks(embedding);
    unread = blocks != nullptr ? std::ssize(blocks->bytes)
                               : std::ssize(checkpoint.tensor(embedding).bytes);
  }
  const double weight_bytes = static_cast<double>(checkpoint.stored_bytes() - unread);

  BenchReport report{
      .name = "decode",
      .facts = {{"base", options.base.Name()},
                {"weights", std::string(base->checkpoint->stored_type())},
                {"backend", std::string(base->ops->name())},
                {"threads", int64_t{base->ops->pool().thread_count()}},
                {"context_tokens", options.context_tokens},
                {"steps", options.token_count},
                {"repeats", int64_t{options.repeats}},
                {"memory_gb_per_s", bandwidth}},
      .columns = {"batch", "ms_per_step", "ms_low", "ms_high", "tokens_per_s", "bandwidth_share"},
      .rows = {}};
  Rng rng(1);
  for (const int64_t batch : options.batch_sizes) {
    const KvLayout layout = config.Layout(32, DType::kF32);
    const int64_t pages_each =
        (options.context_tokens + options.token_count) / layout.page_tokens + 2;
    PagePool pool(layout, batch * pages_each);
    Engine engine(*base, pool);
    PrefillRequest context{.view = {},
                           .tokens = RandomTokens(options.context_tokens, config.vocab_size, rng),
                           .vectors = {},
                           .start_position = 0,
                           .provenance = {},
                           .want_logits = true};
    RETURN_IF_ERROR(engine.Prefill({&context, 1}));
    std::vector<double> step_ms;
    for (int run = 0; run <= options.repeats; ++run) {
      std::vector<DecodeRequest> requests(batch);
      for (DecodeRequest& request : requests) {
        request.view.Append(context.segment);
        request.first_logits = context.logits;
        request.start_position = context.segment->end_position();
        // The first token comes from the context's logits: a step more than forward calls.
        request.stop.max_tokens = options.token_count + 1;
      }
      const int64_t calls_before = engine.counters().forward_calls;
      const Stopwatch watch;
      RETURN_IF_ERROR(engine.Decode(requests));
      const double seconds = watch.Seconds();
      const auto calls = static_cast<double>(engine.counters().forward_calls - calls_before);
      if (run > 0) step_ms.push_back(1e3 * seconds / calls);
    }
    const Spread time = SpreadOf(step_ms);
    report.rows.push_back({batch, time.median, time.low, time.high,
                           1e3 * static_cast<double>(batch) / time.median,
                           weight_bytes / (time.median * 1e-3) / 1e9 / bandwidth});
  }
  return report;
}

}  // namespace onepass
