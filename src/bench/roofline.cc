#include "bench/roofline.h"

#include <fmt/format.h>

#include <filesystem>
#include <optional>

#include "bench/speed.h"
#include "kernels/registry.h"

namespace onepass {
namespace {

// The last part of a model's path, or a shape's name.
std::string ShortName(const BenchBaseOptions& options) {
  const std::filesystem::path path(options.Name());
  return path.has_filename() ? path.filename().string() : path.parent_path().filename().string();
}

// In which types of weights the base is measured; none: as it is.
std::vector<std::optional<BlockType>> TypesOf(const Checkpoint& checkpoint,
                                              const BenchBaseOptions& options) {
  const bool is_dense = checkpoint.gguf() == nullptr &&
                        checkpoint.blocks("model.layers.0.self_attn.q_proj.weight") == nullptr;
  if (options.weights || !is_dense) return {options.weights};
  return {std::nullopt, BlockType::kQ8_0, BlockType::kQ4_0};
}

struct Row {
  RooflinePoint point;
  TimedWork timed;
  double tokens = 0;
};

// All work with one base, whose peaks are not known yet.
Status MeasureBase(Base& base, const RooflineBenchOptions& options, std::vector<Row>& rows) {
  const std::string weights(base.checkpoint->stored_type());
  for (const int64_t count : options.token_counts) {
    options.base.Tell(fmt::format("{}, prefill {}", weights, count));
    ASSIGN_OR_RETURN(const TimedWork timed, TimePrefill(base, {.token_count = count,
                                                               .repeats = options.repeats,
                                                               .kv_dtype = options.kv_dtype}));
    rows.push_back({.point = {.weights = weights,
                              .name = fmt::format("prefill {}", count),
                              .value = {},
                              .is_prefill = true},
                    .timed = timed,
                    .tokens = static_cast<double>(count)});
  }
  for (const int64_t batch : options.batch_sizes) {
    options.base.Tell(fmt::format("{}, decode x {}", weights, batch));
    ASSIGN_OR_RETURN(const TimedWork timed,
                     TimeDecode(base, {.batch_size = batch,
                                       .context_tokens = options.context_tokens,
                                       .step_count = options.steps,
                                       .repeats = options.repeats,
                                       .kv_dtype = options.kv_dtype}));
    rows.push_back({.point = {.weights = weights,
                              .name = fmt::format("decode x {}", batch),
                              .value = {},
                              .is_prefill = false},
                    .timed = timed,
                    .tokens = static_cast<double>(batch)});
  }
  return Status::Ok();
}

}  // namespace

Result<RooflineResult> BenchRoofline(const RooflineBenchOptions& options) {
  for (const int64_t count : options.token_counts) RETURN_IF_ERROR(WantCount("tokens", count));
  for (const int64_t batch : options.batch_sizes) RETURN_IF_ERROR(WantCount("batch", batch));
  RETURN_IF_ERROR(WantCount("context", options.context_tokens));
  RETURN_IF_ERROR(WantCount("steps", options.steps));
  RETURN_IF_ERROR(WantCount("repeats", options.repeats));
  ASSIGN_OR_RETURN(const BenchFolder folder, BenchFolder::Create(options.base));
  ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(folder.path()));
  Peaks peaks;
  std::vector<Row> rows;
  int thread_count = 0;
  for (const auto& type : TypesOf(*checkpoint, options.base)) {
    BenchBaseOptions in_type = options.base;
    in_type.model = folder.path();
    in_type.weights =
        options.base.weights ? std::nullopt : type;  // the folder is converted already
    ASSIGN_OR_RETURN(const BenchFolder converted, BenchFolder::Create(in_type));
    ASSIGN_OR_RETURN(const auto base, LoadBenchBase(converted.path(), in_type));
    ThreadPool& pool = base->ops->pool();
    thread_count = pool.thread_count();
    // The clock of a shared machine moves: peaks are taken on both sides of the runs.
    peaks = LargerOf(peaks, MeasurePeaks(pool, options.base.memory_bytes));
    RETURN_IF_ERROR(MeasureBase(*base, options, rows));
    peaks = LargerOf(peaks, MeasurePeaks(pool, options.base.memory_bytes));
  }

  RooflineResult result{
      .report = {.name = "roofline",
                 .facts = {{"base", options.base.Name()},
                           {"kv", std::string(KvTypeName(options.kv_dtype))},
                           {"instruction_set", InstructionSetOf(options.base.backend)},
                           {"threads", int64_t{thread_count}},
                           {"context_tokens", options.context_tokens},
                           {"steps", options.steps},
                           {"repeats", int64_t{options.repeats}},
                           {"peak_gflops", peaks.gflops},
                           {"peak_int8_gops", peaks.int8_gops},
                           {"memory_gb_per_s", peaks.gb_per_s}},
                 .columns = {"weights", "work", "ms", "ms_low", "ms_high", "tokens_per_s", "gops",
                             "arithmetic_intensity", "peak_share", "bandwidth_share"},
                 .rows = {}},
      .svg = {}};
  Roofline roofline{.title = fmt::format("{}, {} threads, KV in {}", ShortName(options.base),
                                         thread_count, KvTypeName(options.kv_dtype)),
                    .peaks = peaks,
                    .points = {}};
  for (auto& [point, timed, tokens] : rows) {
    const auto& [work, time] = timed;
    const double speed = tokens / time.median;
    const double peak_share = work.ComputeSeconds(peaks) / time.median;
    const double bandwidth_share = work.MemorySeconds(peaks) / time.median;
    point.value = fmt::format("{:.{}f} tok/s", speed, speed < 100 ? 1 : 0);
    point.arithmetic_intensity = work.ops() / work.bytes;
    point.gops = 1e-9 * work.ops() / time.median;
    point.share = work.ShareOfLimit(peaks, time.median);
    result.report.rows.push_back({point.weights, point.name, 1e3 * time.median, 1e3 * time.low,
                                  1e3 * time.high, speed, point.gops, point.arithmetic_intensity,
                                  peak_share, bandwidth_share});
    roofline.points.push_back(point);
  }
  result.svg = RooflineSvg(roofline);
  return result;
}

}  // namespace onepass
