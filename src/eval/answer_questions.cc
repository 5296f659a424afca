#include "eval/answer_questions.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

#include "chain/runner.h"
#include "core/quote.h"
#include "eval/accuracy.h"

namespace onepass {
namespace {

using nlohmann::ordered_json;

// The stage whose last output is scored; -1: the one that ran last.
Result<int> AnswerStage(const ChainSpec& spec, const MethodSpec& method) {
  if (method.answer.empty()) return -1;
  if (const int stage = spec.StageOf(method.answer); stage >= 0) return stage;
  return InvalidArgument(fmt::format("method \"{}\": answer: {} is no stage of {}", method.method,
                                     Quote(method.answer), spec.file));
}

template <class T>
ordered_json OrNull(const std::optional<T>& value) {
  return value.has_value() ? ordered_json(*value) : ordered_json();
}

std::string SampleLine(const BoundMethod& method, const Record& record, const RecordResult& result,
                       const std::string& answer, const std::vector<std::string>& wanted,
                       const AnsweredQuestion& question) {
  ordered_json line;
  line["number"] = record.number;
  line["seed"] = method.seed;
  line["answer"] = answer;
  line["wanted"] = wanted;
  line["em"] = question.score.exact_match;
  line["f1"] = question.score.f1;
  line["accuracy"] = question.accuracy;
  line["ms"] = OrNull(question.ms);
  line["handoff_ms"] = OrNull(question.handoff_ms);
  line["recomputed_tokens"] = question.recomputed_tokens;
  line["peak_kv_bytes"] = question.peak_kv_bytes;
  line["rounds"] = OrNull(question.rounds);
  line["tool_runs"] = OrNull(question.tool_runs);
  line["outputs"] = ordered_json::array();
  for (const StageResult& run : result.stages) {
    line["outputs"].push_back({{"stage", method.spec.stages[run.stage].name}, {"text", run.text}});
  }
  return line.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

AnsweredQuestion Score(const BoundMethod& method, int answer_stage, const Record& record,
                       const RecordResult& result, const std::vector<std::string>& wanted) {
  const SuiteSpec& suite = method.suite;
  // A stage that the flow did not come to has no answer.
  const StageResult* last =
      answer_stage < 0 ? &result.stages.back() : result.LastRunOf(answer_stage);
  const std::string answer = last == nullptr ? "" : ExtractAnswer(last->text, method.method.after);
  AnsweredQuestion question;
  question.score = ScoreAnswer(answer, wanted, RuleOf(suite.metric));
  question.accuracy = Accuracy(answer, wanted, suite.choices);
  if (suite.batch == 1) {
    question.ms = result.total_ms;
    question.handoff_ms = 0;
    for (size_t run = 1; run < result.stages.size(); ++run) {
      *question.handoff_ms += result.stages[run].handoff_ms;
    }
  }
  question.recomputed_tokens = result.TokensRecomputed();
  question.peak_kv_bytes = result.peak_kv_bytes;
  const std::vector<FlowPart> flow = method.spec.FlowParts();
  if (std::ranges::any_of(flow, &FlowPart::is_loop)) {
    question.rounds = 0;
    for (const LoopResult& loop : result.loops) *question.rounds += loop.rounds;
  }
  if (!method.spec.tools.empty()) question.tool_runs = std::ssize(result.tools);
  question.line = SampleLine(method, record, result, answer, wanted, question);
  return question;
}

}  // namespace

Result<std::vector<std::string>> AcceptedAnswers(const SuiteSpec& suite, const Record& record) {
  ASSIGN_OR_RETURN(const std::string_view gold, record.Text(suite.gold));
  std::vector<std::string> answers = {ExtractAnswer(gold, "")};
  if (answers.front().empty()) {
    return InvalidArgument(fmt::format("{}: {}: want an answer, found {}", record.Where(),
                                       Quote(suite.gold), Quote(gold)));
  }
  if (suite.aliases.empty()) return answers;
  const RecordField* field = record.Find(suite.aliases);
  if (field == nullptr || field->kind == RecordField::Kind::kOther) {
    return InvalidArgument(fmt::format("{}: {}: want a list of answers, found {}", record.Where(),
                                       Quote(suite.aliases),
                                       field == nullptr ? "nothing" : field->json_type));
  }
  if (field->kind == RecordField::Kind::kText) answers.push_back(field->text);
  answers.insert(answers.end(), field->list.begin(), field->list.end());
  // Else an empty output would be right.
  const auto blank = [](const std::string& answer) { return NormalizeAnswer(answer).empty(); };
  answers.erase(std::remove_if(answers.begin() + 1, answers.end(), blank), answers.end());
  return answers;
}

Result<ChainSpec> BindMethod(const SuiteSpec& suite, const MethodSpec& method, uint64_t seed) {
  ASSIGN_OR_RETURN(ChainSpec spec, LoadChainSpec(method.chain));
  for (const auto& [name, prompt] : method.prompts) {
    const int stage = spec.StageOf(name);
    if (stage < 0) {
      return InvalidArgument(fmt::format("{}: method \"{}\": prompts: {} is no stage of {}",
                                         suite.file, method.method, Quote(name), spec.file));
    }
    spec.stages[stage].prompt = PromptFolder(suite, prompt, seed);
  }
  for (const std::string& index : suite.indexes) {
    if (spec.ToolOf(index.substr(0, index.find('='))) < 0) continue;
    RETURN_IF_ERROR(spec.SetIndex(index));
  }
  RETURN_IF_ERROR(AnswerStage(spec, method).status());
  return spec;
}

Result<std::vector<AnsweredQuestion>> AnswerQuestions(const BoundMethod& method, Base& base,
                                                      const Questions& questions,
                                                      const AnswerOptions& options) {
  ASSIGN_OR_RETURN(const int answer_stage, AnswerStage(method.spec, method.method));
  const auto batch = static_cast<size_t>(method.suite.batch);
  RunnerOptions runner_options;
  runner_options.handoff = method.method.handoff;
  runner_options.kv_dtype = method.kv_dtype;
  runner_options.batch = method.suite.batch;
  ASSIGN_OR_RETURN(const std::unique_ptr<ChainRunner> runner,
                   ChainRunner::Create(base, method.spec, runner_options));
  const std::span<const Record> records(questions.records);
  // Memory is touched and caches are filled before anything is timed.
  if (batch == 1 && !records.empty()) (void)runner->Run(records.first(1));
  std::vector<AnsweredQuestion> answered;
  for (size_t begin = 0; begin < records.size(); begin += batch) {
    const auto some = records.subspan(begin, std::min(batch, records.size() - begin));
    const std::vector<RecordResult> results = runner->Run(some);
    for (size_t i = 0; i < some.size(); ++i) {
      if (results[i].status.ok()) {
        answered.push_back(
            Score(method, answer_stage, some[i], results[i], questions.answers[begin + i]));
        continue;
      }
      const Status fault = results[i].status.WithPrefix(method.suite.data);
      if (options.on_error == OnError::kStop) return fault;
      AnsweredQuestion& question = answered.emplace_back();
      question.fault = fault.message();
      question.line = FaultLine(some[i].number, question.fault);
    }
    if (options.on_progress) options.on_progress(static_cast<int64_t>(begin + some.size()));
  }
  return answered;
}

}  // namespace onepass
