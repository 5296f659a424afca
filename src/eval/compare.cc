#include "eval/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "chain/runner.h"
#include "core/file.h"

namespace onepass {
namespace {

// Everything that methods share: the questions, and each base, loaded once.
struct Setting {
  const SuiteSpec& suite;
  const CompareOptions& options;
  std::vector<Record> records;
  std::vector<std::vector<std::string>> answers;  // by record
  std::map<std::string, std::unique_ptr<Base>> bases;
};

Result<Base*> BaseOf(Setting& setting, const std::string& dir) {
  std::unique_ptr<Base>& base = setting.bases[dir];
  if (base == nullptr) {
    ASSIGN_OR_RETURN(base, LoadBase(dir, setting.options.base));
  }
  return base.get();
}

Status LoadQuestions(Setting& setting) {
  const SuiteSpec& suite = setting.suite;
  ASSIGN_OR_RETURN(setting.records, LoadRecords(suite.data));
  const auto found = static_cast<int64_t>(setting.records.size());
  if (suite.n > found || found == 0) {
    return InvalidArgument(fmt::format("eval: want {} records, found {} ({})",
                                       std::max<int64_t>(suite.n, 1), found, suite.data));
  }
  if (suite.n > 0) setting.records.resize(static_cast<size_t>(suite.n));
  for (const Record& record : setting.records) {
    Result<std::vector<std::string>> answers = AcceptedAnswers(suite, record);
    if (!answers.ok()) return answers.status().WithPrefix(suite.data);
    setting.answers.push_back(std::move(answers).value());
  }
  return Status::Ok();
}

// The index of the stage whose output is scored.
Result<size_t> AnswerStage(const ChainSpec& spec, const MethodSpec& method) {
  if (method.answer.empty()) return spec.stages.size() - 1;
  for (size_t i = 0; i < spec.stages.size(); ++i) {
    if (spec.stages[i].name == method.answer) return i;
  }
  return InvalidArgument(fmt::format("method \"{}\": answer: \"{}\" is no stage of {}",
                                     method.method, method.answer, spec.file));
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
  for (size_t i = 0; i < result.stages.size(); ++i) {
    line["outputs"][spec.stages[i].name] = result.stages[i].text;
  }
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

// One method with one seed's prompts over all records; its samples are appended to *samples.
Result<MethodRun> RunMethod(Setting& setting, const MethodSpec& method, uint64_t seed,
                            std::string* samples) {
  ASSIGN_OR_RETURN(const ChainSpec spec, BindMethod(setting.suite, method, seed));
  ASSIGN_OR_RETURN(const size_t answer_stage, AnswerStage(spec, method));
  ASSIGN_OR_RETURN(Base* const base, BaseOf(setting, spec.base));
  RunnerOptions options;
  options.handoff = method.handoff;
  ASSIGN_OR_RETURN(const std::unique_ptr<ChainRunner> runner,
                   ChainRunner::Create(*base, spec, options));
  // Memory is touched and caches are filled before anything is timed.
  (void)runner->Run(std::span(setting.records).first(1));

  MethodRun run;
  run.seed = seed;
  run.n = static_cast<int64_t>(setting.records.size());
  for (size_t i = 0; i < setting.records.size(); ++i) {
    const Record& record = setting.records[i];
    const RecordResult result = runner->Run(std::span(&record, 1)).front();
    if (!result.status.ok()) return result.status.WithPrefix(setting.suite.data);
    const std::string answer = ExtractAnswer(result.stages[answer_stage].text, method.after);
    const AnswerScore score = ScoreAnswer(answer, setting.answers[i], setting.suite.rule);
    run.em += score.exact_match;
    run.f1 += score.f1;
    run.ms += result.total_ms;
    for (size_t stage = 1; stage < result.stages.size(); ++stage) {
      run.handoff_ms += result.stages[stage].handoff_ms;
    }
    run.recomputed_tokens += static_cast<double>(result.TokensRecomputed());
    run.peak_kv_bytes = std::max(run.peak_kv_bytes, result.peak_kv_bytes);
    *samples += SampleLine(record, seed, spec, result, answer, setting.answers[i], score);
    if (setting.options.on_progress) {
      setting.options.on_progress(method.method, seed, static_cast<int64_t>(i) + 1, run.n);
    }
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
                                       suite.aliases,
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
      return InvalidArgument(fmt::format("{}: method \"{}\": prompts: \"{}\" is no stage of {}",
                                         suite.file, method.method, name, spec.file));
    }
    stage->prompt = PromptFolder(suite, prompt, seed);
  }
  return spec;
}

Result<std::vector<MethodResult>> Compare(const SuiteSpec& suite, const CompareOptions& options) {
  RETURN_IF_ERROR(suite.Validate());
  if (!options.out.empty()) RETURN_IF_ERROR(MakeDirectories(options.out));
  Setting setting{suite, options, {}, {}, {}};
  RETURN_IF_ERROR(LoadQuestions(setting));
  std::vector<MethodResult> results;
  for (const MethodSpec& method : suite.methods) {
    MethodResult result{method.method, suite.task, {}};
    std::string samples;
    for (const uint64_t seed : suite.seeds) {
      if (!result.runs.empty() && !DependsOnSeed(suite, method)) break;
      ASSIGN_OR_RETURN(const MethodRun run, RunMethod(setting, method, seed, &samples));
      result.runs.push_back(run);
    }
    results.push_back(std::move(result));
    if (options.out.empty()) continue;
    RETURN_IF_ERROR(WriteFileAtomically(
        fmt::format("{}/samples_{}.jsonl", options.out, method.method), samples));
  }
  if (!options.out.empty()) {
    RETURN_IF_ERROR(WriteFileAtomically(options.out + "/results.json", ResultsToJson(results)));
  }
  return results;
}

}  // namespace onepass
