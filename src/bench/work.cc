#include "bench/work.h"

#include <algorithm>
#include <string>

#include "kernels/cpu/panel_format.h"
#include "kernels/machine.h"

namespace onepass {
namespace {

// A weight as the CPU backend computes with it.
struct HeldWeight {
  bool is_integer = false;
  double bytes = 0;
};

HeldWeight Held(const Checkpoint& checkpoint, const TensorSpec& spec, double elements) {
  if (const BlockTensor* blocks = checkpoint.blocks(spec.name)) {
    // In panels of 32 outputs; that the last one may not be full is left out.
    const PanelFormat format = PanelFormatOf(blocks->type);
    const auto block_elements = static_cast<double>(kPanel * kGroup * format.groups);
    return {.is_integer = true,
            .bytes = elements / block_elements * static_cast<double>(format.BlockBytes())};
  }
  const bool is_matrix = spec.shape.size() == 2;
  const DType dtype = checkpoint.tensor(spec.name).dtype;
  const bool is_half = is_matrix && (dtype == DType::kBF16 || dtype == DType::kF16);
  return {.is_integer = false, .bytes = elements * (is_half ? 2 : sizeof(float))};
}

// Products of `rows` tokens with every matrix and one pass over all weights. Only `logit_rows` of
// them go through the head and, but for K and V, through the last layer.
Work WeightWork(const Checkpoint& checkpoint, double rows, double logit_rows) {
  const std::string embedding = "model.embed_tokens.weight";
  const bool tied = checkpoint.config().tied_head;
  const std::string last_layer =
      "model.layers." + std::to_string(checkpoint.config().layers - 1) + ".";
  Work work;
  for (const TensorSpec& spec : ExpectedTensors(checkpoint.config())) {
    if (spec.name == embedding && !tied) continue;  // only some rows are read
    double elements = 1;
    for (const int64_t extent : spec.shape) elements *= static_cast<double>(extent);
    const HeldWeight held = Held(checkpoint, spec, elements);
    work.bytes += held.bytes;
    if (spec.shape.size() != 2) continue;
    const bool is_head = spec.name == (tied ? embedding : "lm_head.weight");
    const bool is_kv = spec.name.ends_with("k_proj.weight") || spec.name.ends_with("v_proj.weight");
    const bool of_read_rows = is_head || (spec.name.starts_with(last_layer) && !is_kv);
    (held.is_integer ? work.integer_ops : work.flops) +=
        2 * elements * (of_read_rows ? logit_rows : rows);
  }
  return work;
}

// Scores and weighted sums of one query over one key, in all heads of a layer.
double PairFlops(const ModelConfig& config) {
  return 4 * static_cast<double>(config.heads * config.head_dim);
}

}  // namespace

Peaks MeasurePeaks(ThreadPool& pool, int64_t memory_bytes) {
  return {.gflops = MeasurePeakGflops(pool),
          .int8_gops = MeasurePeakInt8Gops(pool),
          .gb_per_s = memory_bytes > 0 ? MeasureMemoryBandwidth(pool, memory_bytes) : 0};
}

Peaks LargerOf(const Peaks& a, const Peaks& b) {
  return {.gflops = std::max(a.gflops, b.gflops),
          .int8_gops = std::max(a.int8_gops, b.int8_gops),
          .gb_per_s = std::max(a.gb_per_s, b.gb_per_s)};
}

double Work::ComputeSeconds(const Peaks& peaks) const {
  return 1e-9 * (flops / peaks.gflops + integer_ops / peaks.int8_gops);
}

double Work::MemorySeconds(const Peaks& peaks) const { return 1e-9 * bytes / peaks.gb_per_s; }

double Work::ShareOfLimit(const Peaks& peaks, double seconds) const {
  return std::max(ComputeSeconds(peaks), MemorySeconds(peaks)) / seconds;
}

Work PrefillWork(const Checkpoint& checkpoint, int64_t token_count, const KvLayout& layout) {
  const double t = static_cast<double>(token_count);
  Work work = WeightWork(checkpoint, t, 1);
  const double all_but_last = static_cast<double>(checkpoint.config().layers - 1);
  // Token i sees i + 1 keys; in the last layer only the last token looks.
  work.flops += (all_but_last * t * (t + 1) / 2 + t) * PairFlops(checkpoint.config());
  work.bytes += t * static_cast<double>(layout.TokenBytes());
  return work;
}

Work DecodeWork(const Checkpoint& checkpoint, int64_t batch, double visible,
                const KvLayout& layout) {
  const double sequences = static_cast<double>(batch);
  Work work = WeightWork(checkpoint, sequences, sequences);
  const double layers = static_cast<double>(checkpoint.config().layers);
  work.flops += sequences * visible * layers * PairFlops(checkpoint.config());
  work.bytes += sequences * visible * static_cast<double>(layout.TokenBytes());
  return work;
}

}  // namespace onepass
