// Runs one method over a suite's questions and scores what it answers.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "chain/record.h"
#include "chain/spec.h"
#include "core/status.h"
#include "engine/engine.h"
#include "eval/answered_run.h"
#include "eval/suite.h"

namespace onepass {

// The questions of a suite: records, and the answers that are accepted.
struct Questions {
  std::vector<Record> records;
  std::vector<std::vector<std::string>> answers;  // by record
};

// The accepted answers of a record: its gold field, and its aliases where the suite names a field.
// Blank aliases are left out; a blank gold is kInvalidArgument.
Result<std::vector<std::string>> AcceptedAnswers(const SuiteSpec& suite, const Record& record);

// The chain of a method, with the suite's prompts for one seed put in.
Result<ChainSpec> BindMethod(const SuiteSpec& suite, const MethodSpec& method, uint64_t seed);

// A method bound to all that its answers depend on.
struct BoundMethod {
  const SuiteSpec& suite;
  const MethodSpec& method;
  uint64_t seed = 1;
  ChainSpec spec;  // by BindMethod
  DType kv_dtype = DType::kF32;
  std::string backend;  // of the base
};

// 16 hex digits over all that decides what a run holds, but for its times: the chain's file, the
// base's fingerprint, context and tokenizer, the contents of prompts and indexes, the questions
// with their records, and the options that change answers or scores. Not the program: a changed one
// is not noticed. Fails where a file is missing or damaged.
Result<std::string> IdentityOfRun(const BoundMethod& method, const Base& base,
                                  const Questions& questions);

struct AnswerOptions {
  OnError on_error = OnError::kStop;  // kSkip: a record's fault is its own
  // After each batch: questions done. May be empty.
  std::function<void(int64_t done)> on_progress;
};

// One line a question. The method's spec is run on the base; nothing is written.
Result<std::vector<AnsweredQuestion>> AnswerQuestions(const BoundMethod& method, Base& base,
                                                      const Questions& questions,
                                                      const AnswerOptions& options);

}  // namespace onepass
