#include "chain/run_file.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>

#include "chain/result_json.h"
#include "core/file.h"

namespace onepass {
namespace {

void AddTo(RunSummary* summary, const RecordResult& result) {
  ++summary->done;
  summary->total_ms += result.total_ms;
  summary->peak_kv_bytes = std::max(summary->peak_kv_bytes, result.peak_kv_bytes);
  for (const StageResult& stage : result.stages) {
    RunSummary::Stage& sum = summary->stages[stage.stage];
    ++sum.runs;
    sum.prefill_ms += stage.prefill_ms;
    sum.handoff_ms += stage.handoff_ms;
    sum.first_token_ms += std::max(stage.first_token_ms, 0.0);
    sum.decode_ms += stage.decode_ms;
    sum.output_tokens += std::ssize(stage.tokens);
    sum.tokens_computed += stage.tokens_computed;
    sum.tokens_reused += stage.tokens_reused;
    sum.tokens_recomputed += stage.tokens_recomputed;
  }
}

// One file under two names would be replaced by its own results.
Status CheckPaths(const RunFileOptions& options) {
  std::error_code error;
  if (std::filesystem::equivalent(options.input, options.output, error) && !error) {
    return InvalidArgument("output: want another file than the input, found " + options.output);
  }
  return Status::Ok();
}

std::string Cell(double value, const char* format) {
  char text[64];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}

}  // namespace

Result<RunSummary> RunFile(ChainRunner& runner, const RunFileOptions& options,
                           const std::function<void(const RunProgress&)>& progress) {
  RETURN_IF_ERROR(CheckPaths(options));
  ASSIGN_OR_RETURN(std::unique_ptr<RecordReader> reader, RecordReader::Open(options.input));
  ASSIGN_OR_RETURN(std::unique_ptr<AtomicFileWriter> writer,
                   AtomicFileWriter::Create(options.output));
  const auto start = std::chrono::steady_clock::now();
  RunSummary summary;
  summary.stages.resize(runner.spec().stages.size());
  int64_t read = 0;
  bool more = true;
  while (more) {
    // The batch's lines in the records' order; a place that is still empty awaits its result.
    std::vector<std::string> lines;
    std::vector<Record> records;
    std::vector<size_t> places;
    while (std::ssize(records) < runner.options().batch) {
      if (options.limit > 0 && read >= options.limit) {
        more = false;
        break;
      }
      Result<std::optional<Record>> next = reader->Next();
      if (next.ok() && !next->has_value()) {
        more = false;
        break;
      }
      ++read;
      lines.emplace_back();
      if (next.ok()) {
        places.push_back(lines.size() - 1);
        records.push_back(**std::move(next));
        continue;
      }
      if (options.on_error == OnError::kStop || reader->broken()) return next.status();
      lines.back() = ErrorLine(reader->number(), next.status());
      if (summary.faulty++ == 0) summary.first_fault = next.status().message();
    }
    const std::vector<RecordResult> results = runner.Run(records);
    for (size_t i = 0; i < results.size(); ++i) {
      const RecordResult& result = results[i];
      const Status status = result.status.WithPrefix(options.input);
      if (status.ok()) {
        AddTo(&summary, result);
        lines[places[i]] = ResultToJson(runner.spec(), runner.plan(), result);
        continue;
      }
      if (options.on_error == OnError::kStop) return status;
      lines[places[i]] = ErrorLine(result.number, status);
      if (summary.faulty++ == 0) summary.first_fault = status.message();
    }
    for (const std::string& line : lines) RETURN_IF_ERROR(writer->Write(line + "\n"));
    if (progress && !lines.empty()) {
      progress({summary.done + summary.faulty, reader->bytes_read(), reader->bytes_total()});
    }
  }
  RETURN_IF_ERROR(writer->Commit());
  summary.wall_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return summary;
}

std::string SummaryTable(const ChainSpec& spec, const RunSummary& summary) {
  std::string text = std::to_string(summary.done) + " records done, " +
                     std::to_string(summary.faulty) + " faulty, " +
                     Cell(summary.wall_seconds, "%.1f s\n");
  if (summary.done == 0) return text;
  const double n = static_cast<double>(summary.done);
  constexpr const char* kRow = "%-16.16s %6s %10s %11s %12s %10s %8s %10s %8s %12s\n";
  char line[256];
  std::snprintf(line, sizeof(line), kRow, "mean a record", "runs", "prefill ms", "hand-off ms",
                "1st token ms", "decode ms", "output", "computed", "reused", "recomputed");
  text += line;
  for (size_t i = 0; i < summary.stages.size(); ++i) {
    const RunSummary::Stage& stage = summary.stages[i];
    std::snprintf(
        line, sizeof(line), kRow, spec.stages[i].name.c_str(),
        Cell(static_cast<double>(stage.runs) / n, "%.2f").c_str(),
        Cell(stage.prefill_ms / n, "%.3f").c_str(), Cell(stage.handoff_ms / n, "%.3f").c_str(),
        Cell(stage.first_token_ms / n, "%.3f").c_str(), Cell(stage.decode_ms / n, "%.3f").c_str(),
        Cell(static_cast<double>(stage.output_tokens) / n, "%.1f").c_str(),
        Cell(static_cast<double>(stage.tokens_computed) / n, "%.1f").c_str(),
        Cell(static_cast<double>(stage.tokens_reused) / n, "%.1f").c_str(),
        Cell(static_cast<double>(stage.tokens_recomputed) / n, "%.1f").c_str());
    text += line;
  }
  return text + "total " + Cell(summary.total_ms / n, "%.3f") + " ms a record, peak KV " +
         std::to_string(summary.peak_kv_bytes) + " bytes\n";
}

}  // namespace onepass
