#include "eval/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "chain/runner.h"
#include "core/file.h"
#include "core/quote.h"

namespace onepass {
namespace {

// Everything that methods share: the questions, and each base, loaded once.
struct Setting {
  const SuiteSpec& suite;
  const CompareOptions& options;
  std::vector<Record> records;
  std::vector<std::vector<std::string>> answers;  // by record
  std::vector<char> left_out;                     // by record: some method could not do it
  int64_t skipped = 0;                            // these, and those that could not be read
  std::map<std::string, std::unique_ptr<Base>> bases;
};

// What one method did with one record.
struct Answered {
  AnswerScore score;
  RecordResult result;
  std::string sample;  // its line
};

// One method with one seed's prompts, by record.
struct AnsweredRun {
  size_t method = 0;
  uint64_t seed = 0;
  std::vector<Answered> records;
};

// Ok if the comparison goes on without the record.
Status LeaveOut(Setting& setting, const Status& fault) {
  if (setting.options.on_error == OnError::kStop) return fault;
  ++setting.skipped;
  if (setting.options.on_skipped) setting.options.on_skipped(fault);
  return Status::Ok();
}

Result<Base*> BaseOf(Setting& setting, const std::string& dir) {
  std::unique_ptr<Base>& base = setting.bases[dir];
  if (base == nullptr) {
    ASSIGN_OR_RETURN(base, LoadBase(dir, setting.options.base));
  }
  return base.get();
}

Status LoadQuestions(Setting& setting) {
  const SuiteSpec& suite = setting.suite;
  ASSIGN_OR_RETURN(const std::unique_ptr<RecordReader> reader, RecordReader::Open(suite.data));
  int64_t found = 0;
  while (suite.n == 0 || found < suite.n) {
    Result<std::optional<Record>> record = reader->Next();
    if (record.ok() && !record->has_value()) break;
    ++found;
    if (!record.ok()) {
      RETURN_IF_ERROR(LeaveOut(setting, record.status()));
      continue;
    }
    Result<std::vector<std::string>> answers = AcceptedAnswers(suite, **record);
    if (!answers.ok()) {
      RETURN_IF_ERROR(LeaveOut(setting, answers.status().WithPrefix(suite.data)));
      continue;
    }
    setting.records.push_back(**std::move(record));
    setting.answers.push_back(*std::move(answers));
  }
  if (found < suite.n || found == 0) {
    return InvalidArgument(fmt::format(
        "{}: want {}, found {}", suite.data,
        suite.n == 0 ? std::string("at least one record") : fmt::format("{} records", suite.n),
        found));
  }
  setting.left_out.resize(setting.records.size());
  return Status::Ok();
}

// The stage whose last output is scored; -1: the one that ran last.
Result<int> AnswerStage(const ChainSpec& spec, const MethodSpec& method) {
  if (method.answer.empty()) return -1;
  if (const int stage = spec.StageOf(method.answer); stage >= 0) return stage;
  return InvalidArgument(fmt::format("method \"{}\": answer: {} is no stage of {}", method.method,
                                     Quote(method.answer), spec.file));
}

std::string SampleLine(const Record& record, uint64_t seed, const ChainSpec& spec,
                       const RecordResult& result, const std::string& answer,
                       const std::vector<std::string>& wanted, const AnswerScore& score) {
  nlohmann::ordered_json line;
  line["number"] = record.number;
  line["seed"] = seed;
  line["answer"] = answer;
  line["wanted"] = wanted;
  line["em"] = score.exact_match;
  line["f1"] = score.f1;
  line["ms"] = result.total_ms;
  line["recomputed_tokens"] = result.TokensRecomputed();
  line["peak_kv_bytes"] = result.peak_kv_bytes;
  line["outputs"] = nlohmann::ordered_json::array();
  for (const StageResult& run : result.stages) {
    line["outputs"].push_back({{"stage", spec.stages[run.stage].name}, {"text", run.text}});
  }
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

// Answers all records but those that are left out already.
Result<AnsweredRun> RunMethod(Setting& setting, size_t index, uint64_t seed) {
  const MethodSpec& method = setting.suite.methods[index];
  ASSIGN_OR_RETURN(const ChainSpec spec, BindMethod(setting.suite, method, seed));
  ASSIGN_OR_RETURN(const int answer_stage, AnswerStage(spec, method));
  ASSIGN_OR_RETURN(Base* const base, BaseOf(setting, spec.base));
  RunnerOptions options;
  options.handoff = method.handoff;
  options.kv_dtype = method.kv_dtype.value_or(setting.options.kv_dtype);
  ASSIGN_OR_RETURN(const std::unique_ptr<ChainRunner> runner,
                   ChainRunner::Create(*base, spec, options));
  const int64_t count = std::ssize(setting.records);
  // Memory is touched and caches are filled before anything is timed.
  if (count > 0) (void)runner->Run(std::span(setting.records).first(1));

  AnsweredRun run{.method = index, .seed = seed, .records = {}};
  run.records.resize(setting.records.size());
  for (size_t i = 0; i < setting.records.size(); ++i) {
    if (setting.left_out[i]) continue;
    const Record& record = setting.records[i];
    Answered& answered = run.records[i];
    answered.result = runner->Run(std::span(&record, 1)).front();
    if (!answered.result.status.ok()) {
      RETURN_IF_ERROR(LeaveOut(setting, answered.result.status.WithPrefix(setting.suite.data)));
      setting.left_out[i] = true;
      continue;
    }
    // A stage that the flow did not come to has no answer.
    const StageResult* last =
        answer_stage < 0 ? &answered.result.stages.back() : answered.result.LastRunOf(answer_stage);
    const std::string answer = last == nullptr ? "" : ExtractAnswer(last->text, method.after);
    answered.score = ScoreAnswer(answer, setting.answers[i], setting.suite.rule);
    answered.sample =
        SampleLine(record, seed, spec, answered.result, answer, setting.answers[i], answered.score);
    if (setting.options.on_progress) {
      setting.options.on_progress(method.method, seed, static_cast<int64_t>(i) + 1, count);
    }
  }
  return run;
}

// Over the records that every method could do; their lines are appended to *samples.
Result<MethodRun> Summarise(const Setting& setting, const AnsweredRun& answered,
                            std::string* samples) {
  MethodRun run;
  run.seed = answered.seed;
  run.skipped = setting.skipped;
  for (size_t i = 0; i < answered.records.size(); ++i) {
    if (setting.left_out[i]) continue;
    const auto& [score, result, sample] = answered.records[i];
    ++run.n;
    run.em += score.exact_match;
    run.f1 += score.f1;
    run.ms += result.total_ms;
    for (size_t stage = 1; stage < result.stages.size(); ++stage) {
      run.handoff_ms += result.stages[stage].handoff_ms;
    }
    run.recomputed_tokens += static_cast<double>(result.TokensRecomputed());
    run.peak_kv_bytes = std::max(run.peak_kv_bytes, result.peak_kv_bytes);
    *samples += sample;
  }
  if (run.n == 0) {
    return InvalidArgument(
        fmt::format("eval: want records that every method can do, found {} that "
                    "one or all cannot ({})",
                    setting.skipped, setting.suite.data));
  }
  const auto count = static_cast<double>(run.n);
  run.em *= 100 / count;
  run.f1 *= 100 / count;
  run.ms /= count;
  run.handoff_ms /= count;
  run.recomputed_tokens /= count;
  return run;
}

// Whether the prompts of one seed differ from those of another.
bool DependsOnSeed(const SuiteSpec& suite, const MethodSpec& method) {
  return std::ranges::any_of(method.prompts, [&](const auto& prompt) {
    return PromptFolder(suite, prompt.second, 0) != PromptFolder(suite, prompt.second, 1);
  });
}

}  // namespace

Result<std::vector<std::string>> AcceptedAnswers(const SuiteSpec& suite, const Record& record) {
  ASSIGN_OR_RETURN(const std::string_view gold, record.Text(suite.gold));
  std::vector<std::string> answers = {ExtractAnswer(gold, "")};
  if (suite.aliases.empty()) return answers;
  const RecordField* field = record.Find(suite.aliases);
  if (field == nullptr || field->kind == RecordField::Kind::kOther) {
    return InvalidArgument(fmt::format("{}: {}: want a list of answers, found {}", record.Where(),
                                       Quote(suite.aliases),
                                       field == nullptr ? "nothing" : field->json_type));
  }
  if (field->kind == RecordField::Kind::kText) answers.push_back(field->text);
  answers.insert(answers.end(), field->list.begin(), field->list.end());
  return answers;
}

Result<ChainSpec> BindMethod(const SuiteSpec& suite, const MethodSpec& method, uint64_t seed) {
  ASSIGN_OR_RETURN(ChainSpec spec, LoadChainSpec(method.chain));
  for (const auto& [name, prompt] : method.prompts) {
    const auto stage = std::ranges::find(spec.stages, name, &StageSpec::name);
    if (stage == spec.stages.end()) {
      return InvalidArgument(fmt::format("{}: method \"{}\": prompts: {} is no stage of {}",
                                         suite.file, method.method, Quote(name), spec.file));
    }
    stage->prompt = PromptFolder(suite, prompt, seed);
  }
  return spec;
}

Result<std::vector<MethodResult>> Compare(const SuiteSpec& suite, const CompareOptions& options) {
  RETURN_IF_ERROR(suite.Validate());
  if (!options.out.empty()) RETURN_IF_ERROR(MakeDirectories(options.out));
  Setting setting{suite, options, {}, {}, {}, 0, {}};
  RETURN_IF_ERROR(LoadQuestions(setting));
  std::vector<AnsweredRun> runs;
  for (size_t i = 0; i < suite.methods.size(); ++i) {
    const bool by_seed = DependsOnSeed(suite, suite.methods[i]);
    for (const uint64_t seed : suite.seeds) {
      ASSIGN_OR_RETURN(AnsweredRun run, RunMethod(setting, i, seed));
      runs.push_back(std::move(run));
      if (!by_seed) break;
    }
  }
  std::vector<MethodResult> results;
  std::vector<std::string> samples(suite.methods.size());
  for (const MethodSpec& method : suite.methods) {
    results.push_back({.method = method.method,
                       .task = suite.task,
                       .runs = {},
                       .kv_dtype = method.kv_dtype.value_or(options.kv_dtype)});
  }
  for (const AnsweredRun& run : runs) {
    ASSIGN_OR_RETURN(const MethodRun sum, Summarise(setting, run, &samples[run.method]));
    results[run.method].runs.push_back(sum);
  }
  if (options.out.empty()) return results;
  // All are written before the first takes its place: a full disk leaves the old ones together.
  std::vector<std::unique_ptr<AtomicFileWriter>> files;
  const auto write = [&](const std::string& name, const std::string& text) -> Status {
    ASSIGN_OR_RETURN(auto file, AtomicFileWriter::Create(options.out + "/" + name));
    RETURN_IF_ERROR(file->Write(text));
    files.push_back(std::move(file));
    return Status::Ok();
  };
  for (size_t i = 0; i < results.size(); ++i) {
    RETURN_IF_ERROR(write(fmt::format("samples_{}.jsonl", results[i].method), samples[i]));
  }
  RETURN_IF_ERROR(write("results.json", ResultsToJson(results)));
  for (const auto& file : files) RETURN_IF_ERROR(file->Commit());
  return results;
}

}  // namespace onepass
