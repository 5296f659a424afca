// A comparison as its YAML file says it: one set of questions, and the methods that answer them.
// Parsed and checked; runs nothing (compare.h does).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chain/spec.h"
#include "core/status.h"
#include "eval/metrics.h"
#include "kv/layout.h"

namespace onepass {

inline constexpr size_t kMaxSuiteMethods = 256;
inline constexpr int64_t kMaxSuiteBatch = 1024;

// What the answers are scored by.
enum class Metric { kSquad, kHotpotQa, kAccuracy };
std::string_view NameOf(Metric metric);  // "squad", "hotpotqa", "accuracy"
Result<Metric> ParseMetric(std::string_view name);
// EM and F1 are measured with any metric: HotpotQA's rule with its own, SQuAD's with the others.
AnswerRule RuleOf(Metric metric);

// One way of answering: a chain, and what replaces parts of it.
struct MethodSpec {
  std::string method;              // its name in the report; letters, digits, '-' and '_'
  std::string chain;               // the chain's YAML, resolved against the suite's
  std::optional<Handoff> handoff;  // for every stage, instead of the chain's
  std::optional<DType> kv_dtype;   // what KV is stored in, instead of the comparison's
  std::map<std::string, std::string> prompts;  // by stage, below SuiteSpec::prompts
  std::string answer;  // the stage whose output holds the answer; default: the last
  std::string after;   // the answer follows the last of this string; empty: all of it
};

// What others have published for the same methods, to stand beside what is measured here.
struct PaperColumn {
  std::string name;                                   // e.g. "HotpotQA (Llama-3-8B)"
  std::vector<std::string> metrics;                   // e.g. {"EM", "F1"}
  std::map<std::string, std::vector<double>> values;  // by method, one a metric; percent

  bool operator==(const PaperColumn&) const = default;
};
struct SuiteSpec {
  std::string file;                  // where it was read from, for messages
  std::string task;                  // its name in the report
  std::string data;                  // records (authors' JSON or JSONL), resolved against the YAML
  std::string prompts;               // folder of the methods' prompts; "{seed}" is the run's seed
  std::vector<std::string> indexes;  // "TOOL=FOLDER", for the methods whose chains have the tool
  std::string gold = "O_B";          // field with the wanted answer
  std::string aliases;               // field with a list of accepted answers; optional
  Metric metric = Metric::kSquad;
  std::string choices;  // letters that label the choices of a question; with kAccuracy alone
  int64_t n = 0;        // the first n records; 0: all
  std::vector<uint64_t> seeds = {1};
  int64_t batch = 1;      // questions in lockstep; times are measured at 1 alone
  std::string reference;  // the method that the others are compared with; may be empty
  int64_t figure = 0;     // number of the paper's figure that these methods make; 0: none
  std::vector<PaperColumn> paper;
  std::vector<MethodSpec> methods;

  Status Validate() const;
};

Result<SuiteSpec> ParseSuite(std::string_view yaml, const std::string& file);
Result<SuiteSpec> LoadSuite(const std::string& path);

// The folder of a method's prompt for one seed.
std::string PromptFolder(const SuiteSpec& suite, const std::string& prompt, uint64_t seed);

// The answer in an output: what follows the last `after`, without surrounding white space. All of
// the output where it has no `after` or `after` is empty.
std::string ExtractAnswer(std::string_view output, std::string_view after);

// "1,2,3" -> {1, 2, 3}; each once.
Result<std::vector<uint64_t>> ParseSeeds(std::string_view text);

}  // namespace onepass
