#include "bench/kv_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "bench/measure.h"
#include "chain/plan.h"
#include "core/file.h"
#include "model/gguf_base.h"

namespace onepass {
namespace {

constexpr int kMostModels = 3;
constexpr int64_t kPageTokens = 32;

Result<ModelConfig> ConfigOf(const BenchBaseOptions& options) {
  if (options.model.empty()) return NamedShape(options.shape);
  std::error_code error;
  if (std::filesystem::is_regular_file(options.model, error)) {
    ASSIGN_OR_RETURN(const auto file, GgufFile::Open(options.model));
    return GgufConfig(*file);
  }
  const std::string path = options.model + "/config.json";
  ASSIGN_OR_RETURN(const std::string json, ReadFile(path));
  return ParseConfig(json, path);
}

ChainSpec TakingTurns(int models, int64_t rounds, Handoff handoff) {
  ChainSpec spec;
  spec.name = "bench";
  spec.handoff = handoff;
  spec.shared = "S";
  FlowPart loop{.names = {}, .rounds = rounds, .until = {}};
  for (int i = 0; i < models; ++i) {
    StageSpec& stage = spec.stages.emplace_back();
    stage.name = "m" + std::to_string(i + 1);
    stage.start = "start";
    loop.names.push_back(stage.name);
  }
  spec.flow = {loop};
  return spec;
}

// Token counts by plan id, the outputs sharing `length` as evenly as they can.
std::vector<int64_t> CountTokens(const Plan& plan, const KvMemoryOptions& options, int64_t length) {
  std::vector<int64_t> counts(plan.segments.size());
  const int64_t outputs = plan.step_count();
  for (size_t id = 0; id < counts.size(); ++id) {
    const PlannedSegment& segment = plan.segments[id];
    if (segment.kind == SegmentKind::kPrompt) counts[id] = options.prompt_length;
    if (segment.kind == SegmentKind::kSharedInput) counts[id] = options.shared_tokens;
    if (segment.kind == SegmentKind::kOutput) {
      counts[id] = length / outputs + (segment.step < length % outputs ? 1 : 0);
    }
    for (const int text : segment.text_of) counts[id] += counts[text];
  }
  return counts;
}

struct Walked {
  int64_t peak_bytes = 0;
  int64_t recomputed_tokens = 0;
};

Result<Walked> Walk(const Plan& plan, const std::vector<int64_t>& counts, const KvLayout& layout) {
  // No step holds more than all that was ever written, whole pages each.
  int64_t pages = 0;
  for (const int64_t count : counts) pages += count / layout.page_tokens + 1;
  RETURN_IF_ERROR(WantPages(layout, pages));
  PagePool pool(layout, pages);
  std::vector<PageList> held(counts.size());
  Walked walked;
  const auto write = [&](int id) -> Status {
    ASSIGN_OR_RETURN(held[id], pool.Allocate(counts[id]));
    return Status::Ok();
  };
  for (int id = 0; id < std::ssize(counts); ++id) {
    if (plan.OutlivesRecords(id)) RETURN_IF_ERROR(write(id));
  }
  for (int step = 0; step < plan.step_count(); ++step) {
    for (size_t id = 0; id < counts.size(); ++id) {
      if (plan.segments[id].dies_after < step) held[id] = PageList();
    }
    for (const int id : plan.steps[step].writes) {
      RETURN_IF_ERROR(write(id));
      if (plan.Recomputes(id)) walked.recomputed_tokens += counts[id];
    }
  }
  walked.peak_bytes = pool.bytes_peak();
  return walked;
}

}  // namespace

Status KvMemoryOptions::Validate() const {
  if (lengths.empty()) return InvalidArgument("bench: want at least one length, found none");
  std::vector<std::pair<const char*, int64_t>> counts{{"prompt length", prompt_length},
                                                      {"shared tokens", shared_tokens}};
  for (const int64_t length : lengths) counts.emplace_back("length", length);
  for (const auto& [name, count] : counts) {
    if (count < 1 || count > 1'000'000) {
      return InvalidArgument(fmt::format("bench: {}: want 1 to 1000000, found {}", name, count));
    }
  }
  if (rounds < 1 || rounds * kMostModels > kMaxFlowSteps) {
    return InvalidArgument(
        fmt::format("bench: rounds: want 1 to {}, found {}", kMaxFlowSteps / kMostModels, rounds));
  }
  return Status::Ok();
}

Result<BenchReport> BenchKvMemory(const KvMemoryOptions& options) {
  RETURN_IF_ERROR(options.Validate());
  ASSIGN_OR_RETURN(const ModelConfig config, ConfigOf(options.base));
  const KvLayout layout = config.Layout(kPageTokens, options.kv_dtype);
  BenchReport report{.name = "kv-memory",
                     .facts = {{"base", options.base.Name()},
                               {"kv", std::string(KvTypeName(layout.dtype))},
                               {"kv_bytes_per_token", layout.TokenBytes()},
                               {"prompt_length", options.prompt_length},
                               {"shared_tokens", options.shared_tokens},
                               {"rounds", options.rounds}},
                     .columns = {"length", "handoff", "models", "peak_bytes", "predicted_bytes",
                                 "recomputed_tokens"},
                     .rows = {}};
  for (const int64_t length : options.lengths) {
    for (const Handoff handoff : kHandoffs) {
      for (int models = 1; models <= kMostModels; ++models) {
        ASSIGN_OR_RETURN(const Plan plan,
                         CompilePlan(TakingTurns(models, options.rounds, handoff),
                                     std::vector<int64_t>(models, options.prompt_length)));
        const std::vector<int64_t> counts = CountTokens(plan, options, length);
        ASSIGN_OR_RETURN(const Walked walked, Walk(plan, counts, layout));
        report.rows.push_back({length, std::string(NameOf(handoff)), int64_t{models},
                               walked.peak_bytes, PeakKvBytes(plan, counts, layout),
                               walked.recomputed_tokens});
      }
    }
  }
  return report;
}

}  // namespace onepass
