#include "eval/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "core/file.h"
#include "core/quote.h"
#include "eval/answer_questions.h"
#include "eval/out_folder.h"
#include "eval/report.h"
#include "eval/summary.h"

namespace onepass {
namespace {

// Everything that methods share: the questions, and each base, loaded once.
struct Setting {
  const SuiteSpec& suite;
  const CompareOptions& options;
  Questions questions;
  std::vector<bool> left_out;  // by record: some method could not do it
  int64_t skipped = 0;         // these, and those that could not be read
  std::map<std::string, std::unique_ptr<Base>> bases;
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

// Whether the prompts of one seed differ from those of another.
bool DependsOnSeed(const SuiteSpec& suite, const MethodSpec& method) {
  return std::ranges::any_of(method.prompts, [&](const auto& prompt) {
    return PromptFolder(suite, prompt.second, 0) != PromptFolder(suite, prompt.second, 1);
  });
}

// Before hours of runs: every method's chain, stages and prompts are there, and every index is of a
// tool that some chain has; methods pass over those of others.
Status CheckMethods(const SuiteSpec& suite) {
  std::set<std::string> unknown(suite.indexes.begin(), suite.indexes.end());
  for (const MethodSpec& method : suite.methods) {
    for (const uint64_t seed : suite.seeds) {
      ASSIGN_OR_RETURN(const ChainSpec spec, BindMethod(suite, method, seed));
      std::erase_if(unknown, [&](const std::string& index) {
        return spec.ToolOf(index.substr(0, index.find('='))) >= 0;
      });
      for (const StageSpec& stage : spec.stages) {
        if (stage.prompt.empty() || std::filesystem::exists(stage.prompt)) continue;
        return InvalidArgument(fmt::format(
            "{}: method \"{}\": {}: prompt: want the folder of a trained prompt, found no {}",
            suite.file, method.method, Quote(stage.name), Quote(stage.prompt)));
      }
      if (!DependsOnSeed(suite, method)) break;
    }
  }
  if (unknown.empty()) return Status::Ok();
  return InvalidArgument("--index: want TOOL=FOLDER of a chain's tool, found " +
                         Quote(*unknown.begin()));
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
      if (reader->broken()) return record.status();
      RETURN_IF_ERROR(LeaveOut(setting, record.status()));
      continue;
    }
    Result<std::vector<std::string>> answers = AcceptedAnswers(suite, **record);
    if (!answers.ok()) {
      RETURN_IF_ERROR(LeaveOut(setting, answers.status().WithPrefix(suite.data)));
      continue;
    }
    setting.questions.records.push_back(**std::move(record));
    setting.questions.answers.push_back(*std::move(answers));
  }
  if (found < suite.n || found == 0) {
    return InvalidArgument(fmt::format(
        "{}: want {}, found {}", suite.data,
        suite.n == 0 ? std::string("at least one record") : fmt::format("{} records", suite.n),
        found));
  }
  setting.left_out.resize(setting.questions.records.size());
  return Status::Ok();
}

DType KvTypeOf(const Setting& setting, const MethodSpec& method) {
  return method.kv_dtype.value_or(setting.options.kv_dtype);
}

// Takes the run's file, or runs the method and writes it.
Result<AnsweredRun> TakeOrRun(Setting& setting, size_t index, uint64_t seed) {
  const CompareOptions& options = setting.options;
  const MethodSpec& method = setting.suite.methods[index];
  BoundMethod bound{setting.suite,       method, seed, {}, KvTypeOf(setting, method),
                    options.base.backend};
  ASSIGN_OR_RETURN(bound.spec, BindMethod(setting.suite, method, seed));
  ASSIGN_OR_RETURN(Base* const base, BaseOf(setting, bound.spec.base));
  AnsweredRun run{.method = index, .seed = seed, .taken = false, .questions = {}};
  std::string identity;
  std::string path;
  if (!options.out.empty()) {
    path = fmt::format("{}/runs/{}-{}.jsonl", options.out, method.method, seed);
    ASSIGN_OR_RETURN(identity, IdentityOfRun(bound, *base, setting.questions));
    const Result<std::string> text =
        options.restart ? Result<std::string>(NotFound(path)) : ReadFile(path);
    if (text.ok()) {
      auto questions = ParseRun(*text, identity, setting.questions.records.size());
      if (questions.has_value()) {
        run.taken = true;
        run.questions = *std::move(questions);
        return run;
      }
    }
  }
  const int64_t count = std::ssize(setting.questions.records);
  AnswerOptions answer{.on_error = options.on_error, .on_progress = {}};
  if (options.on_progress) {
    answer.on_progress = [&](int64_t done) {
      options.on_progress(method.method, seed, done, count);
    };
  }
  ASSIGN_OR_RETURN(run.questions, AnswerQuestions(bound, *base, setting.questions, answer));
  if (!path.empty()) RETURN_IF_ERROR(WriteFileAtomically(path, RunToText(identity, run)));
  return run;
}

// Leaves out the records that this run could not do.
Status LeaveOutFaulty(Setting& setting, const AnsweredRun& run) {
  for (size_t i = 0; i < run.questions.size(); ++i) {
    if (run.questions[i].fault.empty() || setting.left_out[i]) continue;
    RETURN_IF_ERROR(LeaveOut(setting, InvalidArgument(run.questions[i].fault)));
    setting.left_out[i] = true;
  }
  return Status::Ok();
}

Status WriteResults(const Setting& setting, const std::vector<AnsweredRun>& runs,
                    const TaskResults& results) {
  const std::string& out = setting.options.out;
  std::vector<std::pair<std::string, std::string>> files;
  for (size_t i = 0; i < setting.suite.methods.size(); ++i) {
    std::string lines;
    for (const AnsweredRun& run : runs) {
      for (size_t q = 0; run.method == i && q < run.questions.size(); ++q) {
        if (!setting.left_out[q]) lines += run.questions[q].line;
      }
    }
    files.emplace_back(fmt::format("{}/samples_{}.jsonl", out, setting.suite.methods[i].method),
                       std::move(lines));
  }
  const Report report{.title = results.task, .notes = {}, .sections = {SectionOf(results)}};
  files.emplace_back(out + "/results.json", ResultsToJson(results));
  for (auto& [name, text] : ReportFiles(report)) files.emplace_back(out + "/" + name, text);
  return WriteTogether(files);
}

Result<Comparison> RunAll(Setting& setting) {
  const SuiteSpec& suite = setting.suite;
  RETURN_IF_ERROR(LoadQuestions(setting));
  std::vector<AnsweredRun> runs;
  std::vector<DType> kv_types;
  Comparison comparison;
  for (size_t i = 0; i < suite.methods.size(); ++i) {
    kv_types.push_back(KvTypeOf(setting, suite.methods[i]));
    const bool by_seed = DependsOnSeed(suite, suite.methods[i]);
    for (const uint64_t seed : suite.seeds) {
      ASSIGN_OR_RETURN(AnsweredRun run, TakeOrRun(setting, i, seed));
      RETURN_IF_ERROR(LeaveOutFaulty(setting, run));
      ++comparison.runs;
      comparison.runs_taken += run.taken ? 1 : 0;
      runs.push_back(std::move(run));
      if (!by_seed) break;
    }
  }
  if (std::ranges::count(setting.left_out, false) == 0) {
    return InvalidArgument(
        fmt::format("eval: want records that every method can do, found {} that "
                    "one or all cannot ({})",
                    setting.skipped, suite.data));
  }
  comparison.results = Summarise(suite, kv_types, runs, setting.left_out, setting.skipped);
  if (!setting.options.out.empty()) {
    RETURN_IF_ERROR(WriteResults(setting, runs, comparison.results));
  }
  return comparison;
}

}  // namespace

Result<Comparison> Compare(const SuiteSpec& suite, const CompareOptions& options) {
  RETURN_IF_ERROR(suite.Validate());
  RETURN_IF_ERROR(CheckMethods(suite));
  Setting setting{suite, options, {}, {}, 0, {}};
  if (options.out.empty()) return RunAll(setting);
  ASSIGN_OR_RETURN(OutFolder folder, OutFolder::Make(options.out + "/runs"));
  Result<Comparison> comparison = RunAll(setting);
  if (comparison.ok()) folder.Keep();
  return comparison;
}

}  // namespace onepass
