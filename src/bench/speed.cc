#include "bench/speed.h"

#include <algorithm>

#include "core/stopwatch.h"
#include "kernels/machine.h"

namespace onepass {
namespace {

constexpr int64_t kSpeedPageTokens = 32;

}  // namespace

Result<BenchReport> BenchMachine(int thread_count) {
  ThreadPool pool(thread_count);
  ThreadPool one(1);
  const Peaks peaks = MeasurePeaks(pool, BenchBaseOptions().memory_bytes);
  BenchReport report{.name = "machine", .facts = {}, .columns = {}, .rows = {}};
  report.facts = {{"instruction_set", std::string(InstructionSetName())},
                  {"threads", int64_t{pool.thread_count()}},
                  {"peak_gflops_one_thread", MeasurePeakGflops(one)},
                  {"peak_gflops", peaks.gflops},
                  {"peak_int8_gops_one_thread", MeasurePeakInt8Gops(one)},
                  {"peak_int8_gops", peaks.int8_gops},
                  {"memory_gb_per_s", peaks.gb_per_s}};
  return report;
}

Result<TimedWork> TimePrefill(Base& base, const PrefillRun& run) {
  const KvLayout layout = base.config().Layout(kSpeedPageTokens, run.kv_dtype);
  RETURN_IF_ERROR(WantPositions(base.config(), run.token_count));
  const int64_t page_count = run.token_count / kSpeedPageTokens + 1;
  RETURN_IF_ERROR(WantPages(layout, page_count));
  PagePool pool(layout, page_count);
  Engine engine(base, pool);
  Rng rng(1);
  const std::vector<int32_t> tokens = RandomTokens(run.token_count, base.config().vocab_size, rng);
  std::vector<double> seconds;
  for (int repeat = 0; repeat <= run.repeats; ++repeat) {
    PrefillRequest request{.view = {},
                           .tokens = tokens,
                           .vectors = {},
                           .start_position = 0,
                           .provenance = {},
                           .want_logits = true};
    const Stopwatch watch;
    RETURN_IF_ERROR(engine.Prefill({&request, 1}));
    if (repeat > 0) seconds.push_back(watch.Seconds());
  }
  return TimedWork{.work = PrefillWork(*base.checkpoint, run.token_count, layout),
                   .seconds = SpreadOf(seconds)};
}

Result<BenchReport> BenchPrefill(const PrefillBenchOptions& options) {
  RETURN_IF_ERROR(WantCount("repeats", options.repeats));
  for (const int64_t count : options.token_counts) RETURN_IF_ERROR(WantCount("tokens", count));
  ASSIGN_OR_RETURN(const BenchFolder folder, BenchFolder::Create(options.base));
  ASSIGN_OR_RETURN(const auto base, LoadBenchBase(folder.path(), options.base));
  // The clock of a shared machine moves: peaks are taken on both sides of the runs.
  const Peaks before = MeasurePeaks(base->ops->pool(), 0);
  std::vector<TimedWork> runs;
  for (const int64_t count : options.token_counts) {
    options.base.Tell("prefill " + std::to_string(count));
    ASSIGN_OR_RETURN(runs.emplace_back(), TimePrefill(*base, {.token_count = count,
                                                              .repeats = options.repeats,
                                                              .kv_dtype = options.kv_dtype}));
  }
  const Peaks peaks = LargerOf(before, MeasurePeaks(base->ops->pool(), 0));

  BenchReport report{
      .name = "prefill",
      .facts = FactsOf(*base, options.base, {{"kv", std::string(KvTypeName(options.kv_dtype))}}),
      .columns = {"tokens", "ms", "ms_low", "ms_high", "tokens_per_s", "gops", "peak_share"},
      .rows = {}};
  report.facts.emplace_back("repeats", int64_t{options.repeats});
  report.facts.emplace_back("peak_gflops", peaks.gflops);
  report.facts.emplace_back("peak_int8_gops", peaks.int8_gops);
  for (size_t i = 0; i < runs.size(); ++i) {
    const auto& [work, time] = runs[i];
    const int64_t count = options.token_counts[i];
    report.rows.push_back({count, 1e3 * time.median, 1e3 * time.low, 1e3 * time.high,
                           static_cast<double>(count) / time.median,
                           1e-9 * work.ops() / time.median,
                           work.ComputeSeconds(peaks) / time.median});
  }
  return report;
}

Result<TimedWork> TimeDecode(Base& base, const DecodeRun& run) {
  const KvLayout layout = base.config().Layout(kSpeedPageTokens, run.kv_dtype);
  RETURN_IF_ERROR(WantPositions(base.config(), run.context_tokens + run.step_count));
  const int64_t pages_context = run.context_tokens / kSpeedPageTokens + 1;
  const int64_t pages_output = run.step_count / kSpeedPageTokens + 2;
  const int64_t page_count = run.batch_size * (pages_context + pages_output);
  RETURN_IF_ERROR(WantPages(layout, page_count));
  PagePool pool(layout, page_count);
  Engine engine(base, pool);
  Rng rng(1);
  // Each sequence has a context of its own, so that no KV is read for two.
  std::vector<PrefillRequest> contexts(run.batch_size);
  for (PrefillRequest& context : contexts) {
    context.tokens = RandomTokens(run.context_tokens, base.config().vocab_size, rng);
    context.want_logits = true;
    RETURN_IF_ERROR(engine.Prefill({&context, 1}));
  }
  std::vector<double> seconds;
  for (int repeat = 0; repeat <= run.repeats; ++repeat) {
    std::vector<DecodeRequest> requests(run.batch_size);
    for (int64_t i = 0; i < run.batch_size; ++i) {
      requests[i].view.Append(contexts[i].segment);
      requests[i].first_logits = contexts[i].logits;
      requests[i].start_position = contexts[i].segment->end_position();
      // The first token comes from the context's logits: a step more than forward calls.
      requests[i].stop.max_tokens = run.step_count + 1;
    }
    const int64_t calls_before = engine.counters().forward_calls;
    const Stopwatch watch;
    RETURN_IF_ERROR(engine.Decode(requests));
    const double total = watch.Seconds();
    const auto calls = static_cast<double>(engine.counters().forward_calls - calls_before);
    if (repeat > 0) seconds.push_back(total / calls);
  }
  const double visible =
      static_cast<double>(run.context_tokens) + (static_cast<double>(run.step_count) + 1) / 2;
  return TimedWork{.work = DecodeWork(*base.checkpoint, run.batch_size, visible, layout),
                   .seconds = SpreadOf(seconds)};
}

Result<BenchReport> BenchDecode(const DecodeBenchOptions& options) {
  RETURN_IF_ERROR(WantCount("repeats", options.repeats));
  RETURN_IF_ERROR(WantCount("tokens", options.step_count));
  RETURN_IF_ERROR(WantCount("context", options.context_tokens));
  for (const int64_t size : options.batch_sizes) RETURN_IF_ERROR(WantCount("batch", size));
  ASSIGN_OR_RETURN(const BenchFolder folder, BenchFolder::Create(options.base));
  ASSIGN_OR_RETURN(const auto base, LoadBenchBase(folder.path(), options.base));
  const int64_t memory_bytes = options.base.memory_bytes;
  const double before = MeasureMemoryBandwidth(base->ops->pool(), memory_bytes);
  std::vector<TimedWork> runs;
  for (const int64_t batch : options.batch_sizes) {
    options.base.Tell("decode x " + std::to_string(batch));
    ASSIGN_OR_RETURN(runs.emplace_back(),
                     TimeDecode(*base, {.batch_size = batch,
                                        .context_tokens = options.context_tokens,
                                        .step_count = options.step_count,
                                        .repeats = options.repeats,
                                        .kv_dtype = options.kv_dtype}));
  }
  const double bandwidth =
      std::max(before, MeasureMemoryBandwidth(base->ops->pool(), memory_bytes));

  BenchReport report{
      .name = "decode",
      .facts = FactsOf(*base, options.base, {{"kv", std::string(KvTypeName(options.kv_dtype))}}),
      .columns = {"batch", "ms_per_step", "ms_low", "ms_high", "tokens_per_s", "mb_per_step",
                  "bandwidth_share"},
      .rows = {}};
  report.facts.emplace_back("context_tokens", options.context_tokens);
  report.facts.emplace_back("steps", options.step_count);
  report.facts.emplace_back("repeats", int64_t{options.repeats});
  report.facts.emplace_back("memory_gb_per_s", bandwidth);
  for (size_t i = 0; i < runs.size(); ++i) {
    const auto& [work, time] = runs[i];
    const int64_t batch = options.batch_sizes[i];
    report.rows.push_back({batch, 1e3 * time.median, 1e3 * time.low, 1e3 * time.high,
                           static_cast<double>(batch) / time.median, 1e-6 * work.bytes,
                           1e-9 * work.bytes / time.median / bandwidth});
  }
  return report;
}

}  // namespace onepass
